"""``emberlog vacuum``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.commands.options import Json

if TYPE_CHECKING:
    from ops.vacuuming import Database, Vacuumed

PATIENCE_S = 60.0


def register(app: typer.Typer) -> None:
    app.command("vacuum", rich_help_panel="Operate")(vacuum)


def vacuum(
    keys: Annotated[bool, typer.Option("--keys", help="The key store's database only.")] = False,
    views: Annotated[bool, typer.Option("--views", help="The database of views and decider, and the working set, only.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    patience: Annotated[
        float, typer.Option("--patience", min=1, help="Seconds without any progress after which tables in use are left.")
    ] = PATIENCE_S,
    json: Json = False,
) -> None:
    """Write the databases' tables anew, so that what was forgotten leaves their files. Nothing that is remembered changes.

    A row that is deleted stays in PostgreSQL's files as a dead one, also after autovacuum; samples of its values stay with the
    planner, and its bytes in the write-ahead log. This writes each table and its indexes anew without dead rows (VACUUM FULL),
    draws the samples anew, and lets the files of the write-ahead log go. The working set's Redis writes its file anew, too.

    Run it after a forget or an erasure that must not wait, else by night: workers and projectors may go on, but each table is
    locked while it is written, about three seconds for 100 MB, and its size is needed once more on the disk. A table in use is
    waited for and tried again. Exit code 1: some tables had to be left; the answer names them.

    Backups, snapshots and replicas of the databases are not reached: they hold what they hold until they expire.

    Examples:

      emberlog vacuum

      emberlog vacuum --keys --yes --json
    """
    from ops.cli.errors import CliError
    from ops.cli.out import print_json
    from ops.cli.vacuuming import databases, run, working_set

    chosen = databases(keys=keys or not views, views=views or not keys)
    if not yes:
        _ask(chosen)
    results = asyncio.run(run(chosen, patience, quiet=json))
    redis = asyncio.run(working_set(patience)) if views or not keys else None
    if json:
        complete = redis is not False and not any(result.left for result in results)
        print_json({"complete": complete, "databases": results, "working_set": redis})
    else:
        _show(results)
    if redis is False:
        raise CliError("the working set's Redis did not write its file anew", "try again once it answers: emberlog status")
    if left := [f"{result.label}: {table} ({why})" for result in results for table, why in result.left.items()]:
        raise CliError(
            f"deleted rows may still stand in the files of {len(left)} {'table' if len(left) == 1 else 'tables'}: "
            + "; ".join(left),
            "try again when they are not in use; a right that is missing has the owner of the database, or a superuser",
        )


def _ask(chosen: Sequence[Database]) -> None:
    from ops.cli.out import error_console, plain

    names = " and ".join(database.label for database in chosen)
    text = f"Every table of {names} is to be written anew. Each is locked meanwhile: what needs it waits, and goes on by itself."
    error_console().print(plain(text), soft_wrap=True)
    typer.confirm("Go on?", abort=True, err=True)


def _show(results: Sequence[Vacuumed]) -> None:
    from ops.cli.out import console, plain, table

    out = console()
    rows = [(r.label, r.tables, _mb(r.before), _mb(r.after), len(r.left)) for r in results]
    columns = ("database", "tables", "MB before", "MB after", "tables left")
    out.print(table("Written anew", columns, rows, right=columns[1:]))
    for result in results:
        if result.foreign:
            out.print(
                plain(f"{result.label}: {result.foreign} tables that Emberlog does not know stay as they are"), soft_wrap=True
            )
        for line in result.wal:
            out.print(plain(f"write-ahead log of {result.label}: {line}", "yellow"), soft_wrap=True)
    if not any(result.wal for result in results):
        out.print("the write-ahead log holds none of it any more")
    out.print("backups, snapshots and replicas of the databases hold what they hold until they expire", soft_wrap=True)


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f}"
