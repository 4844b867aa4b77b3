"""The decider's materialised state in Postgres. Its only writer is the decider; it is a cache of the log's fold, never truth.

A row per owner, and a row per entry of an owner's state, so that a decision reads and writes only the entries that it touches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg

from streams.decider import OwnerState
from streams.decider.state import DONE, Entry
from streams.protocol.entries import dump_entry, dump_key, load_entry

TABLES = """
CREATE TABLE IF NOT EXISTS emberlog_decider_position (
    topic text NOT NULL, partition int NOT NULL, position bigint NOT NULL, PRIMARY KEY (topic, partition)
);
CREATE TABLE IF NOT EXISTS emberlog_decider_owner (
    topic text NOT NULL, owner uuid NOT NULL, partition int NOT NULL, last_sequence bigint NOT NULL, last_cause bigint NOT NULL,
    live bigint NOT NULL, erased_below bigint NOT NULL, erased_cause bigint NOT NULL,
    forgot_below bigint NOT NULL, entries int, PRIMARY KEY (topic, owner)
);
CREATE TABLE IF NOT EXISTS emberlog_decider_entry (
    topic text NOT NULL, owner uuid NOT NULL, key bytea NOT NULL, cause bigint NOT NULL, value bytea NOT NULL,
    PRIMARY KEY (topic, owner, key)
);
"""

# every statement goes by primary key; statistics of a table that was empty a moment ago would have it read as a whole
_BY_KEY = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off"

_HEADERS = """
SELECT o.owner::text, o.last_sequence, o.last_cause, o.live, o.erased_below, o.erased_cause, o.forgot_below, o.entries
FROM unnest(%b::text[]) AS w (owner)
JOIN emberlog_decider_owner AS o ON o.topic = %b AND o.owner = w.owner::uuid
"""
# LATERAL with a limit is looked up row by row, whatever the planner thinks of the sizes
_ENTRIES = """
SELECT w.place, e.key, e.cause, e.value
FROM unnest(%b::text[], %b::bytea[]) WITH ORDINALITY AS w (owner, key, place)
CROSS JOIN LATERAL (
    SELECT key, cause, value FROM emberlog_decider_entry WHERE topic = %b AND owner = w.owner::uuid AND key = w.key LIMIT 1
) AS e
"""
_ALL_ENTRIES = """
SELECT w.place, e.key, e.cause, e.value
FROM unnest(%b::text[]) WITH ORDINALITY AS w (owner, place)
JOIN emberlog_decider_entry AS e ON e.topic = %b AND e.owner = w.owner::uuid
"""
_MOVE = "UPDATE emberlog_decider_position SET position = %b WHERE topic = %b AND partition = %b AND position = %b"
_HERE = "SELECT position FROM emberlog_decider_position WHERE topic = %b AND partition = %b"
_SAVE_HEADERS = """
INSERT INTO emberlog_decider_owner
SELECT %b, w.owner::uuid, %b, w.last_sequence, w.last_cause, w.live, w.erased_below, w.erased_cause, w.forgot_below,
       w.entries
