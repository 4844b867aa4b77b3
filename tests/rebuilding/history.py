"""A history on a line's topics as workers would have left it: decided by the decider's rules, sealed under the line's key store.

    history = History(line, events=20_000, seed=1)
    await history.write(20_000)
    ...
    await history.write(500)        # and some more, later

It costs no worker, no model and no embedder. Every word has the key that the workers would have given it. Nearly each memory and
each message that a user said has a vector under it, and what is forgotten has a tombstone. Keys are destroyed by whoever follows
the log.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from aiokafka import AIOKafkaProducer

from ops.keyring import Keyring, open_keys
from schemas import codec, envelope, ids
from schemas.errors import KeyLost
from schemas.fingerprint import fingerprint
from schemas.sealed import DESTROYED, Sealed
from schemas.sealing import ItemKey
from schemas.slices import SLICE_FIRST, SLICE_ID, SLICE_SIZE
from schemas.subjects import Subject, sealed_with, subjects_of
from schemas.types import (
    ConversationTurn,
    MemoryAdded,
    MemoryEmbedding,
    MemoryEvent,
    MemoryForgotten,
    MemoryRevised,
    MessageEmbedding,
    Record,
)
from schemas.vectors import pack
from streams.agents.vectors import HEAD, embedding_key
from streams.decider import step
from tests.line.support.line import Line
from tests.rebuilding.life import Life, Person, Step

EVENTS_PER_OWNER = 50
ROUND = 400
WITHOUT_VECTOR, OF_NOBODY = 0.02, 0.02
"""Of all words: those that no vector has come of yet, and those whose vector comes for a memory that nobody knows as well."""
MODEL, DIMENSIONS = "a-model", 32
SOURCE = "test"


class Message(NamedTuple):
    """A record to be written."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None
    headers: envelope.Headers


