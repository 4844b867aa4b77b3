"""The databases of an installation, to be written anew by ``emberlog vacuum``."""

from __future__ import annotations

from collections.abc import Sequence

from ops.cli.bars import bar
from ops.cli.keeping import place
from ops.cli.out import error_console
from ops.cli.target import find_running
from ops.vacuuming import Database, Vacuumed, vacuum


def databases(*, keys: bool, views: bool) -> list[Database]:
    """The chosen ones. Raises NotRunning where their address is not set and nothing runs."""
    chosen = [Database("views", find_running().dsn)] if views else []
    return [*chosen, Database("key store", place().widest, keys=True)] if keys else chosen


async def run(chosen: Sequence[Database], patience_s: float, *, quiet: bool) -> list[Vacuumed]:
    """Write them anew, with a bar over the tables on a terminal."""
    console = error_console()
    if quiet or not console.is_terminal:
        return await vacuum(chosen, patience_s=patience_s)
    with bar(console, "writing tables anew") as progress:
        return await vacuum(chosen, progress, patience_s)
