"""The topic ``memory.current.v1`` beside the table that it is made from: what is on it, and where the two differ.

    difference = await check(view, topics, config)      # look at ``difference.equal``

A topic may be ahead of the table, as after a rollback to an older generation: what the table has still to learn is no difference.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import args_row

from projections import generation
from projections.log_reader import KafkaLog
from projections.records import Kind, LogRecord, Positions, Source
from projections.runner import RunnerConfig
from projections.view import View
from projections.views.current import CURRENT, OUTBOX, Current, record_of
from schemas import codec, envelope, ids
from schemas.envelope import Headers
from schemas.errors import ContractError
from schemas.ids import is_uuid
from schemas.topics import Topics
from schemas.types import MemoryCurrent

SOURCE = "emberlog/current"
AT_ONCE = 500
"""Rows that come from the database at once."""
CHECK_TRIES = 5
_canonical = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Update:
    """What the topic is to be told of one key. ``record`` None is a tombstone; ``owner`` None where nobody knows whose it is."""

    partition: int
    key: bytes
    owner: UUID | None
    sequence: int
    record: MemoryCurrent | None

    @property
    def value(self) -> bytes | None:
        return None if self.record is None else codec.encode(self.record)

    @property
    def headers(self) -> Headers:
        """Headers with the sequence, in which a tombstone says how new it is, too."""
        if self.record is None:
            whose = [] if self.owner is None else [("ce_subject", str(self.owner).encode())]
            return [*whose, ("sequence", str(self.sequence).encode())]
        subject, sequence = self.record.owner, {"sequence": self.sequence}
        id, at = ids.event_id(subject, self.sequence), self.record.warmed_at
        return envelope.headers_for(self.record, id=id, source=SOURCE, subject=subject, time=at, extra=sequence)


@dataclass(frozen=True, slots=True)
class OnTopic:
    """The last record of a key, in short. Of one that cannot be read only that it is there."""

    owner: UUID | None = None
    sequence: int = 0
    digest: bytes = b""


@dataclass(slots=True)
class Difference:
    """How the topic differs from the table, in memories. ``waiting`` are noted in the outbox and still to be sent."""

    missing: int = 0
    other: int = 0
    left_over: int = 0
    waiting: int = 0

    @property
    def equal(self) -> bool:
        """True where the topic, compacted, holds what the table holds."""
        return not (self.missing or self.other or self.left_over or self.waiting)


def source_of(topics: Topics) -> Source:
    """The topic, to be read."""
    return Source(topics.current, topics.partitions, Kind.PLAIN, (MemoryCurrent,), compacted=True)


def key_of(memory: UUID) -> bytes:
    """Kafka key of a memory."""
    return str(memory).encode()


async def newest(reader: KafkaLog, topic: str, partition: int, ends: Positions) -> dict[bytes, OnTopic]:
    """The last record of each key in a partition below ``ends``. ``reader`` stands at the beginning of it."""
    at = await reader.positions()
    # the others wait where they are
    target = at | {(topic, partition): ends[topic, partition]}
    found: dict[bytes, OnTopic] = {}
    while (await reader.positions())[topic, partition] < target[topic, partition]:
        for record in await reader.next_below(target):
            if record.value is None:
                found.pop(record.key or b"", None)
            else:
                found[record.key or b""] = _told(record)
    return found


def _told(record: LogRecord) -> OnTopic:
    try:
        said = codec.decode(record.value or b"")
    except ContractError:
        return OnTopic()
    if not isinstance(said, MemoryCurrent) or not is_uuid(said.owner):
        return OnTopic()
    return OnTopic(UUID(said.owner), said.sequence, digest_of(said))


def digest_of(record: MemoryCurrent) -> bytes:
    """What tells two records apart, whatever framing they were written in."""
    return hashlib.blake2b(_canonical(record), digest_size=16).digest()


@contextlib.asynccontextmanager
async def frozen(conn: AsyncConnection[Any]) -> AsyncIterator[None]:
    """A transaction that sees one moment of the tables."""
    async with conn.transaction():
        await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


async def waiting(conn: AsyncConnection[Any], schema: str, partition: int) -> list[tuple[UUID, UUID, int]]:
    """Owner, memory and sequence of what the outbox notes of a partition."""
    cursor = await conn.execute(
        f"SELECT owner, memory_id, sequence FROM {schema}.{OUTBOX.name} WHERE partition = %s", (partition,)
    )
    return await cursor.fetchall()


async def differences(
    conn: AsyncConnection[Any], schema: str, partition: int, found: dict[bytes, OnTopic]
) -> AsyncIterator[tuple[str, Update]]:
    """How a partition differs from the table: "missing", "other" or "left_over", and what puts it right.

    ``found`` was read before, and is used up. What the table has not come to yet is passed over. Call it inside ``frozen``.
    """
    async for row, last in _rows(conn, schema, partition):
        record, key = record_of(row), key_of(row.memory_id)
        told = found.pop(key, None)
        if told is None:
            yield "missing", Update(partition, key, row.owner, row.sequence, record)
        elif told.digest != digest_of(record) and told.sequence <= last:
            yield "other", Update(partition, key, row.owner, row.sequence, record)
    owners = {told.owner for told in found.values() if told.owner is not None}
    passed = await _last_sequences(conn, schema, owners)
    for key, told in found.items():
        last = 0 if told.owner is None else passed.get(told.owner, 0)
        if told.sequence <= last or told.owner is None:
            yield "left_over", Update(partition, key, told.owner, last, None)


async def _rows(conn: AsyncConnection[Any], schema: str, partition: int) -> AsyncIterator[tuple[Current, int]]:
    """The memories of a partition, each with its owner's last sequence."""
    columns = ", ".join(f"c.{name}" for name in CURRENT.names)
    async with conn.cursor("current_rows") as cursor:
        cursor.itersize = AT_ONCE
        await cursor.execute(
            f"SELECT {columns}, p.last_sequence FROM {schema}.{CURRENT.name} c JOIN {schema}.owner_position p USING (owner) "
            "WHERE c.partition = %s",
            (partition,),
        )
        async for values in cursor:
            yield Current(*values[:-1]), values[-1]


