"""``emberlog owner``: who is known, under which reference, and by which other names."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.commands.options import TIMEOUT_S, Json, Timeout

if TYPE_CHECKING:
    from ops.cli.owners import Known

app = typer.Typer(no_args_is_help=True, help="Owners: references on the log, and other names for the same owner.")

Name = Annotated[str, typer.Argument(help="An owner, such as default/user/u-1 or u-1.", show_default=False)]


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="owner", rich_help_panel="Operate")


@app.command()
def show(
    owner: Annotated[
        str | None, typer.Argument(help="An owner or an alias, such as default/user/u-1 or u-1.", show_default=False)
    ] = None,
    reference: Annotated[str | None, typer.Option("--reference", help="A reference from the log: whose is it?")] = None,
    json: Json = False,
) -> None:
    """Show an owner's reference on the log, and the owner's aliases; or whose a reference is.

    No topic but the inbox names an owner: records carry a random reference, and who it belongs to stands in the key store only.
    Once the owner is erased, nobody can tell.

    Examples:

      emberlog owner show default/user/mara

      emberlog owner show --reference 0d7f6f5e-5a0c-4f43-9f0a-6f2f3a0c8a11
    """
    from ops.cli.errors import UsageError
    from ops.cli.out import console, plain, print_json
    from ops.cli.owners import by_name, by_reference
    from ops.cli.target import find_running
    from schemas.owner import Owner

    if (owner is None) == (reference is None):
        raise UsageError("say which: an owner, or --reference")
    if owner is not None:
        whose = Owner.parse(owner)
        found = asyncio.run(by_name(find_running(), whose))
    else:
        found = asyncio.run(by_reference(find_running(), (reference or "").strip().lower()))
    if json:
        print_json(_as_json(found))
        return
    lines = {
        "owner": found.owner,
        "reference": found.reference,
        "aliases": ", ".join(map(str, found.aliases)) or "none",
    }
    for name, text in lines.items():
        console().print(plain(f"{name:<10} {text}"), soft_wrap=True)


def _as_json(found: Known) -> dict[str, object]:
    return {"owner": str(found.owner), "reference": found.reference, "aliases": [str(alias) for alias in found.aliases]}


@app.command()
def alias(
    owner: Name,
    alias: Annotated[str, typer.Argument(help="Another name for this owner.", show_default=False)],
    timeout: Timeout = TIMEOUT_S,
    json: Json = False,
) -> None:
    """Let another name stand for an owner: turns and requests under either name are the same owner's.

    The alias must not be known yet, neither as an owner of its own nor as another's alias. An alias stays until its owner is
    erased. It is noted in the key store and, sealed, on the log.

    Example:

      emberlog owner alias default/user/mara default/user/mara@example.org
    """
    from ops.cli.changes import carry_out_for
    from ops.cli.owners import take_alias
    from ops.cli.target import find_running
    from schemas.owner import Owner

    target = find_running()
    reference, command = asyncio.run(take_alias(target, Owner.parse(owner), Owner.parse(alias)))
    carry_out_for(target, reference, command, timeout, json)


@app.command("list")
def list_owners(
    after: Annotated[str | None, typer.Option("--after", help="Begin behind this owner.")] = None,
    limit: Annotated[int, typer.Option("-n", min=1, max=100_000, help="How many at most.")] = 100,
    json: Json = False,
) -> None:
    """List the owners that are known with their references, in the order of their names.

    Examples:

      emberlog owner list

      emberlog owner list -n 1000 --after default/user/mara --json
    """
    from ops.cli.out import console, plain, print_json, table
    from ops.cli.owners import listed
    from ops.cli.target import find_running
    from schemas.owner import Owner

    found = asyncio.run(listed(find_running(), Owner.parse(after) if after is not None else None, limit + 1))
    more, found = len(found) > limit, found[:limit]
    if json:
        print_json([{"owner": str(row.owner), "reference": row.reference} for row in found])
    elif not found:
        console().print("no owner is known" if after is None else "no owner is known behind that one")
    else:
        console().print(table("Owners", ("owner", "reference id"), [(row.owner, row.reference) for row in found]))
        if more:
            console().print(plain(f"there are more: emberlog owner list --after {found[-1].owner}"), soft_wrap=True)
