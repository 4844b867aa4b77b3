"""A memory.events topic as several workers leave it, on the real broker: slices, repetitions, several owners."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer

from schemas import codec, envelope, ids
from schemas.sealed import Sealed
from schemas.slices import SLICE_FIRST, SLICE_ID, SLICE_SIZE
from schemas.topics import Topics, partition_of
from schemas.types import EventMeta, MemoryAdded, MemoryEvent, MemoryReheated, MessageRef, SourceRef, ThermalPolicy

WHEN = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
SOURCE = SourceRef("t-1", Sealed.of("s-1"), "default", (MessageRef("m-1"),), 0, 1, 0)
POLICY = ThermalPolicy()


def meta_of(owner: str, sequence: int) -> EventMeta:
    return EventMeta(owner, sequence, sequence, 1, WHEN, f"c-{sequence}")


def added(owner: str, sequence: int, content: str) -> MemoryAdded:
    """The event of a new memory."""
    return MemoryAdded(
        meta=meta_of(owner, sequence),
        memory_id=ids.memory_id(owner, sequence, 0),
        user_id=Sealed.of("u-1"),
        content=Sealed.of(content),
        fingerprint="0" * 64,
        salience=0.5,
        temperature=75.0,
        policy=POLICY,
        source=SOURCE,
        extractor="rules",
        model="emberlog-rules",
        rules=True,
    )


def reheated(owner: str, sequence: int) -> MemoryReheated:
    """The event of a mention."""
    meta = meta_of(owner, sequence)
    return MemoryReheated(meta, ids.memory_id(owner, 1, 0), 75.0, 80.0, meta.occurred_at, 2, POLICY, SOURCE)


class Appender:
    """Writes slices, each in one record batch, as a worker does."""

    def __init__(self, producer: AIOKafkaProducer, topics: Topics) -> None:
        self._producer, self._topics = producer, topics

    async def append(self, events: Sequence[MemoryEvent]) -> None:
        """One owner's slice under an append id of its own."""
        batch = self._producer.create_batch()
        append_id, meta = str(uuid.uuid4()), events[0].meta
        for event in events:
            extra: dict[str, str | int] = {
                "sequence": event.meta.sequence,
                SLICE_ID: append_id,
                SLICE_FIRST: meta.sequence,
                SLICE_SIZE: len(events),
            }
            event_id = ids.event_id(meta.owner, event.meta.sequence)
            headers = envelope.headers_for(event, id=event_id, source="test", subject=meta.owner, time=WHEN, extra=extra)
            assert batch.append(key=meta.owner.encode(), value=codec.encode(event), timestamp=None, headers=headers)
        partition = partition_of(meta.owner, self._topics.partitions)
        await (await self._producer.send_batch(batch, self._topics.events, partition=partition))


@asynccontextmanager
async def appender(bootstrap: str, topics: Topics) -> AsyncIterator[Appender]:
    """An Appender on the broker at ``bootstrap``."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, acks="all") as producer:
        yield Appender(producer, topics)
