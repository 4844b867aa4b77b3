"""The hot tier's vector index: HNSW over what is younger than some days, in event time.

    made = await renew(conn, view, schema, datetime.now(UTC))

The condition of a partial index is constant, so the index keeps what grows old meanwhile, and searches leave it out
(``projections.hot_search``). Once it is a tenth of the tier behind, at least a day, one with a newer bound is made beside it
and it is dropped: readers and writers go on. Its name says its dimensions and its bound, so there is nothing else to keep, and
what a kill leaves is found. It is made with a generation too, before that is ready or live; no digest knows of it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection

from projections.view import HotIndex, Table, View

log = structlog.get_logger(__name__)

MAX_INDEXED = {"halfvec": 4_000, "vector": 2_000}
"""pgvector's limits for HNSW, in dimensions."""
NODE_BYTES, HALF_BYTES, WHOLE_BYTES = 720, 2, 4
"""What pgvector 0.8.5 takes in memory for a vector of the graph, beside its numbers, and for each of them; measured by the number
of vectors after which it says that its memory is full."""
LEAST_BYTES, MARGIN = 64 * 2**20, 1.15
_NAMED = re.compile(r".*_hot_(?P<dimensions>\d+)_(?P<since>\d{8})")
_FOUND = """
SELECT i.relname, x.indisvalid FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid
WHERE x.indrelid = %s::regclass AND i.relname LIKE %s ORDER BY 1
"""
_TYPE = """
SELECT t.typname FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
WHERE a.attrelid = %s::regclass AND a.attname = 'vec'
"""
# a parallel build keeps the graph in shared memory, of which containers have little, so that one is left to servers that were
# given more
_ROOM = """
SELECT set_config('maintenance_work_mem', %(kib)s::text || 'kB', false),
       set_config('max_parallel_maintenance_workers', '0', false)
WHERE pg_size_bytes(current_setting('maintenance_work_mem')) < %(kib)s * 1024
"""


def hot_since(days: int, now: datetime) -> datetime:
    """Where the hot tier of ``days`` begins at ``now`` (aware)."""
    return now.astimezone(UTC) - timedelta(days=days)


@dataclass(frozen=True, slots=True)
class Bound:
    """What an index is over: vectors of so many dimensions, of things that happened on ``since`` (UTC) or later."""

    dimensions: int
    since: date

    def name(self, table: str) -> str:
        """The index's name."""
        return f"{table}_hot_{self.dimensions}_{self.since:%Y%m%d}"

    def definition(self, hot: HotIndex, type: str) -> str:
        """What follows ``ON table`` in CREATE INDEX; ``type`` is that of the vectors."""
        count = self.dimensions
        return (
            f"USING hnsw ((vec::{type}({count})) {type}_cosine_ops) "
            f"WHERE {hot.where} AND dimensions = {count} AND created_at >= '{self.since:%Y-%m-%d} 00:00:00+00'"
        )


async def renew(
    conn: AsyncConnection[Any], view: View, schema: str, now: datetime, *, beside: bool = False, exactly: bool = False
) -> list[str]:
    """Make the hot tier's index in a generation, where there is none that serves at ``now``; names of those that were made.

    ``beside``: readers and writers go on meanwhile; ``conn`` must be outside a transaction then, and may wait for the end of
    others'. ``exactly``: also where there is one that holds a little more than it should. Raises psycopg's errors; the next call
    clears up behind one that failed.
    """
    made = []
    for table in view.tables:
        if table.hot is not None:
            slack = timedelta(1 if exactly else max(1, table.hot.days // 10))
            made += await _renew(conn, table, table.hot, schema, now, slack, " CONCURRENTLY" if beside else "")
    return made


async def _renew(
    conn: AsyncConnection[Any], table: Table, hot: HotIndex, schema: str, now: datetime, slack: timedelta, how: str
) -> list[str]:
    place = f"{schema}.{table.name}"
    [(type,)] = await (await conn.execute(_TYPE, (place,))).fetchall()
    wanted = Bound(hot.dimensions, hot_since(hot.days, now).date())
    found = dict(await (await conn.execute(_FOUND, (place, f"{table.name}\\_hot\\_%"))).fetchall())
    serving = [name for name, valid in found.items() if valid and _serves(bound_of(name), wanted, slack)]
    kept, made = serving[-1:], list[str]()
    if not serving and hot.dimensions <= MAX_INDEXED[type]:
        made = [wanted.name(table.name)]
        if made[0] in found:  # left by a kill
            await conn.execute(f"DROP INDEX{how} IF EXISTS {schema}.{made[0]}")
        async with room(conn, await _bytes_of(conn, place, wanted, hot, type), hot.memory_mb * 2**20):
            await conn.execute(f"CREATE INDEX{how} {made[0]} ON {place} {wanted.definition(hot, type)}")
    for name in found.keys() - {*kept, *made}:
        await conn.execute(f"DROP INDEX{how} IF EXISTS {schema}.{name}")
    return made


def _serves(bound: Bound | None, wanted: Bound, slack: timedelta) -> bool:
    """Whether an index of ``bound`` holds all of ``wanted``, and not much more."""
    if bound is None or bound.dimensions != wanted.dimensions:
        return False
    return wanted.since - slack < bound.since <= wanted.since


def bound_of(name: str) -> Bound | None:
    """What the name of an index says, None for another's name."""
    if (found := _NAMED.fullmatch(name)) is None:
        return None
    with contextlib.suppress(ValueError):
        return Bound(int(found["dimensions"]), datetime.strptime(found["since"], "%Y%m%d").date())
    return None


async def _bytes_of(conn: AsyncConnection[Any], place: str, bound: Bound, hot: HotIndex, type: str) -> int:
    """Memory that the graph takes while it is made."""
    query = f"SELECT count(*) FROM {place} WHERE {hot.where} AND dimensions = %s AND created_at >= %s"
    since = datetime(bound.since.year, bound.since.month, bound.since.day, tzinfo=UTC)
    [(count,)] = await (await conn.execute(query, (bound.dimensions, since))).fetchall()
    return graph_bytes(count, bound.dimensions, type)


def graph_bytes(count: int, dimensions: int, type: str) -> int:
    """Memory for a graph of ``count`` vectors of ``type``, halfvec or vector, while pgvector makes it."""
    number = HALF_BYTES if type == "halfvec" else WHOLE_BYTES
    return max(LEAST_BYTES, round(MARGIN * count * (NODE_BYTES + number * dimensions)))


@contextlib.asynccontextmanager
async def room(conn: AsyncConnection[Any], wanted: int, most: int) -> AsyncIterator[None]:
    """Memory for the graph, up to ``most`` bytes, unless the server was given more: what does not fit takes many times longer."""
    if wanted > most:
        log.warning("a vector index takes more memory than it may have", wanted_mb=wanted // 2**20, most_mb=most // 2**20)
    await conn.execute(_ROOM, {"kib": min(wanted, most) // 1024})
    try:
        yield
    finally:
        with contextlib.suppress(psycopg.Error):
            await conn.execute("RESET maintenance_work_mem")
            await conn.execute("RESET max_parallel_maintenance_workers")
