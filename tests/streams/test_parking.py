"""The parking lot on the real broker: what is parked is sealed on its topic, and comes back as it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka import TopicPartition

from ops.local.addresses import ServiceAddresses
from schemas import codec
from schemas.sealed import Sealed
from schemas.topics import Topics
from schemas.types import WorkParked
from streams import kafka
from streams.parking.lot import ParkingLot
from streams.setup import create_topics
from tests.keys.plain import PlainKeys
from tests.streams.commands import OWNER

SOURCE = ("conversation.events.v1", 1, 41)
HEADERS = {"ce_subject": OWNER.encode(), "anything": b"\xff\x00"}


@pytest.fixture
async def topics(services: ServiceAddresses, topic_prefix: str) -> Topics:
    made = Topics(2, topic_prefix)
    await create_topics(services.kafka_bootstrap, made)
    return made


@pytest.fixture
async def lot(services: ServiceAddresses, topics: Topics) -> AsyncIterator[ParkingLot]:
    async with ParkingLot(services.kafka_bootstrap, topics, PlainKeys()) as opened:
        yield opened


@pytest.mark.parametrize("value", [b"said", b"", None])
async def test_a_record_is_parked_sealed_and_read_back_as_it_was(
    services: ServiceAddresses, lot: ParkingLot, value: bytes | None
) -> None:
    work = await lot.park("extract", SOURCE, owner=OWNER, reason="why", record=(b"key", value, HEADERS), attempts=3)
    place = lot.place(work.parked_id)
    assert place is not None
    record = await _record_at(services, place.lot, place.lot_offset)
    assert record.key == Sealed(b"key")
    assert record.value == (None if value is None else Sealed(value))
    assert record.headers == {name: Sealed(content) for name, content in HEADERS.items()}
    parked = await lot.read(place)
    assert (parked.key, parked.value, parked.headers) == (b"key", value, HEADERS)
    assert (parked.parked_id, parked.reason, parked.behind, parked.attempts) == (work.parked_id, "why", None, 3)


async def test_a_record_too_large_to_be_parked_is_kept_by_its_place_and_blocks_nothing(lot: ParkingLot) -> None:
    async with asyncio.timeout(30):
        work = await lot.park("admit", SOURCE, owner=None, reason="why", record=(b"key", b"x" * 1_047_000, HEADERS))
    place = lot.place(work.parked_id)
    assert place is not None
    assert (place.topic, place.partition, place.offset) == SOURCE
    parked = await lot.read(place)
    assert parked.reason == "why; 1047000 bytes, too large to be kept"
    assert (parked.key, parked.value, parked.headers) == (None, None, {})


async def test_another_life_of_the_lot_finds_what_was_parked_and_not_what_left(
    services: ServiceAddresses, topics: Topics, lot: ParkingLot
) -> None:
    works = [
        await lot.park("extract", (SOURCE[0], 1, offset), owner=OWNER, reason="why", record=(None, b"v", {}))
        for offset in (41, 42)
    ]
    first = lot.place(works[0].parked_id)
    assert first is not None
    await lot.resolve(first, "dropped")
    async with ParkingLot(services.kafka_bootstrap, topics, PlainKeys()) as another:
        assert [p.parked_id for p in another.of_owner("extract", OWNER)] == [works[1].parked_id]
        assert another.blocker("extract", OWNER) == works[1].parked_id


async def _record_at(services: ServiceAddresses, tp: TopicPartition, offset: int) -> WorkParked:
    consumer = kafka.reader(services.kafka_bootstrap, "test")
    await consumer.start()
    try:
        consumer.assign([tp])
        consumer.seek(tp, offset)
        return codec.decode_as(WorkParked, (await consumer.getone(tp)).value)
    finally:
        await consumer.stop()
