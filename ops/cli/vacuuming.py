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


async def working_set(patience_s: float) -> bool | None:
    """Have the working set's Redis write its file anew, without what was deleted.

    None where no Redis is configured, False where that did not end well in time.
    """
    from redis import RedisError

    from projections.working_set import connect
    from projections.working_set.aof import write_anew

    url = find_running().settings.redis_url
    if url is None:
        return None
    redis = connect(url.get_secret_value())
    try:
        return await write_anew(redis, patience_s)
    except (RedisError, OSError):
        return False
    finally:
        await redis.aclose()


async def run(chosen: Sequence[Database], patience_s: float, *, quiet: bool) -> list[Vacuumed]:
    """Write them anew, with a bar over the tables on a terminal."""
    console = error_console()
    if quiet or not console.is_terminal:
        return await vacuum(chosen, patience_s=patience_s)
    with bar(console, "writing tables anew") as progress:
        return await vacuum(chosen, progress, patience_s)
