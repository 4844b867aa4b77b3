"""Logs to fold: a small writer of memory events that follows the protocol (and can break it on purpose)."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import numpy as np

from schemas import ids
from schemas.codec import encode
from schemas.envelope import headers_for
from schemas.fingerprint import fingerprint
from schemas.temperature import mentioned, temperature_at
from schemas.topics import Topics, partition_of
from schemas.types import (
    CommandNoted,
    EventMeta,
    MemoryAdded,
    MemoryEmbedding,
    MemoryEvent,
    MemoryForgotten,
    MemoryReheated,
    Record,
    SourceRef,
    ThermalPolicy,
)

T0 = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
POLICY = ThermalPolicy()
MODEL, HEAD = "test-model", "semantic"


@dataclass(frozen=True, slots=True)
class Rec:
    """A record as a consumer would give it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


@dataclass
class _Memory:
    temperature: float
    warmed_at: datetime
    count: int


@dataclass
class _OwnerState:
    sequence: int = 0
    memories: dict[str, _Memory] = field(default_factory=dict)


class LogMaker:
    """Writes slices for owners, keeping sequences, causes and offsets as a decider would. Each call is one append."""

    def __init__(self, topics: Topics) -> None:
        self.topics = topics
        self.records: list[Rec] = []
        self._owners: dict[str, _OwnerState] = defaultdict(_OwnerState)
        self._offsets: dict[tuple[str, int], int] = defaultdict(int)
        self._causes = itertools.count(1)
        self._clock = T0

    # -- what an owner's command leads to ------------------------------------------------------------------------------
    def add(
        self, owner: str, *contents: str, session: str = "s-1", user_id: str = "u-1", at: datetime | None = None
    ) -> list[str]:
        """One turn that adds a memory for each content; their ids."""
        cause, now = next(self._causes), self._now(at)
        state = self._owners[owner]
        source = self._source(owner, cause, session, len(contents))
        events: list[MemoryEvent] = []
        made = []
        for place, content in enumerate(contents):
            state.sequence += 1
            memory = ids.memory_id(owner, cause, place)
            state.memories[memory] = _Memory(POLICY.initial, now, 1)
            made.append(memory)
            events.append(
                MemoryAdded(
                    meta=EventMeta(owner, state.sequence, cause, 1, now),
                    memory_id=memory,
                    user_id=user_id,
                    content=content,
                    fingerprint=fingerprint(b"k" * 32, content),
                    salience=0.5,
                    temperature=POLICY.initial,
                    policy=POLICY,
                    source=source,
                    extractor="mem0",
                    model="recorded",
                    rules=False,
                )
            )
        self.append(owner, events)
        return made

    def reheat(self, owner: str, *memories: str, at: datetime | None = None) -> None:
        """One turn that mentions known memories."""
        cause, now = next(self._causes), self._now(at)
        state = self._owners[owner]
        source = self._source(owner, cause, "s-2", len(memories))
        events: list[MemoryEvent] = []
        for memory in memories:
            state.sequence += 1
            known = state.memories[memory]
            before = temperature_at(known.temperature, known.warmed_at, now, POLICY)
            known.temperature, known.warmed_at, known.count = mentioned(before, POLICY), now, known.count + 1
            meta = EventMeta(owner, state.sequence, cause, 1, now)
            events.append(MemoryReheated(meta, memory, before, known.temperature, meta.occurred_at, known.count, POLICY, source))
        self.append(owner, events)

    def forget(self, owner: str, *memories: str) -> None:
        """One command that forgets memories."""
        cause, now = next(self._causes), self._now(None)
        state = self._owners[owner]
        events: list[MemoryEvent] = []
        for memory in memories:
            state.sequence += 1
            del state.memories[memory]
            events.append(MemoryForgotten(EventMeta(owner, state.sequence, cause, 1, now), memory, cause, ()))
        self.append(owner, events)

    def note(self, owner: str, failed: int = 0, with_source: bool = True) -> None:
        """One turn that changed nothing."""
        cause, now = next(self._causes), self._now(None)
        state = self._owners[owner]
        state.sequence += 1
        source = self._source(owner, cause, "s-3", 0, failed) if with_source else None
        meta = EventMeta(owner, state.sequence, cause, 1, now)
        self.append(owner, [CommandNoted(meta, "FactsExtracted", "no facts", source)])

    def live(self, owner: str) -> list[str]:
        """Ids of the owner's memories, oldest first."""
        return list(self._owners[owner].memories)

    def sequence(self, owner: str) -> int:
        return self._owners[owner].sequence

    # -- records ---------------------------------------------------------------------------------------------------------
    def append(self, owner: str, events: Sequence[MemoryEvent]) -> list[Rec]:
        """One slice of ``owner``; its records."""
        rows = slice_rows(events)
        partition = partition_of(owner, self.topics.partitions)
        return [self.put(self.topics.events, partition, owner.encode(), value, headers) for value, headers in rows]

    def again(self, records: Sequence[Rec]) -> None:
        """The same slice written once more, as a zombie or a retry does."""
        for record in records:
            self.put(record.topic, record.partition, record.key, record.value, record.headers)

    def embed(self, owner: str, memory: str, vector: Sequence[float], model: str = MODEL) -> Rec:
        """The vector of a memory."""
        data = np.asarray(vector, dtype="<f4")
        record = MemoryEmbedding(memory, owner, HEAD, model, len(data), data.tobytes(), self.sequence(owner))
        return self.plain(self.topics.embeddings, owner, f"{memory}/{HEAD}/{model}".encode(), record)

    def unembed(self, owner: str, memory: str, model: str = MODEL) -> Rec:
        """The tombstone of a memory's vector."""
        return self.plain(self.topics.embeddings, owner, f"{memory}/{HEAD}/{model}".encode(), None)

    def plain(self, topic: str, owner: str, key: bytes, record: Record | None) -> Rec:
        """A record that stands for itself."""
        headers: list[tuple[str, bytes]] = [("owner", owner.encode())]
        if record is not None:
            headers = headers_for(record, id=str(uuid4()), source="test", subject=owner, time=self._clock)
        value = None if record is None else encode(record)
        return self.put(topic, partition_of(owner, self.topics.partitions), key, value, headers)

    def put(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Sequence[Any] = ()) -> Rec:
        """Any record at the next offset."""
        offset = self._offsets[topic, partition]
        self._offsets[topic, partition] = offset + 1
        record = Rec(topic, partition, offset, key, value, tuple(headers))
        self.records.append(record)
        return record

    def ends(self, *topics: str) -> dict[tuple[str, int], int]:
        """End offset of every partition of ``topics``."""
        return {(t, p): self._offsets[t, p] for t in topics for p in range(self.topics.partitions)}

    def _now(self, at: datetime | None) -> datetime:
        self._clock = at or self._clock + timedelta(minutes=7)
        return self._clock

    def _source(self, owner: str, cause: int, session: str, facts: int, failed: int = 0) -> SourceRef:
        turn = ids.turn_id(owner, str(cause))
        return SourceRef(turn, session, "agent-1", (ids.message_id(turn, 0),), cause, facts, failed)


def slice_rows(events: Sequence[MemoryEvent], append_id: str | None = None) -> list[tuple[bytes, list[tuple[str, bytes]]]]:
    """Value and headers of each event of one slice."""
    append_id = append_id or str(uuid4())
    rows = []
    for event in events:
        meta = event.meta
        extra: dict[str, str | int] = {
            "sequence": meta.sequence,
            "causationid": meta.cause,
            "sliceid": append_id,
            "slicefirst": events[0].meta.sequence,
            "slicesize": len(events),
        }
        event_id = ids.event_id(meta.owner, meta.sequence)
        rows.append(
            (
                encode(event),
                headers_for(event, id=event_id, source="test", subject=meta.owner, time=meta.occurred_at, extra=extra),
            )
        )
    return rows
