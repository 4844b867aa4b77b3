"""Forgetting memories and waiting until every store has done it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from aiokafka import TopicPartition

from ops.cli.errors import TimedOut, UsageError
from ops.cli.target import Target
from ops.cli.topics import partitions_of, topic_reader
from schemas import codec
from schemas.errors import ContractError
from schemas.owner import Owner
from schemas.topics import partition_of
from schemas.types import CommandNoted, CommandRejected, MemoryForgotten
from streams.producers import CommandProducer

POLL_S = 0.02
SHORTEST_PREFIX = 4
VIEWS = ("thermal", "embeddings")


@dataclass(slots=True)
class Forgotten:
    """What a forget brought: memory ids with the messages that taught them (they stay), or the reason why nothing changed."""

    forgotten: dict[str, list[str]] = field(default_factory=dict)
    noted: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)


async def resolve(target: Target, owner: Owner, wanted: Sequence[str]) -> list[str]:
    """Full memory ids; beginnings of ids are looked up among the owner's live memories. Raises UsageError."""
    full = []
    async with await psycopg.AsyncConnection.connect(target.dsn, autocommit=True) as connection:
        for text in wanted:
            try:
                full.append(str(UUID(text)))
            except ValueError:
                full.append(await _by_beginning(connection, owner, text.lower()))
    return full


async def _by_beginning(connection: psycopg.AsyncConnection[Any], owner: Owner, text: str) -> str:
    if len(text) < SHORTEST_PREFIX or set(text) - set("0123456789abcdef-"):
        raise UsageError(f"{text} is no memory id", "ids are shown by: emberlog recall … and emberlog tail events")
    cursor = await connection.execute(
        "SELECT id::text FROM thermal_memory_archive WHERE owner = %s::uuid AND id::text LIKE %s LIMIT 2",
        (owner.reference, f"{text}%"),
    )
    found = [row[0] for row in await cursor.fetchall()]
    if len(found) != 1:
        problem = "fits several memories: write more of it" if found else "fits no live memory of this owner"
        raise UsageError(f"{text} {problem}")
    return str(found[0])


async def forget(target: Target, owner: Owner, memory_ids: Sequence[str], timeout_s: float) -> Forgotten:
    """Ask for the memories to be forgotten; returns once archive and embeddings have followed. Raises TimedOut."""
    deadline = time.monotonic() + timeout_s
    partition = partition_of(owner.reference, target.topics.partitions)
    tp = TopicPartition(target.topics.events, partition)
    async with topic_reader(target.bootstrap) as consumer:
        await partitions_of(consumer, target.topics.events, target.topics.partitions)
        start = (await consumer.end_offsets([tp]))[tp]
        async with CommandProducer(target.bootstrap, target.topics) as producer:
            _, cause = await producer.forget(owner.reference, memory_ids)
        consumer.assign([tp])
        consumer.seek(tp, start)
        result, behind = await _outcome(consumer, owner.reference, cause, deadline)
    await _projected(target, partition, behind, deadline)
    return result


async def _outcome(consumer: Any, owner: str, cause: int, deadline: float) -> tuple[Forgotten, int]:
    """What the decider wrote for the command at offset ``cause``, and the offset behind it.

    Its events stand together, so the first record of another command, or a moment of silence after the first, ends them.
    """
    result, behind = Forgotten(), -1
    while time.monotonic() < deadline:
        batches = await consumer.getmany(timeout_ms=50)
        for record in (r for records in batches.values() for r in records):
            try:
                event = codec.decode(record.value or b"")
            except ContractError:
                continue
            meta = getattr(event, "meta", None)
            if meta is None or (meta.owner, meta.cause) != (owner, cause):
                continue
            behind = record.offset + 1
            match event:
                case MemoryForgotten():
                    result.forgotten[event.memory_id] = list(event.kept_message_ids)
                case CommandNoted():
                    result.noted = [event.reason]
                case CommandRejected():
                    result.rejected = [event.reason]
        if behind >= 0 and not batches:
            return result, behind
    raise TimedOut("the request is on the log, but nobody has decided it yet", "does a worker run? emberlog status")


async def _projected(target: Target, partition: int, offset: int, deadline: float) -> None:
    async with await psycopg.AsyncConnection.connect(target.dsn, autocommit=True) as connection:
        for view in VIEWS:
            query = f"SELECT next_offset FROM emberlog_{view}_checkpoint WHERE topic = %s AND partition = %s"
            while True:
                row = await (await connection.execute(query, (target.topics.events, partition))).fetchone()
                if row is not None and row[0] >= offset:
                    break
                if time.monotonic() > deadline:
                    raise TimedOut(f"decided, but the view {view} has not followed yet", "does a projector run? emberlog status")
                await asyncio.sleep(POLL_S)