FROM unnest(%b::text[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[],
            %b::int[])
     AS w (owner, last_sequence, last_cause, live, erased_below, erased_cause, forgot_below, entries)
ON CONFLICT (topic, owner) DO UPDATE SET
    last_sequence = excluded.last_sequence, last_cause = excluded.last_cause, live = excluded.live,
    erased_below = excluded.erased_below, erased_cause = excluded.erased_cause,
    forgot_below = excluded.forgot_below, entries = excluded.entries
"""
_ERASE = """
DELETE FROM emberlog_decider_entry AS e USING unnest(%b::text[], %b::bigint[]) AS w (owner, erased_cause)
WHERE e.topic = %b AND e.owner = w.owner::uuid AND e.cause <= w.erased_cause AND substring(e.key FOR 2) <> %b
"""
_SAVE_ENTRIES = """
INSERT INTO emberlog_decider_entry
SELECT %b, w.owner::uuid, w.key, w.cause, w.value
FROM unnest(%b::text[], %b::bytea[], %b::bigint[], %b::bytea[]) AS w (owner, key, cause, value)
ON CONFLICT (topic, owner, key) DO UPDATE SET cause = excluded.cause, value = excluded.value
"""
_DELETE_ENTRIES = """
DELETE FROM emberlog_decider_entry AS e USING unnest(%b::text[], %b::bytea[]) AS w (owner, key)
WHERE e.topic = %b AND e.owner = w.owner::uuid AND e.key = w.key
"""


class PositionLost(RuntimeError):
    """Another decider materialised this partition: this one is a zombie and stops."""


class Header(NamedTuple):
    """An owner's row: its state without entries, and how many there are; None for more than are worth counting."""

    state: OwnerState
    entries: int | None


class Stored(NamedTuple):
    """An entry's row; ``cause`` is the owner's last cause when it was written."""

    cause: int
    entry: Entry

    def is_void(self, key: str, erased_cause: int) -> bool:
        """Whether an erasure took the entry away: all but the commands that were decided."""
        return self.cause <= erased_cause and not key.startswith(DONE)


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be saved of one owner."""

    state: OwnerState
    entries: int | None
    """How many entries the owner has; None for more than are worth counting."""
    changed: Mapping[str, Entry | None]
    """Entries that differ from the saved ones; None for one that is gone."""
    erased: bool = False
    """Whether there was an erasure since the last save."""


class DeciderStore:
    """State of the owners of one partition of ``topic`` (the memory.events topic).

    Two connections of its own, so that look-ups need not wait for a save.
    """

    def __init__(self, dsn: str, topic: str, partition: int) -> None:
        self._dsn, self._topic, self._partition = dsn, topic, partition
        self._reading: psycopg.AsyncConnection[tuple[Any, ...]] | None = None
        self._writing: psycopg.AsyncConnection[tuple[Any, ...]] | None = None
        self._ours: set[int] = set()
        """The position that was found or saved, and the one that is being saved: any other is another decider's."""

    async def open(self) -> int:
        """Connect; the position up to which the log is folded in. Raises psycopg.OperationalError while Postgres is away."""
        self._reading, self._writing = await self._connect(), await self._connect()
        await self._writing.execute(
            "INSERT INTO emberlog_decider_position VALUES (%s, %s, 0) ON CONFLICT DO NOTHING", (self._topic, self._partition)
        )
        position = await self.position()
        self._ours = {position}
        return position

    async def position(self) -> int:
        """The position up to which the log is folded in."""
        assert self._writing is not None
        query = "SELECT position FROM emberlog_decider_position WHERE topic = %s AND partition = %s"
        row = await (await self._writing.execute(query, (self._topic, self._partition))).fetchone()
        assert row is not None
        return int(row[0])

    async def _connect(self) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        connection = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)
        try:
            await connection.execute(_BY_KEY)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def close(self) -> None:
        """Close what is open."""
        for connection in (self._reading, self._writing):
            if connection is not None:
                await connection.close()
        self._reading = self._writing = None

    # -- looking up

    async def headers(self, owners: Iterable[str]) -> dict[str, Header]:
        """Headers of those of ``owners`` that have one."""
        rows = await self._rows(_HEADERS, (list(owners), self._topic))
        return {
            owner: Header(OwnerState(sequence, cause, live, below, erased, forgot), count)
            for owner, sequence, cause, live, below, erased, forgot, count in rows
        }

    async def entries(self, wanted: Mapping[str, Collection[str]]) -> dict[str, dict[str, Stored]]:
        """The entries that each owner has of the wanted keys, in one round trip."""
        pairs = [(owner, key) for owner, keys in wanted.items() for key in keys]
        found: dict[str, dict[str, Stored]] = {owner: {} for owner in wanted}
        if pairs:
            sought = [owner for owner, _ in pairs], [dump_key(key) for _, key in pairs], self._topic
            for place, row_key, cause, value in await self._rows(_ENTRIES, sought):
                key, entry = load_entry(row_key, value)
                found[pairs[place - 1][0]][key] = Stored(cause, entry)
        return found

    async def all_entries(self, owners: Iterable[str]) -> dict[str, dict[str, Stored]]:
        """Every entry of each owner, in one round trip."""
        names = list(owners)
        found: dict[str, dict[str, Stored]] = {owner: {} for owner in names}
        if names:
            for place, row_key, cause, value in await self._rows(_ALL_ENTRIES, (names, self._topic)):
                key, entry = load_entry(row_key, value)
                found[names[place - 1]][key] = Stored(cause, entry)
        return found

    async def _rows(self, query: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        assert self._reading is not None
        async with self._reading.cursor(binary=True) as cursor:
            await cursor.execute(query.encode(), parameters)
            rows = await cursor.fetchall()
            # afterwards, so that nothing newer can have been read: events that entries hold already must not be folded in again
            await cursor.execute(_HERE.encode(), (self._topic, self._partition))
            here = await cursor.fetchone()
        if here is None or here[0] not in self._ours:
            raise PositionLost(f"another decider materialised partition {self._partition}; this one stops")
        return rows

    # -- saving

    async def save(self, expected: int, position: int, changes: Mapping[str, Change]) -> None:
        """Write changes with their position, in one transaction. Raises PositionLost where ``expected`` is not there."""
        assert self._writing is not None
        self._ours.add(position)
        async with self._writing.transaction(), self._writing.cursor() as cursor:
            await cursor.execute(_MOVE.encode(), (position, self._topic, self._partition, expected))
            if cursor.rowcount != 1:
                raise PositionLost(f"another decider materialised partition {self._partition}; this one stops")
            if changes:
                await self._save_owners(cursor, changes)
                await self._save_entries(cursor, changes)
        self._ours = {position}

    async def _save_owners(self, cursor: psycopg.AsyncCursor[Any], changes: Mapping[str, Change]) -> None:
        states = [c.state for c in changes.values()]
        columns = (
            [s.last_sequence for s in states],
            [s.last_cause for s in states],
            [s.live for s in states],
            [s.erased_below for s in states],
            [s.erased_cause for s in states],
            [s.forgot_below for s in states],
            [c.entries for c in changes.values()],
        )
        await cursor.execute(_SAVE_HEADERS.encode(), (self._topic, self._partition, list(changes), *columns))
        erased = {owner: c.state.erased_cause for owner, c in changes.items() if c.erased}
        if erased:
            await cursor.execute(_ERASE.encode(), (list(erased), list(erased.values()), self._topic, DONE.encode()))

    async def _save_entries(self, cursor: psycopg.AsyncCursor[Any], changes: Mapping[str, Change]) -> None:
        rows = [
            (owner, dump_key(key), change.state.last_cause, dump_entry(key, entry))
            for owner, change in changes.items()
            for key, entry in change.changed.items()
            if entry is not None
        ]
        gone = [(owner, dump_key(key)) for owner, c in changes.items() for key, entry in c.changed.items() if entry is None]
        if rows:
            owners, keys, causes, values = map(list, zip(*rows, strict=True))
            await cursor.execute(_SAVE_ENTRIES.encode(), (self._topic, owners, keys, causes, values))
        if gone:
            owners, keys = map(list, zip(*gone, strict=True))
            await cursor.execute(_DELETE_ENTRIES.encode(), (owners, keys, self._topic))
