"""``emberlog keys``: checking, backing up and restoring the key store, and another master key."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.commands.options import Json

if TYPE_CHECKING:
    from ops.cli.keeping import Checked, Place, Progress

app = typer.Typer(no_args_is_help=True, help="The keys of all contents: check, back up, restore, and rotate the master key.")

LOUD = (
    "Losing the key store or its master key is losing the content of the whole log: nobody can bring it back. Back up both, "
    "apart from each other: emberlog keys backup FILE, and a copy of the master key in another place."
)
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="keys", rich_help_panel="Operate")


@app.command()
def check(json: Json = False) -> None:
    """Check that every key comes out of the key store with the master key that is set. It changes nothing.

    What is about a person is sealed on the log, under keys in the key store, which are wrapped under the master key. Losing the
    key store or the master key is losing the content of the whole log. Exit code 1: some keys do not come out.

    Examples:

      emberlog keys check

      emberlog keys check --json
    """
    from ops.cli import keeping
    from ops.cli.errors import CliError
    from ops.cli.out import print_json

    report = asyncio.run(keeping.check(keeping.place()))
    if json:
        print_json({**_as_json(report), "well": report.found.is_well})
    else:
        _show(report)
    if not report.found.is_well:
        given = report.master_id not in report.found.masters and report.found.masters
        why = "the master key that is set is not theirs" if given else "the store was changed or is damaged"
        raise CliError(f"keys that do not come out: {why}", "put back the right master key, or a backup of the key store")


def _as_json(report: Checked) -> dict[str, object]:
    from ops.cli.out import to_jsonable

    counts: dict[str, object] = to_jsonable(report.found)
    return {"store": report.store, "master": report.master, "master_id": report.master_id, **counts, "to_rotate": report.left}


def _show(report: Checked) -> None:
    from ops.cli.out import console, plain, table

    found, out = report.found, console()
    rows = [
        ("owners", found.owners, found.erased_owners, found.broken_owners),
        ("keys of messages, statements, …", found.items, found.destroyed_items, found.broken_items),
        ("keys of no owner", found.stray_items, 0, found.stray_items),
        ("the store's own key", 1, 0, found.broken_store),
    ]
    out.print(
        table("Keys", ("what", "there", "destroyed", "do not come out"), rows, right=("there", "destroyed", "do not come out"))
    )
    out.print(plain(f"key store   {report.store}"), soft_wrap=True)
    out.print(plain(f"master key  {report.master_id}, {report.master}"), soft_wrap=True)
    if report.left:
        count = f"{report.left} {'key is' if report.left == 1 else 'keys are'}"
        out.print(plain(f"{count} still under another master key: emberlog keys rotate", "yellow"), soft_wrap=True)
    out.print(plain(LOUD, "bold red"), soft_wrap=True)
    if found.is_well:
        out.print(plain("every key comes out", "green"))


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="File to write; it must not be there yet.", show_default=False)], json: Json = False
) -> None:
    """Write all keys to one file, still wrapped under the master key, which is not in it. Workers may go on meanwhile.

    Keep the file apart from the master key, as both together open everything; and no longer than you may keep what is
    forgotten, as it holds the keys that a later forget destroys.

    Example:

      emberlog keys backup keys-2026-03-01.backup
    """
    from ops.cli import keeping
    from ops.cli.errors import UsageError
    from ops.keys.backup import backup as write

    if file.exists():
        raise UsageError(f"{file} is there already: name another file")
    where = keeping.place()

    async def work(progress: Progress) -> dict[str, int]:
        async with keeping.opened(where) as database:
            return dict(await write(database, file, progress))

    with _files(file), _bar("writing keys", json) as progress:
        counts = asyncio.run(work(progress))
    _tell(counts, json, f"written and read again: {file}")
    if not json and _beside_master(where, file):
        _warn("this file stands beside the master key: whoever has both opens everything. Take it to another place.")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `emberlog keys backup` wrote.", show_default=False)],
    json: Json = False,
) -> None:
    """Fill an empty key store from a backup. Stop workers and projectors first.

    The database that EMBERLOG_KEYS_DSN names is filled; it is made where the role may do so. One that holds keys is refused.
    Owners and contents from after the backup cannot be read any more. Keys that were destroyed since come back with it, until a
    projector has carried out the log's forgets again; start it before anything else.

    Example:

      EMBERLOG_KEYS_DSN=postgresql://…/keys_2 emberlog keys restore keys-2026-03-01.backup
    """
    from ops.cli import keeping

    where = keeping.place()
    with _files(file):
        counts = asyncio.run(keeping.bring_back(where, file))
    _tell(counts, json, f"restored into {where.shown}")
    asyncio.run(keeping.prepare(where))  # says so where the master key is not at hand
    if not json:
        _warn("keys that were destroyed since the backup are back until the projector has carried out the log's forgets again")


@app.command()
def rotate(
    to_file: Annotated[
        Path | None, typer.Option("--to-file", help="File of the new master key; it is made where it is missing.")
    ] = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Wrap every owner's key under another master key. No content is sealed anew, and nothing stands still meanwhile.

    Workers and projectors must be stopped, or know both keys: start them with EMBERLOG_MASTER_KEY_FILE at the new key and
    EMBERLOG_FORMER_MASTER_KEY_FILE at the old one. One that knows the old key only can soon read nothing any more.

    The command may be interrupted and repeated. Without --to-file it rotates to the master key of the settings.

    Examples:

      emberlog keys rotate --to-file safe/master-2.key

      emberlog keys rotate --yes
    """
    from ops.cli import keeping
    from ops.cli.out import console, error_console, plain, print_json

    where = keeping.place()
    given = keeping.masters_towards(where, to_file)
    count = asyncio.run(keeping.left(where, given))
    if count and not yes:
        text = (
            f"{count} owners' keys are to be wrapped under master key {given.current.key_id}. Whatever runs must know it by now."
        )
        error_console().print(plain(text), soft_wrap=True)
        if to_file is not None:
            error_console().print(plain(_to_set(where, to_file)), soft_wrap=True)
        typer.confirm("Are workers and projectors stopped, or do they know both keys?", abort=True, err=True)
    with _bar("wrapping owners' keys", json) as progress:
        done = asyncio.run(keeping.rotate(where, given, progress))
    if json:
        print_json({"wrapped": done, "master_id": given.current.key_id})
        return
    console().print(plain(f"wrapped  {done} owners' keys; all are under master key {given.current.key_id} now"), soft_wrap=True)
    console().print(plain(_at_the_end(where, to_file)), soft_wrap=True)


