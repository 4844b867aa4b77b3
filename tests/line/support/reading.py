"""The log read as any consumer must: by the acceptance rule, from the first record on."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas import codec, envelope
from schemas.sealed import left_of
from schemas.sealing import Keys, open_all
from schemas.slices import SliceAssembler, Verdict, verdict
from schemas.topics import Topics
from schemas.types import CommandNoted, MemoryAdded, MemoryEvent, MemoryForgotten, MemoryReheated, Record
from streams import kafka

DECIDED_BEFORE = "it was decided before"


class AcceptedLog:
    """Every owner's accepted events so far; ``advance`` reads on."""

    def __init__(self, consumer: AIOKafkaConsumer, topics: Topics, keys: Keys) -> None:
        self._consumer, self._keys = consumer, keys
        self._tps = [TopicPartition(topics.events, p) for p in range(topics.partitions)]
        self._assemblers = {tp: SliceAssembler() for tp in self._tps}
        self.owners: dict[str, list[MemoryEvent]] = {}
        self.dropped = 0
        self.gaps = 0

    async def begin(self) -> None:
        self._consumer.assign(self._tps)
        await self._consumer.seek_to_beginning(*self._tps)

    async def advance(self, timeout_ms: int = 100) -> int:
        """Read what has come; the number of records."""
        taken = 0
        for tp, messages in (await self._consumer.getmany(timeout_ms=timeout_ms, max_records=5_000)).items():
            for message in messages:
                taken += 1
                whole = self._assemblers[tp].feed(message.offset, envelope.as_map(message.headers), message.value or b"")
                if whole is None:
                    continue
                mine = self.owners.setdefault(whole.owner, [])
                match verdict(whole.first, len(mine)):
                    case Verdict.ACCEPT:
                        mine.extend(await open_all(self._keys, whole.events))
                    case Verdict.DROP:
                        self.dropped += 1
                    case Verdict.GAP:
                        self.gaps += 1
        return taken

    async def to_the_end(self) -> None:
        """Read up to the high watermarks of now."""
        ends = await self._consumer.end_offsets(self._tps)
        while any([await self._consumer.position(tp) < end for tp, end in ends.items()]):
            await self.advance()

    @property
    def broken(self) -> int:
        """Slices that ended before their size: there must be none."""
        return sum(a.broken for a in self._assemblers.values())

    def events(self, owners: Iterable[str] | None = None) -> list[MemoryEvent]:
        """Accepted events, owner by owner in order."""
        return [e for o in (self.owners if owners is None else owners) for e in self.owners.get(o, ())]

    def decided(self, owners: Iterable[str] | None = None) -> set[str]:
        """Turn ids with an accepted outcome."""
        sources = (getattr(e, "source", None) for e in self.events(owners))
        return {s.turn_id for s in sources if s is not None}

    def memories(self, owner: str) -> dict[str, MemoryAdded]:
        """The owner's live memories by content."""
        live: dict[str, MemoryAdded] = {}
        for event in self.owners.get(owner, ()):
            if isinstance(event, MemoryAdded):
                live[event.memory_id] = event
            elif isinstance(event, MemoryForgotten):
                live.pop(event.memory_id, None)
        return {left_of(e.content): e for e in live.values()}

    async def until_decided(self, turn_ids: Collection[str], deadline_s: float) -> None:
        """Wait until every one of ``turn_ids`` has an outcome."""
        end = time.monotonic() + deadline_s
        while missing := set(turn_ids) - self.decided():
            await self.advance(200)
            assert time.monotonic() < end, f"{len(missing)} of {len(turn_ids)} turns without an outcome after {deadline_s:g} s"


@asynccontextmanager
async def reading(bootstrap: str, topics: Topics, keys: Keys) -> AsyncIterator[AcceptedLog]:
    """The accepted log from its beginning; call ``advance``, ``to_the_end`` or ``until_decided``."""
    consumer = kafka.reader(bootstrap, "test-log")
    await consumer.start()
    try:
        log = AcceptedLog(consumer, topics, keys)
        await log.begin()
        yield log
    finally:
        await consumer.stop()


async def read_all(bootstrap: str, topic: str, partitions: int) -> list[tuple[Any, Record | None]]:
    """Everything on a topic now: the client's record and ours (None for a tombstone)."""
    consumer = kafka.reader(bootstrap, "test-read")
    await consumer.start()
    try:
        tps = [TopicPartition(topic, p) for p in range(partitions)]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        ends = await consumer.end_offsets(tps)
        found = []
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for messages in (await consumer.getmany(timeout_ms=200)).values():
                found += [(m, codec.decode(m.value) if m.value else None) for m in messages]
        return found
    finally:
        await consumer.stop()


def mentions(events: Iterable[MemoryEvent]) -> dict[str, list[str]]:
    """By content of live or former memories: the turn ids that added and reheated it, in order."""
    by_id: dict[str, tuple[str, list[str]]] = {}
    for event in events:
        if isinstance(event, MemoryAdded):
            by_id[event.memory_id] = (left_of(event.content), [])
        if isinstance(event, MemoryAdded | MemoryReheated) and event.source is not None:
            by_id[event.memory_id][1].append(event.source.turn_id)
    return dict(by_id.values())


def outcomes(events: Iterable[MemoryEvent]) -> dict[str, set[int]]:
    """By turn id: the causes (command offsets) whose decision was more than a note that it was decided before."""
    found: dict[str, set[int]] = {}
    for event in events:
        source = getattr(event, "source", None)
        if source is None or (isinstance(event, CommandNoted) and event.reason == DECIDED_BEFORE):
            continue
        found.setdefault(source.turn_id, set()).add(event.meta.cause)
    return found