async def _last_sequences(conn: AsyncConnection[Any], schema: str, owners: set[UUID]) -> dict[UUID, int]:
    cursor = await conn.execute(
        f"SELECT owner, last_sequence FROM {schema}.owner_position WHERE owner = ANY(%s)", (sorted(owners),)
    )
    return dict(await cursor.fetchall())


async def noted(conn: AsyncConnection[Any], schema: str, limit: int) -> list[Update]:
    """What the outbox says is to be sent, ``limit`` memories at most, with the state of one moment."""
    columns = ", ".join(f"c.{name}" for name in CURRENT.names)
    async with conn.cursor(row_factory=args_row(_noted)) as cursor:
        await cursor.execute(
            f"SELECT o.partition, o.owner, o.memory_id, o.sequence, {columns} FROM {schema}.{OUTBOX.name} o "
            f"LEFT JOIN {schema}.{CURRENT.name} c ON c.memory_id = o.memory_id LIMIT %s",
            (limit,),
        )
        return await cursor.fetchall()


def _noted(partition: int, owner: UUID, memory: UUID, sequence: int, *values: Any) -> Update:
    record = None if values[0] is None else record_of(Current(*values))
    return Update(partition, key_of(memory), owner, sequence, record)


async def check(view: View, topics: Topics, config: RunnerConfig) -> Difference:
    """Compare the topic with the live table. While both are written to, only what stays different counts.

    Raises NotInstalled, TopicMissing, errors of Kafka and psycopg.
    """
    difference = Difference()
    for attempt in range(CHECK_TRIES):
        if attempt:
            await asyncio.sleep(config.poll_ms / 1000)
        difference = await _compared(view, topics, config)
        if difference.equal:
            break
    return difference


async def _compared(view: View, topics: Topics, config: RunnerConfig) -> Difference:
    source, difference = source_of(topics), Difference()
    async with await generation.connect(config.dsn) as conn, KafkaLog(config.bulk_reader(), [source]) as reader:
        schema, ends = (await generation.live(conn, view.name)).schema, await reader.ends()
        await reader.seek(dict.fromkeys(ends, 0))
        for partition in range(topics.partitions):
            found = await newest(reader, topics.current, partition, ends)
            async with frozen(conn):
                noted = {key_of(memory) for _, memory, _ in await waiting(conn, schema, partition)}
                difference.waiting += len(noted)
                async for what, update in differences(conn, schema, partition, found):
                    if update.key not in noted:
                        setattr(difference, what, getattr(difference, what) + 1)
    return difference
