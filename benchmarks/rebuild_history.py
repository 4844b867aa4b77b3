"""A history to rebuild from: events and vectors, sealed under a real key store, on the broker.

Of a hundred events 60 add a memory, 25 mention one, 10 revise one and 5 forget one. As the workers do it, each turn's events are
one slice, every statement has a key of its own, each added or revised memory gets a vector under that key, a forgotten one a
tombstone, and its keys are destroyed.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from aiokafka import AIOKafkaProducer

from benchmarks.harness import Progress
from benchmarks.owners import fixed_key, fixed_reference, make_known
from benchmarks.services import Services
from ops.keyring import Keyring, open_keys
from projections.vector_records import embedding_key
from schemas import codec, envelope, ids
from schemas.fingerprint import fingerprint
from schemas.sealed import Sealed
from schemas.slices import SLICE_FIRST, SLICE_ID, SLICE_SIZE
from schemas.subjects import Subject
from schemas.topics import partition_of
from schemas.types import (
    EventMeta,
    MemoryAdded,
    MemoryEmbedding,
    MemoryEvent,
    MemoryForgotten,
    MemoryReheated,
    MemoryRevised,
    MessageRef,
    SourceRef,
    ThermalPolicy,
)
from schemas.vectors import pack

SHARES: tuple[tuple[str, int], ...] = (("added", 60), ("reheated", 25), ("revised", 10), ("forgotten", 5))
EVENTS_PER_OWNER = 200
DIMENSIONS = 256
BATCH = 2_000
START = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = ThermalPolicy()
LABEL = "history"
HEAD, MODEL = "semantic", "a-model"
WORDS = ("coffee", "garden", "train", "invoice", "piano", "harbour", "winter", "meeting", "daughter", "marathon")
_DESTROY = "UPDATE emberlog_item_key SET wrapped = NULL, destroyed_at = now() WHERE key_id = ANY(%s::uuid[])"

Message = tuple[str, int, bytes, bytes | None, list[tuple[str, bytes]]]
"""Topic, partition, key, value and headers."""


@dataclass(slots=True)
class _Memory:
    id: str
    version: int = 1
    count: int = 1
    statements: list[Subject] = field(default_factory=list)


@dataclass(slots=True)
class _Owner:
    reference: str
    sequence: int = 0
    memories: list[_Memory] = field(default_factory=list)


@dataclass(slots=True)
class _Step:
    """One event to be: what, about which memory, in which words."""

    kind: str
    memory: _Memory
    text: str
    statement: Subject | None


@dataclass(slots=True)
class _Turn:
    owner: _Owner
    number: int
    steps: list[_Step]

    @property
    def message(self) -> Subject:
        return Subject(self.owner.reference, "message", ids.message_id(self.turn_id, 0))

    @property
    def turn_id(self) -> str:
        return ids.turn_id(self.owner.reference, str(self.number))


class History:
    """A history that grows. ``events`` and ``beside``, the vectors and tombstones, count what stands on the topics."""

    def __init__(self, services: Services, owners: int, seed: int) -> None:
        self.size, self.events, self.beside = owners, 0, 0
        self._destroyed: list[Subject] = []
        self._topics, self._bootstrap = services.topics, services.bootstrap
        self._settings, self._dsn = services.target.settings, services.dsn
        self._rnd, self._vectors = random.Random(seed), np.random.default_rng(seed)
        self._owners = [_Owner(fixed_reference(f"default/user/{LABEL}-{i}")) for i in range(owners)]
        self._turns = 0

    @classmethod
    async def begin(cls, services: Services, events: int, seed: int = 1) -> History:
        """Nothing yet, for as many owners as so many events want."""
        history = cls(services, max(20, events // EVENTS_PER_OWNER), seed)
        names = (f"default/user/{LABEL}-{i}" for i in range(history.size))
        await make_known(history._settings, history._dsn, names)
        return history

    async def grow(self, events: int, progress: Progress) -> None:
        """Put more on the topics, up to so many events in all; then destroy the keys of what was forgotten."""
        async with open_keys(self._settings, self._dsn) as ring:
            with progress.bar("writing a history", events) as show:
                while self.events < events:
                    await self._write(ring, min(BATCH, events - self.events))
                    show(self.events)
            for at in range(0, len(self._destroyed), 10_000):
                keys = await ring.keys.for_sealing(self._destroyed[at : at + 10_000])
                async with ring.database.transaction() as connection:
                    await connection.execute(_DESTROY.encode(), ([key.key_id for key in keys.values() if key is not None],))
        self._destroyed.clear()

    async def _write(self, ring: Keyring, count: int) -> None:
        """The next ``count`` events."""
        turns, steps = [], 0
        while steps < count:
            turns.append(self._turn(min(self._rnd.choice((1, 1, 2, 3)), count - steps)))
            steps += len(turns[-1].steps)
        self.events += steps
        subjects = {turn.message for turn in turns} | {Subject(turn.owner.reference, "owner") for turn in turns}
        subjects |= {step.statement for turn in turns for step in turn.steps if step.statement is not None}
        keys = await ring.keys.for_sealing(subjects)

        def sealed(text: bytes, subject: Subject) -> Sealed:
            key = keys[subject]
            assert key is not None
            return key.seal(text)

        messages: list[Message] = []
        for turn in turns:
            messages += self._messages(turn, sealed)
        await _send(self._bootstrap, messages)

    def _turn(self, size: int) -> _Turn:
        owner = self._rnd.choice(self._owners)
        self._turns += 1
        turn = _Turn(owner, self._turns, [])
        kinds, weights = [kind for kind, _ in SHARES], [share for _, share in SHARES]
        for kind in self._rnd.choices(kinds, weights, k=size):
            turn.steps.append(self._step(turn, kind if owner.memories else "added"))
        return turn

    def _step(self, turn: _Turn, kind: str) -> _Step:
        owner, place = turn.owner, len(turn.steps)
        if kind == "added":
            memory = _Memory(ids.memory_id(owner.reference, turn.number, place))
            owner.memories.append(memory)
        else:
            memory = self._rnd.choice(owner.memories)
        if kind == "forgotten":
            owner.memories.remove(memory)
            self._destroyed += memory.statements
        if kind in ("reheated", "forgotten"):
            return _Step(kind, memory, "", None)
        said = " and the ".join(self._rnd.choices(WORDS, k=9))
        text = f"The user told that the {said} matter on day {self._rnd.randrange(9999)}"
        print_ = fingerprint(fixed_key(owner.reference), text)
        statement = Subject(owner.reference, "statement", print_, turn.turn_id, turn.number)
        memory.statements.append(statement)
        return _Step(kind, memory, text, statement)

    def _messages(self, turn: _Turn, sealed: Any) -> Iterable[Message]:
        owner = turn.owner
        reference, partition = owner.reference, partition_of(owner.reference, self._topics.partitions)
        own = Subject(reference, "owner")
        session = sealed(f"session-{turn.number // 20}".encode(), own)
        refs = (MessageRef(turn.message.name, sealed(f"m-{turn.number}".encode(), turn.message)),)
        source = SourceRef(turn.turn_id, session, "assistant", refs, turn.number, len(turn.steps), 0)
        user, first = sealed(LABEL.encode(), own), owner.sequence + 1
        for step in turn.steps:
            owner.sequence += 1
            at = START + timedelta(seconds=turn.number)
            event = _event(EventMeta(reference, owner.sequence, turn.number, 1, at, turn.turn_id), step, source, user, sealed)
            extra: dict[str, str | int] = {
                "sequence": owner.sequence, "causationid": turn.number,
                SLICE_ID: turn.turn_id, SLICE_FIRST: first, SLICE_SIZE: len(turn.steps),
            }  # fmt: skip
            event_id = ids.event_id(reference, owner.sequence)
            headers = envelope.headers_for(event, id=event_id, source="benchmark", subject=reference, time=at, extra=extra)
            yield self._topics.events, partition, reference.encode(), codec.encode(event), headers
        for step, sequence in zip(turn.steps, range(first, owner.sequence + 1), strict=True):
            if step.kind != "reheated":
                self.beside += 1
                yield self._vector(step, reference, partition, sequence, sealed)

    def _vector(self, step: _Step, owner: str, partition: int, sequence: int, sealed: Any) -> Message:
        key = embedding_key(step.memory.id, HEAD, MODEL)
        if step.statement is None:
            return self._topics.embeddings, partition, key, None, [("ce_subject", owner.encode())]
        vector = self._vectors.standard_normal(DIMENSIONS)
        data = sealed(pack(list(vector / np.linalg.norm(vector)), "fp16"), step.statement)
        record = MemoryEmbedding(step.memory.id, owner, HEAD, MODEL, DIMENSIONS, data, sequence)
        headers = envelope.headers_for(record, id=step.memory.id, source="benchmark", subject=owner, time=START)
        return self._topics.embeddings, partition, key, codec.encode(record), headers


def _event(meta: EventMeta, step: _Step, source: SourceRef, user: Sealed, sealed: Any) -> MemoryEvent:
    memory = step.memory
    if step.kind == "forgotten":
        return MemoryForgotten(meta, memory.id, meta.cause, False, ())
    if step.kind == "added":
        assert step.statement is not None
        words = {"content": sealed(step.text.encode(), step.statement), "fingerprint": step.statement.name}
        return MemoryAdded(
            meta=meta, memory_id=memory.id, user_id=user, **words, salience=0.5, temperature=POLICY.initial, policy=POLICY,
            extractor="mem0", model="a-model", rules=False, source=source,
        )  # fmt: skip
    memory.count += 1
    warmth: dict[str, Any] = {
        "temperature_before": 70.0, "temperature": 75.0, "warmed_at": meta.occurred_at, "access_count": memory.count,
        "policy": POLICY, "source": source,
    }  # fmt: skip
    if step.kind == "reheated":
        return MemoryReheated(meta=meta, memory_id=memory.id, **warmth)
    assert step.statement is not None
    memory.version += 1
    words = {"content": sealed(step.text.encode(), step.statement), "fingerprint": step.statement.name}
    return MemoryRevised(meta=meta, memory_id=memory.id, version=memory.version, **words, **warmth)


async def _send(bootstrap: str, messages: Sequence[Message]) -> None:
    """One record batch or a few for each partition, in order."""
    by_place: dict[tuple[str, int], list[Message]] = {}
    for message in messages:
        by_place.setdefault((message[0], message[1]), []).append(message)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_batch_size=500_000) as producer:
        for (topic, partition), found in by_place.items():
            batch = producer.create_batch()
            for _, _, key, value, headers in found:
                if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                    batch.close()
                    await producer.send_batch(batch, topic, partition=partition)
                    batch = producer.create_batch()
                    batch.append(key=key, value=value, timestamp=None, headers=headers)
            batch.close()
            await producer.send_batch(batch, topic, partition=partition)
        await producer.flush()
