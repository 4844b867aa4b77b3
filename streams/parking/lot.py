"""The parking lot: work that could not be done, on ``memory.parked.v1``, folded into what is parked now.

The topic is the truth; this is its fold, kept current by tailing. Only places are held in memory (the parked record itself is
read again when it is needed), so a full lot costs little. What we write ourselves counts when it was read back, like all else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import MessageSizeTooLargeError

from schemas import codec, envelope, ids
from schemas.errors import ContractError, KeyLost
from schemas.sealed import Sealed
from schemas.sealing import Keys, open_all, seal
from schemas.topics import Topics, partition_of
from schemas.types import ParkedRecord, ParkedResolved, ParkedRetryRequested, WorkParked
from streams import kafka, tasks
from streams.parking.work import ParkedWork, opened, sealed

log = structlog.get_logger(__name__)
SOURCE = "emberlog/parking"
# a CancelledError too: aiokafka lets one out of its own tasks when the broker goes away
PASSING: tuple[type[BaseException], ...] = (*kafka.OUTAGE_ERRORS, asyncio.CancelledError)


@dataclass(frozen=True, slots=True)
class Place:
    """Parked work: what it is, and where on the parked topic its record stands."""

    parked_id: str
    stage: str
    owner: str | None
    topic: str
    partition: int
    offset: int
    attempts: int
    lot: TopicPartition
    lot_offset: int
    retry_wanted: bool = False
    """A person asked for a retry, and nothing has come of it yet."""


RetryListener = Callable[[Place], None]
LeaveListener = Callable[[Place], None]


class ParkingLot:
    """Use as an async context manager; ``refresh`` before deciding what is parked after an assignment."""

    def __init__(self, bootstrap: str, topics: Topics, keys: Keys) -> None:
        self._bootstrap, self._topics, self._keys = bootstrap, topics, keys
        self._places: dict[str, Place] = {}
        self._by_owner: dict[tuple[str, str], dict[str, Place]] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._moved = asyncio.Condition()
        self._retry: dict[str, RetryListener] = {}
        self._left: dict[str, LeaveListener] = {}
        self._producer: AIOKafkaProducer = kafka.producer(bootstrap, "parking")
        self._consumer: AIOKafkaConsumer = kafka.reader(bootstrap, "parking")
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> ParkingLot:
        await self._producer.start()
        await self._consumer.start()
        tps = [TopicPartition(self._topics.parked, p) for p in range(self._topics.partitions)]
        self._consumer.assign(tps)
        await self._consumer.seek_to_beginning(*tps)
        for tp in tps:
            self._positions[tp] = await self._consumer.position(tp)
        self._task = asyncio.create_task(self._tail(), name="parking-lot")
        await self.refresh()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            await tasks.end(self._task)
        await self._consumer.stop()
        await self._producer.stop()

    # -- what is parked

    def contains(self, parked_id: str) -> bool:
        """Whether this very work is in the lot."""
        return parked_id in self._places

    def of_owner(self, stage: str, owner: str) -> list[Place]:
        """The owner's parked work of one stage, in the order of its topic."""
        return sorted(self._by_owner.get((stage, owner), {}).values(), key=lambda p: p.offset)

    def retries_wanted(self, stage: str) -> list[Place]:
        """Work of one stage whose retry was asked for while nobody listened."""
        return [p for p in self._places.values() if p.stage == stage and p.retry_wanted]

    def place(self, parked_id: str) -> Place | None:
        """Where this work is parked, or None."""
        return self._places.get(parked_id)

    def blocker(self, stage: str, owner: str) -> str | None:
        """Parked id that later work of the owner waits behind, or None."""
        first = min(self._by_owner.get((stage, owner), {}).values(), key=lambda p: p.offset, default=None)
        return first.parked_id if first else None

    def on_retry(self, stage: str, listener: RetryListener) -> None:
        """Call ``listener`` for each request to retry work of ``stage`` that is still parked."""
        self._retry[stage] = listener

    def on_left(self, stage: str, listener: LeaveListener) -> None:
        """Call ``listener`` when work of ``stage`` left the lot."""
        self._left[stage] = listener

    async def refresh(self) -> None:
        """Wait until everything that is on the topic now is folded in."""
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets(list(self._positions))
        async with self._moved:
            await self._moved.wait_for(lambda: all(self._positions[tp] >= end for tp, end in ends.items()))

    async def read(self, place: Place) -> ParkedWork:
        """The parked work itself, from the topic. Raises LookupError where it is gone, SealedValue where it cannot be opened.

        Waits while the store of the keys is away.
        """
        consumer = kafka.reader(self._bootstrap, "parking-read")
        await consumer.start()
        try:
            consumer.assign([place.lot])
            consumer.seek(place.lot, place.lot_offset)
            async with asyncio.timeout(15):
                message = await consumer.getone(place.lot)
        finally:
            await consumer.stop()
        record = codec.decode(message.value or b"")
        if message.offset != place.lot_offset or not isinstance(record, WorkParked):
            raise LookupError("the parked record is no longer on its topic")
        [open_record] = await kafka.until_done(lambda: open_all(self._keys, [record]), _waiting)
        return opened(open_record)

    # -- changes; each returns once it was read back

    async def park(
        self,
        stage: str,
        source: tuple[str, int, int],
        *,
        owner: str | None,
        reason: str,
        record: tuple[bytes | None, bytes | None, dict[str, bytes]],
        behind: str | None = None,
        attempts: int = 0,
    ) -> WorkParked:
        """Park the record at ``source`` (topic, partition, offset), whose key, value and headers are ``record``.

        A record that is too large to be parked is kept by its place and reason alone: tried again, it is an empty one.
        """
        topic, partition, offset = source
        key, value, headers = record
        work = WorkParked(
            parked_id=ids.parked_id(stage, topic, partition, offset),
            owner=owner,
            stage=stage,
            topic=topic,
            partition=partition,
            offset=offset,
            reason=reason,
            behind=behind,
            attempts=attempts,
            parked_at=datetime.now(UTC),
            key=sealed(key),
            value=sealed(value),
            headers={name: Sealed(content) for name, content in headers.items()},
        )
        work = await kafka.until_done(lambda: self._sealed(work), _waiting)
        try:
            await self._write(work)
        except MessageSizeTooLargeError:
            work = msgspec.structs.replace(
                work, key=None, value=None, headers={}, reason=f"{reason}; {len(value or b'')} bytes, too large to be kept"
            )
            await self._write(work)
        log.warning("work parked", stage=stage, parked_id=work.parked_id, reason=work.reason, attempts=attempts)
        return work

    async def _sealed(self, work: WorkParked) -> WorkParked:
        try:
            return await seal(self._keys, work)
        except KeyLost:
            # of an owner whom the store never had, as a foreign record may name one: under a key that is nobody's
            nobody_s = await seal(self._keys, msgspec.structs.replace(work, owner=None))
            return msgspec.structs.replace(nobody_s, owner=work.owner)

    async def resolve(self, place: Place, outcome: str) -> None:
        """Take ``place`` out of the lot: done, or dropped."""
        await self._write(ParkedResolved(place.parked_id, place.owner, outcome, datetime.now(UTC)))

    async def _write(self, record: ParkedRecord) -> None:
        topic, owner = self._topics.parked, record.owner
        # all records of one entry share a partition, and with it their order
        partition = partition_of(owner or record.parked_id, self._topics.partitions)
        headers = envelope.headers_for(record, id=record.parked_id, source=SOURCE, subject=owner, time=datetime.now(UTC))
        value = codec.encode(record)
        key = (owner or record.parked_id).encode()
        sent = await kafka.until_done(
            lambda: self._producer.send_and_wait(topic, value, key=key, partition=partition, headers=headers),
            _waiting,
        )
        tp, offset = TopicPartition(topic, partition), sent.offset
        async with self._moved:
            await self._moved.wait_for(lambda: self._positions[tp] > offset)

    # -- the fold

    async def _tail(self) -> None:
        while True:
            try:
                batches = await self._consumer.getmany(timeout_ms=1_000, max_records=500)
            except PASSING as error:
                if kafka.is_cancelled():
                    raise
                log.warning("the parking lot waits for the broker", error=type(error).__name__)
                await asyncio.sleep(0.5)
                continue
            for tp, messages in batches.items():
                for message in messages:
                    self._fold(tp, message.offset, message.value)
            async with self._moved:
                for tp, messages in batches.items():
                    self._positions[tp] = messages[-1].offset + 1
                self._moved.notify_all()

    def _fold(self, tp: TopicPartition, offset: int, value: bytes | None) -> None:
        try:
            record = codec.decode(value or b"")
        except ContractError as error:
            log.error("a record on the parked topic cannot be read", partition=tp.partition, offset=offset, reason=str(error))
            return
        if isinstance(record, WorkParked):
            self._enter(record, tp, offset)
        elif isinstance(record, ParkedRetryRequested):
            self._want_retry(record.parked_id)
        elif isinstance(record, ParkedResolved):
            self._leave(record.parked_id)

    def _enter(self, record: WorkParked, tp: TopicPartition, offset: int) -> None:
        place = Place(
            parked_id=record.parked_id,
            stage=record.stage,
            owner=record.owner,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            attempts=record.attempts,
            lot=tp,
            lot_offset=offset,
        )
        self._put(place)

    def _want_retry(self, parked_id: str) -> None:
        place = self._places.get(parked_id)
        if place is not None:
            self._put(replace(place, retry_wanted=True))
            if place.stage in self._retry:
                self._retry[place.stage](place)

    def _put(self, place: Place) -> None:
        self._places[place.parked_id] = place
        if place.owner is not None:
            self._by_owner.setdefault((place.stage, place.owner), {})[place.parked_id] = place

    def _leave(self, parked_id: str) -> None:
        place = self._places.pop(parked_id, None)
        if place is None:
            return
        if place.owner is not None:
            of_owner = self._by_owner.get((place.stage, place.owner), {})
            of_owner.pop(parked_id, None)
            if not of_owner:
                self._by_owner.pop((place.stage, place.owner), None)
        if place.stage in self._left:
            self._left[place.stage](place)


def _waiting(error: BaseException) -> None:
    log.warning("parking waits", error=type(error).__name__)
