"""``emberlog schema``: the contract, field by field, and whether it still reads all that was ever released."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ops.cli.errors import CliError

REGISTRY = "EMBERLOG_SCHEMA_REGISTRY_URL"
# they write and read nothing, or, as the demo, have services of their own whatever is configured
WITHOUT_REGISTRY = ("demo", "health", "schema", "settings")

app = typer.Typer(
    no_args_is_help=True,
    help="The contract: record types, their fields and versions, and whether everything ever released can still be read.",
)

TypeName = Annotated[str, typer.Argument(metavar="TYPE", help="A record type, such as MemoryAdded.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="schema", rich_help_panel="Operate")


@app.command("list")
def list_types(json: JsonOption = False) -> None:
    """List the record types: what each is, its topic, its versions, which are released, its fingerprint.

    A command asks for a change of memory, an event says that it happened; the others are turns, embeddings and parked work. The
    fingerprint (CRC-64-AVRO, in the order of its bytes) stands in front of every record of the current version.
    """
    from ops.cli.out import console, print_json, table
    from ops.cli.schema_shown import rows_of_types

    rows = rows_of_types()
    if json:
        print_json(rows)
        return
    columns = ("type", "kind", "topic", "version", "released", "fingerprint")
    cells = [
        (
            r["type"],
            r["kind"],
            r["topic"],
            r["version"],
            ", ".join(f"v{v}" for v in r["released"]) or "no",
            r["fingerprint"],
        )
        for r in rows
    ]
    console().print(table("Record types", columns, cells, right=("version",)))
    console().print("fields of one: emberlog schema show TYPE")


@app.command()
def show(
    name: TypeName,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="This version instead of the current one.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The Avro schema itself, for other programs.")] = False,
) -> None:
    """Show a record type field by field: type, meaning, default, and what is about a person.

    Personal fields (pii) hold Sealed values: sealed under a key that can be destroyed, or plain as long as there are no keys.

    Examples:

      emberlog schema show MemoryAdded

      emberlog schema show InboxTurn --json > inbox_turn.avsc
    """
    from ops.cli.schema_shown import print_type, type_named
    from schemas.versions import FILES

    found = type_named(name)
    chosen = _version(found, version)
    if json:
        typer.echo(FILES.text(found, chosen).rstrip("\n"))
    else:
        print_type(found, chosen)


@app.command()
def check(json: JsonOption = False) -> None:
    """Check the contract: everything that was ever released can be read, and every rule is kept. Exits with 1 where not.

    Compared are the current version of each type and every version in released.json, by Avro's own rules and stricter ones: a
    field that was released stays, unless an upcaster takes its value along; new fields have defaults; personal fields are
    Sealed; every field has a doc. The stored golden records are read too. Each fault names its type and field.
    """
    from ops.cli.out import console, print_json
    from schemas.compatibility import check as check_contract
    from schemas.golden import Golden
    from schemas.released import Released
    from schemas.versions import FILES

    released = Released()
    found = check_contract(released=released) or Golden().check(released)
    if json:
        print_json(found)
    elif not found:
        console().print(
            f"{len(FILES.names)} types in {len(list(FILES.all_versions()))} versions, {len(list(released))} of them released: "
            "all that was released can be read, and every rule is kept"
        )
    _fail(found, quiet=json)


@app.command()
def diff(
    name: TypeName,
    old: Annotated[int | None, typer.Argument(metavar="A", help="From this version…", min=1, show_default=False)] = None,
    new: Annotated[int | None, typer.Argument(metavar="B", help="…to this one.", min=1, show_default=False)] = None,
    json: JsonOption = False,
) -> None:
    """Show what differs between two versions of a type, field by field, and whether records of the old one can still be read.

    Without numbers: from what was released last to what the files say now. Docs are not compared then, as released.json has none.

    Examples:

      emberlog schema diff MemoryAdded

      emberlog schema diff MemoryAdded 1 2
    """
    from ops.cli.errors import UsageError
    from ops.cli.out import console, plain, print_json, table
    from ops.cli.schema_shown import compared, type_named

    if (old is None) != (new is None):
        raise UsageError("give both versions, or neither", f"emberlog schema diff {name} 1 2")
    found = type_named(name)
    pair = compared(found, None if old is None else _version(found, old), None if new is None else _version(found, new))
    if json:
        print_json({"type": found, "from": pair.old_label, "to": pair.new_label, "differences": pair.rows})
        return
    title = f"{found}: {pair.old_label} → {pair.new_label}"
    if not pair.rows:
        console().print(plain(f"{title}: nothing differs"))
        return
    cells = [(r["field"], r["difference"], plain("yes", "green") if r["reads"] else plain("no", "red")) for r in pair.rows]
    console().print(table(title, ("field", "difference", "reads old records"), cells))
    for row in pair.rows:
        if row["why"]:
            console().print(plain(f"{row['field']}: {row['why']}", "red"), soft_wrap=True)


@app.command()
def freeze(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Release every version that is not released yet. For maintainers, in a checkout; there is no way back.

    From then on records of these versions lie on logs that nobody can change, so their files never change either, except in their
    docs: what changes is a new file with the next number. Written are schemas/released.json, and for each version a golden record
    in schemas/golden, a stored record that every later program must read. A contract with a fault is not released.
    """
    from ops.cli.errors import UsageError
    from ops.cli.out import console
    from ops.cli.schema_shown import in_checkout
    from schemas.freezing import NotFit
    from schemas.freezing import freeze as release
    from schemas.released import Released
    from schemas.versions import FILES

    if not in_checkout():
        raise UsageError("schemas are released in a checkout of Emberlog, and this is an installed package")
    waiting = Released().missing(FILES)
    if not waiting:
        console().print("everything is released already")
        return
    if not yes:
        typer.echo(", ".join(f"{name} v{version}" for name, version in waiting), err=True)
        typer.confirm(f"Release these {len(waiting)} for ever?", abort=True, err=True)
    try:
        new = release()
    except NotFit as error:
        _fail(error.findings)
    else:
        console().print(f"{len(new)} released: commit schemas/released.json and schemas/golden together with the schemas")


