"""Positions of a generation: claiming them, moving them by compare-and-set, and what the acceptance rule remembers per owner."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from projections.errors import Fenced, Promoted
from projections.records import Positions, Problem, TopicPartition
from projections.tables import OWNER_ALARM, OWNER_POSITION, VIEW_PROBLEM

OwnerPosition = tuple[int, int]
"""Last accepted sequence and its cause; (0, -1) where an owner has none."""
NO_POSITION: OwnerPosition = (0, -1)
_MINE = "(%(mine)s::int[] IS NULL OR partition = ANY(%(mine)s::int[]))"


async def claim(conn: AsyncConnection[Any], schema: str, runner: UUID, partitions: Collection[int] | None = None) -> Positions:
    """Take partitions of a generation over, all by default: only ``runner`` moves their positions from now on. Returns these.

    Whoever had them before is fenced at its next compare-and-set. Waits for a transaction of the one before that is under way,
    and for nobody who writes other partitions.
    """
    mine = None if partitions is None else sorted(partitions)
    async with conn.transaction():
        # durable at once: a claim that a crash of the database took back would look like another runner's
        await conn.execute("SET LOCAL synchronous_commit = on")
        # the table before the rows, as a promotion takes them, and the rows in one order, as other claims do
        await conn.execute(f"LOCK TABLE {schema}.checkpoint IN ROW EXCLUSIVE MODE")
        await conn.execute(f"SELECT FROM {schema}.checkpoint WHERE {_MINE} ORDER BY topic, partition FOR UPDATE", {"mine": mine})
        await conn.execute(
            f"UPDATE {schema}.checkpoint SET runner = %(runner)s, moved_at = now() WHERE {_MINE}",
            {"runner": runner, "mine": mine},
        )
        return await positions(conn, schema, runner, partitions)


async def positions(
    conn: AsyncConnection[Any], schema: str, runner: UUID | None = None, partitions: Collection[int] | None = None
) -> Positions:
    """Positions of a generation, or of some of its partitions.

    With ``runner``: raises Promoted where it is retired, Fenced where another runner has one of them.
    """
    cursor = await conn.execute(
        f"SELECT topic, partition, next_offset, runner, retired FROM {schema}.checkpoint WHERE {_MINE}",
        {"mine": None if partitions is None else sorted(partitions)},
    )
    rows = await cursor.fetchall()
    if runner is not None:
        _must_own(rows, runner, schema)
    return {(topic, partition): offset for topic, partition, offset, _, _ in rows}


async def is_retired(conn: AsyncConnection[Any], schema: str) -> bool:
    """Whether no runner may write to a generation: it was live before, or a load in bulk did not come to its end."""
    row = await (await conn.execute(f"SELECT bool_or(retired) FROM {schema}.checkpoint")).fetchone()
    return row is not None and bool(row[0])


async def position_of(conn: AsyncConnection[Any], view: str, topic: str, partition: int) -> int:
    """Next offset of one partition in the live generation of ``view``; 0 where the view does not read it."""
    query = f"SELECT next_offset FROM public.emberlog_{view}_checkpoint WHERE topic = %s AND partition = %s"
    row = await (await conn.execute(query, (topic, partition), prepare=True)).fetchone()
    return 0 if row is None else int(row[0])


def _must_own(rows: Sequence[tuple[Any, ...]], runner: UUID, schema: str) -> None:
    # first of all Fenced: a zombie must not follow a promotion and take the new generation from its rightful runner
    if any(r[3] != runner for r in rows):
        raise Fenced(
            f"another runner took {schema} over, so this one has stopped; nothing is lost. Let no two projectors have the same "
            "partition of a view: stop the other one and start this one again"
        )
    if any(r[4] for r in rows):
        raise Promoted(f"{schema} is no longer live")


async def advance(conn: AsyncConnection[Any], schema: str, runner: UUID, moves: Mapping[TopicPartition, tuple[int, int]]) -> None:
    """Compare-and-set: move each position from its first to its second offset, first statement of the transaction.

    Raises Promoted or Fenced; the transaction must then be rolled back.
    """
    ordered = sorted(moves.items())
    cursor = await conn.execute(
        f"UPDATE {schema}.checkpoint c SET next_offset = m.after, moved_at = now() "
        "FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::bigint[]) AS m(topic, partition, before, after) "
        "WHERE c.topic = m.topic AND c.partition = m.partition AND c.next_offset = m.before AND c.runner = %s AND NOT c.retired",
        (
            [tp[0] for tp, _ in ordered],
            [tp[1] for tp, _ in ordered],
            [move[0] for _, move in ordered],
            [move[1] for _, move in ordered],
            runner,
        ),
    )
    if cursor.rowcount != len(ordered):
        await positions(conn, schema, runner, {partition for (_, partition), _ in ordered})
        raise Fenced(f"the checkpoint of {schema} was moved by somebody else; stop the other projector and start this one again")


class OwnerPositions:
    """Last accepted sequence by owner: a bounded cache in front of ``owner_position``.

    An owner lives on one partition, so no two runners of a view write the same row here, nor in ``owner_alarm``.
    Owners with an alarm are all in memory: the protocol never makes gaps, so there are none or few.
    """

    def __init__(self, schema: str, limit: int) -> None:
        self._schema = schema
        self._limit = limit
        self._cache: OrderedDict[str, OwnerPosition] = OrderedDict()
        self.alarmed: set[str] = set()

    async def load_alarms(self, conn: AsyncConnection[Any]) -> None:
        """Read the owners that are parked."""
        cursor = await conn.execute(f"SELECT owner::text FROM {self._schema}.owner_alarm")
        self.alarmed = {r[0] for r in await cursor.fetchall()}

    async def of(self, conn: AsyncConnection[Any], owners: Iterable[str]) -> dict[str, OwnerPosition]:
        """Positions of ``owners``, from the cache or the table."""
        found: dict[str, OwnerPosition] = {}
        missing = []
        for owner in owners:
            known = self._cache.get(owner)
            if known is None:
                missing.append(owner)
            else:
                self._cache.move_to_end(owner)
                found[owner] = known
        if missing:
            cursor = await conn.execute(
                f"SELECT owner::text, last_sequence, last_cause FROM {self._schema}.owner_position WHERE owner = ANY(%s::uuid[])",
                (missing,),
            )
            found.update({r[0]: (r[1], r[2]) for r in await cursor.fetchall()})
            for owner in missing:
                found.setdefault(owner, NO_POSITION)
        return found

    def committed(self, changed: Mapping[str, OwnerPosition], alarms: Iterable[str]) -> None:
        """Remember what a transaction wrote, after its commit."""
        for owner, position in changed.items():
            self._cache[owner] = position
            self._cache.move_to_end(owner)
        while len(self._cache) > self._limit:
            self._cache.popitem(last=False)
        self.alarmed.update(alarms)


async def save_owner_positions(conn: AsyncConnection[Any], schema: str, changed: Mapping[str, OwnerPosition]) -> None:
    """Write the owners' new positions."""
    if not changed:
        return
    await conn.execute(
        f"INSERT INTO {schema}.{OWNER_POSITION.name} (owner, last_sequence, last_cause) "
        "SELECT * FROM unnest(%s::uuid[], %s::bigint[], %s::bigint[]) "
        "ON CONFLICT (owner) DO UPDATE SET last_sequence = EXCLUDED.last_sequence, last_cause = EXCLUDED.last_cause",
        (list(changed), [p[0] for p in changed.values()], [p[1] for p in changed.values()]),
    )


async def save_alarms(conn: AsyncConnection[Any], schema: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Park owners: rows in the order of OWNER_ALARM's columns."""
    async with conn.cursor() as cursor:
        await cursor.executemany(OWNER_ALARM.upsert(schema), rows)


async def save_problems(conn: AsyncConnection[Any], schema: str, problems: Sequence[Problem]) -> None:
    """Note skipped records."""
    rows = {(p.topic, p.partition, p.offset): p.reason for p in problems}
    async with conn.cursor() as cursor:
        await cursor.executemany(VIEW_PROBLEM.upsert(schema), [(*place, reason) for place, reason in rows.items()])
