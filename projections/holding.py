"""Holding partitions: a live runner has a session-level advisory lock for each partition of its view.

The lock stands on the connection that rows and checkpoint are written by, so whoever lost it cannot write any more, and a killed
process gives it back with its connection. A runner that is paused holds nothing: whoever comes first after the outage has the
partition. An owner lives on one partition of every topic, so runners of different partitions never meet in a row. The
compare-and-set on the checkpoint still fences a second writer where a pooler or a failover of the database loses locks.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from projections.errors import PartitionsTaken

SESSION = "emberlog-project"
_LOCK = "hashtext('emberlog runner ' || %(view)s)"
# the server's side of a connection: a host that vanishes without a word lets its locks go within half a minute
_KEEPALIVE = (
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; SET tcp_user_timeout = 30000"
)
_HOLDERS = f"""
SELECT l.objid::int, l.pid, a.application_name FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.classid::bigint = ({_LOCK}::bigint & 4294967295)
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY 1
"""


async def hold(conn: AsyncConnection[Any], view: str, partitions: Collection[int], runner: UUID) -> None:
    """Take the partitions for as long as ``conn`` is open. Raises PartitionsTaken where another runner has one of them.

    A connection that the same runner had before, and that the server has not missed yet, is ended.
    """
    await conn.execute(_KEEPALIVE)
    await conn.execute("SELECT set_config('application_name', %s, false)", (f"{SESSION} {runner}",))
    query = f"SELECT p, pg_try_advisory_lock({_LOCK}, p) FROM unnest(%(partitions)s::int[]) AS p"
    cursor = await conn.execute(query.encode(), {"view": view, "partitions": sorted(partitions)})
    taken = [partition for partition, ours in await cursor.fetchall() if not ours]
    if not taken:
        return
    by = {partition: (pid, name) for partition, pid, name in await _holders(conn, view)}
    for pid, name in by.values():
        if name == f"{SESSION} {runner}" and pid != conn.info.backend_pid:
            await conn.execute("SELECT pg_terminate_backend(%s)", (pid,))
    sessions = ", ".join(str(pid) for pid in sorted({by[partition][0] for partition in taken if partition in by})) or "gone"
    raise PartitionsTaken(
        f"another projector keeps partition {', '.join(map(str, taken))} of view {view} (database session {sessions}), "
        "so this one has not begun: stop the other one, or share the view, each with partitions of its own: "
        f"emberlog project {view} --partitions 0,1"
    )


async def held(conn: AsyncConnection[Any], view: str) -> frozenset[int]:
    """Partitions of the view that a live runner has, in the database of ``conn``."""
    return frozenset(partition for partition, _, _ in await _holders(conn, view))


async def _holders(conn: AsyncConnection[Any], view: str) -> list[tuple[int, int, str | None]]:
    cursor = await conn.execute(_HOLDERS.encode(), {"view": view})
    return list(await cursor.fetchall())