def _fail(findings: Any, *, quiet: bool = False) -> None:
    from ops.cli.errors import CliError
    from ops.cli.out import console, plain

    if not findings:
        return
    if not quiet:
        for finding in findings:
            console().print(plain(f"✗ {finding}"), soft_wrap=True)
    raise CliError(f"{len(findings)} fault{'s' if len(findings) > 1 else ''} in the contract")


def _version(name: str, version: int | None) -> int:
    from ops.cli.errors import UsageError
    from schemas.versions import FILES

    known = FILES.versions(name)
    if version is None:
        return known[-1]
    if version not in known:
        raise UsageError(f"{name} has no version {version}", f"there is {', '.join(map(str, known))}")
    return version


def use_registry(command: str | None) -> None:
    """Let ``command`` write and read by the schema registry that the settings name; costs nothing where none is named."""
    in_file = Path(".env").is_file() and REGISTRY in Path(".env").read_text(encoding="utf-8", errors="replace").upper()
    if command in WITHOUT_REGISTRY or not (in_file or any(name.upper() == REGISTRY for name in os.environ)):
        return
    from ops.settings import SettingsError, load_settings
    from ops.wiring import use_schema_registry

    with suppress(SettingsError):  # the command itself says what is wrong with them
        use_schema_registry(load_settings())


def registry_fault(error: BaseException) -> CliError | None:
    """A schema registry that is away or refuses as an expected failure; None for any other error."""
    from ops.cli.errors import CliError, NotRunning

    # by name: the client's module is not needed where no registry is set
    match type(error).__name__:
        case "RegistryUnavailable":
            return NotRunning(str(error), "correct EMBERLOG_SCHEMA_REGISTRY_URL, or leave it out to work without a registry")
        case "RegistryRefused":
            return CliError(str(error), "see EMBERLOG_SCHEMA_REGISTRY_URL: emberlog settings")
    return None