def _to_set(where: Place, to_file: Path) -> str:
    former = where.master_file
    second = f"EMBERLOG_FORMER_MASTER_KEY_FILE={former}" if former else "EMBERLOG_FORMER_MASTER_KEY_FILE at a file of the old key"
    return f"for both: EMBERLOG_MASTER_KEY_FILE={to_file} and {second}" + ("" if former else ", EMBERLOG_MASTER_KEY not set")


def _at_the_end(where: Place, to_file: Path | None) -> str:
    says = [f"set EMBERLOG_MASTER_KEY_FILE={to_file} for everything"] if to_file is not None else []
    if where.settings.master_key is not None and to_file is not None:
        says.append("take EMBERLOG_MASTER_KEY away, which would win over it")
    if where.settings.former_master_key_file is not None:
        says.append("take EMBERLOG_FORMER_MASTER_KEY_FILE away")
    says.append(
        "start what was running anew, back up the new master key, and keep the old one as long as backups of the key store"
    )
    return "; ".join(says)


def _beside_master(where: Place, file: Path) -> bool:
    return where.master_file is not None and where.master_file.parent.resolve() == file.parent.resolve()


@contextmanager
def _files(file: Path) -> Iterator[None]:
    from ops.cli.errors import UsageError

    try:
        yield
    except OSError as error:
        if isinstance(error, ConnectionError):
            raise  # the key store is away
        raise UsageError(f"{file} cannot be used: {error.strerror or type(error).__name__}") from None


@contextmanager
def _bar(what: str, quiet: bool) -> Iterator[Progress]:
    from ops.cli.bars import bar
    from ops.cli.out import error_console

    console = error_console()
    if quiet or not console.is_terminal:
        yield lambda done, total: None
        return
    with bar(console, what) as progress:
        yield progress


def _tell(counts: dict[str, int], json: bool, said: str) -> None:
    from ops.cli.out import console, plain, print_json

    if json:
        print_json(counts)
        return
    rows = {
        "owners": "emberlog_owner",
        "aliases": "emberlog_owner_alias",
        "keys": "emberlog_item_key",
        "tombstones": "emberlog_forgotten",
    }
    # one row among the owners' is the store's own
    shown = {**counts, "emberlog_owner": max(0, counts.get("emberlog_owner", 0) - 1)}
    console().print(plain(said), soft_wrap=True)
    console().print(plain(", ".join(f"{shown.get(table, 0)} {name}" for name, table in rows.items())), soft_wrap=True)


def _warn(text: str) -> None:
    from ops.cli.out import error_console, plain

    error_console().print(plain(f"warning: {text}", "yellow"), soft_wrap=True)