class History:
    """Grows by ``write``. ``events`` is how long it will be, about: it says how many owners there are."""

    def __init__(self, line: Line, events: int, seed: int = 1) -> None:
        self.line, self.events = line, 0
        self.life = Life(seed, max(20, events // EVENTS_PER_OWNER), events, line.topics.partitions)
        self._vectors = np.random.default_rng(seed)
        self._causes = [0] * line.topics.partitions
        self._is_introduced = False

    async def write(self, events: int) -> None:
        """Append at least so many events more, and what stands beside them."""
        wanted = self.events + events
        async with self._writing() as (ring, producer):
            while self.events < wanted:
                size = min(ROUND, max(1, (wanted - self.events) * 2 // 3))
                await _send(producer, await self._messages(ring, self.life.round(size)))

    async def write_steps(self, *steps: Step) -> None:
        """Append what these steps lead to."""
        async with self._writing() as (ring, producer):
            await _send(producer, await self._messages(ring, steps))

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[tuple[Keyring, AIOKafkaProducer]]:
        if not self._is_introduced:
            await self.line.know(person.name for person in self.life.people)
        async with (
            open_keys(self.line.as_settings, self.line.dsn) as ring,
            AIOKafkaProducer(bootstrap_servers=self.line.bootstrap, acks="all", max_batch_size=500_000) as producer,
        ):
            if not self._is_introduced:
                for person in self.life.people:
                    person.key = await ring.keys.fingerprint_key(person.reference) or b""
                self._is_introduced = True
            yield ring, producer

    async def _messages(self, ring: Keyring, steps: Sequence[Step]) -> list[Message]:
        subjects = {subject for one in steps for record in one.records for subject in subjects_of(record)}
        subjects |= {_of_nobody(one.person) for one in steps}
        keys = await ring.keys.for_sealing(subjects) if subjects else {}

        def change(value: Sealed, subject: Subject) -> Sealed:
            key = keys[subject]
            return Sealed(b"", DESTROYED) if key is None else key.seal(value.data)

        by_id: dict[str, ItemKey] = {key.key_id: key for key in keys.values() if key is not None}
        messages: list[Message] = []
        for one in steps:
            if one.turn is not None:
                turn = sealed_with(one.turn, change)
                messages += [self._plain(self.line.topics.conversation, one.person, turn, turn.turn_id)]
                messages += self._of_messages(turn, one, by_id)
            if one.beside is not None:
                messages += [self._plain(self.line.topics.parked, one.person, sealed_with(one.beside, change), "parked")]
            if one.command is not None:
                events = self._decided(one, sealed_with(one.command, change))
                messages += self._slice(one.person, events)
                await self._open(ring, events, by_id)
                messages += self._of_memories(one.person, events, by_id, keys[_of_nobody(one.person)])
        return messages

    def _decided(self, one: Step, command: object) -> tuple[MemoryEvent, ...]:
        person = one.person
        self._causes[person.partition] += 1
        events, person.state = step(person.state, command, self._causes[person.partition])  # type: ignore[arg-type]
        person.live_through(events)
        self.events += len(events)
        return events

    def _plain(self, topic: str, person: Person, record: Record, id: str) -> Message:
        at = datetime.now(UTC)
        headers = envelope.headers_for(record, id=id, source=SOURCE, subject=person.reference, time=at)
        return Message(topic, person.partition, person.reference.encode(), codec.encode(record), headers)

    def _slice(self, person: Person, events: Sequence[MemoryEvent]) -> Iterator[Message]:
        for event in events:
            meta = event.meta
            extra: dict[str, str | int] = {
                "sequence": meta.sequence, "causationid": meta.cause, "deciderversion": meta.decider_version,
                SLICE_ID: meta.command_id, SLICE_FIRST: events[0].meta.sequence, SLICE_SIZE: len(events),
            }  # fmt: skip
            id = ids.event_id(meta.owner, meta.sequence)
            headers = envelope.headers_for(event, id=id, source=SOURCE, subject=meta.owner, time=meta.occurred_at, extra=extra)
            yield Message(self.line.topics.events, person.partition, meta.owner.encode(), codec.encode(event), headers)

    # -- vectors

    async def _open(self, ring: Keyring, events: Sequence[MemoryEvent], by_id: dict[str, ItemKey]) -> None:
        """Fetch the keys of words that were sealed in an earlier round."""
        for event in events:
            if isinstance(event, MemoryAdded | MemoryRevised) and (id := event.content.key_id) and id not in by_id:
                with suppress(KeyLost):
                    by_id.update({i: key for i, key in (await ring.keys.for_opening([id])).items() if key is not None})

    def _of_memories(
        self, person: Person, events: Sequence[MemoryEvent], by_id: dict[str, ItemKey], other: ItemKey | None
    ) -> Iterator[Message]:
        for event in events:
            if isinstance(event, MemoryForgotten):
                yield self._vector(person, event.memory_id, None)
            elif isinstance(event, MemoryAdded | MemoryRevised):
                draw, own = self._vectors.random(), by_id.get(event.content.key_id or "")
                if own is not None and draw > WITHOUT_VECTOR:
                    yield self._of_memory(person, event.memory_id, event.meta.sequence, own)
                if other is not None and draw > 1 - OF_NOBODY:
                    nobody = ids.memory_id(person.reference, event.meta.sequence, -1)
                    yield self._of_memory(person, nobody, event.meta.sequence, other)

    def _of_memory(self, person: Person, memory: str, sequence: int, key: ItemKey) -> Message:
        vector = key.seal(self._numbers())
        return self._vector(person, memory, MemoryEmbedding(memory, person.reference, HEAD, MODEL, DIMENSIONS, vector, sequence))

    def _of_messages(self, turn: ConversationTurn, one: Step, by_id: dict[str, ItemKey]) -> Iterator[Message]:
        for message in turn.messages:
            key = by_id.get(message.content.key_id or "")
            if key is not None and message.role == "user":
                vector = key.seal(self._numbers())
                record = MessageEmbedding(message.message_id, turn.owner, HEAD, MODEL, DIMENSIONS, vector)
                yield self._vector(one.person, message.message_id, record)

    def _numbers(self) -> bytes:
        vector = self._vectors.standard_normal(DIMENSIONS)
        return pack(list(vector / np.linalg.norm(vector)), "fp16")

    def _vector(self, person: Person, item: str, record: MemoryEmbedding | MessageEmbedding | None) -> Message:
        headers = [("ce_subject", person.reference.encode())]
        if record is not None:
            headers = envelope.headers_for(record, id=item, source=SOURCE, subject=person.reference, time=datetime.now(UTC))
        value = None if record is None else codec.encode(record)
        return Message(self.line.topics.embeddings, person.partition, embedding_key(item, HEAD, MODEL), value, headers)


def _of_nobody(person: Person) -> Subject:
    """The key of words that no event tells of."""
    return Subject(person.reference, "statement", fingerprint(person.key, "words that were never said"), "nobody")


async def _send(producer: AIOKafkaProducer, messages: Sequence[Message]) -> None:
    """Each partition's in their order, in as few record batches as they need."""
    by_place: dict[tuple[str, int], list[Message]] = {}
    for message in messages:
        by_place.setdefault((message.topic, message.partition), []).append(message)
    sent = []
    for (topic, partition), found in by_place.items():
        batch = producer.create_batch()
        for one in found:
            if batch.append(key=one.key, value=one.value, timestamp=None, headers=one.headers) is None:
                batch.close()
                sent.append(await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                assert batch.append(key=one.key, value=one.value, timestamp=None, headers=one.headers) is not None
        batch.close()
        sent.append(await producer.send_batch(batch, topic, partition=partition))
    for future in sent:
        await future
