"""Requests on the real broker: under their owner, with a time and an actor."""

from __future__ import annotations

from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer

from ops.local.addresses import ServiceAddresses
from schemas import codec
from schemas.topics import Topics, partition_of
from schemas.types import Pin
from streams.producers import CommandProducer, request_meta
from streams.setup import create_topics
from tests.streams.agents.bench import read_partition
from tests.streams.commands import OWNER


async def test_requests_stand_in_order_at_the_offsets_that_they_were_given(services: ServiceAddresses, topic_prefix: str) -> None:
    topics, before = Topics(2, topic_prefix), datetime.now(UTC)
    mine = partition_of(OWNER, 2)
    await create_topics(services.kafka_bootstrap, topics)
    async with AIOKafkaProducer(bootstrap_servers=services.kafka_bootstrap) as said:
        for _ in range(3):
            await said.send_and_wait(topics.conversation, b"a turn", partition=mine)
    pin = Pin(request_meta(OWNER), "a-memory")
    async with CommandProducer(services.kafka_bootstrap, topics) as producer:
        assert await producer.send(pin) == 0
        forget, offset = await producer.forget(OWNER, ["a-memory", "another"])
    assert offset == 1
    assert (forget.meta.owner, forget.meta.actor, forget.include_source) == (OWNER, "operator", False)
    assert before <= forget.meta.occurred_at <= datetime.now(UTC)
    assert forget.conversation_end_offset == 3
    records = await read_partition(services.kafka_bootstrap, topics.commands, mine)
    assert [codec.decode(r.value) for r in records] == [pin, forget]
    assert [r.key for r in records] == [OWNER.encode()] * 2
    assert dict(records[1].headers)["ce_id"].decode() == forget.meta.command_id
