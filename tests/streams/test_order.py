"""Events in offset order, whatever a stream still holds from before a rebalance; holes and purged beginnings too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from ops.local.addresses import ServiceAddresses
from streams import kafka
from streams.order import InOrder

RECORDS = 8


@pytest.fixture
async def topic(services: ServiceAddresses) -> AsyncIterator[str]:
    """A topic of one partition with eight records."""
    name = f"order-{uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=services.kafka_bootstrap)
    await admin.start()
    producer = kafka.producer(services.kafka_bootstrap, "test")
    await producer.start()
    try:
        await admin.create_topics([NewTopic(name, 1, 1)])
        for i in range(RECORDS):
            await producer.send_and_wait(name, str(i).encode(), partition=0)
        yield name
    finally:
        await producer.stop()
        await admin.delete_topics([name])
        await admin.close()


async def _fresh(services: ServiceAddresses, topic: str) -> InOrder:
    order = InOrder(services.kafka_bootstrap, f"group-{topic}", topic)
    await kafka.until_done(lambda: order.reset({0}), lambda _: None)
    return order


async def test_events_are_taken_once_each_from_the_beginning(services: ServiceAddresses, topic: str) -> None:
    order = await _fresh(services, topic)
    assert [await order.take(0, i) for i in (0, 1, 1, 0, 2)] == [True, True, False, False, True]


async def test_an_event_left_over_from_before_a_rebalance_is_dropped_until_its_turn(
    services: ServiceAddresses, topic: str
) -> None:
    order = await _fresh(services, topic)
    assert not await order.take(0, 5)
    assert [await order.take(0, i) for i in range(6)] == [True] * 6


async def test_a_log_that_begins_later_is_read_from_its_beginning(services: ServiceAddresses, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=services.kafka_bootstrap)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=3)})
    finally:
        await admin.close()
    order = await _fresh(services, topic)
    assert not await order.take(0, 4)
    assert await order.take(0, 3)


async def test_a_partition_that_is_not_ours_is_left_alone(services: ServiceAddresses, topic: str) -> None:
    order = await _fresh(services, topic)
    await order.reset(set())
    assert not await order.take(0, 0)
