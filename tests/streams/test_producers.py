"""Requests on the real broker: under their owner, with a time and an actor."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaProducer

from ops.local.addresses import ServiceAddresses
from schemas import codec, ids
from schemas.slices import MAX_EVENTS
from schemas.topics import Topics, partition_of
from schemas.types import Pin
from streams.producers import CommandProducer, forget_commands, request_meta
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
        [forget] = await producer.forget(OWNER, ["a-memory", "another"])
    assert (forget.meta.owner, forget.meta.actor, forget.include_source) == (OWNER, "operator", False)
    assert before <= forget.meta.occurred_at <= datetime.now(UTC)
    assert forget.conversation_end_offset == 3
    records = await read_partition(services.kafka_bootstrap, topics.commands, mine)
    assert [codec.decode(r.value) for r in records] == [pin, forget]
    assert [r.key for r in records] == [OWNER.encode()] * 2
    assert dict(records[1].headers)["ce_id"].decode() == forget.meta.command_id


def test_a_request_to_forget_more_than_a_slice_holds_is_carried_out_by_several_commands() -> None:
    meta, wanted = request_meta(OWNER), [f"m-{i}" for i in range(2 * MAX_EVENTS + 1)]
    commands = forget_commands(meta, wanted, 7, include_source=True)
    assert [len(command.memory_ids) for command in commands] == [MAX_EVENTS, MAX_EVENTS, 1]
    assert [memory for command in commands for memory in command.memory_ids] == wanted
    assert {(c.meta.owner, c.conversation_end_offset, c.include_source) for c in commands} == {(OWNER, 7, True)}
    parts = [ids.part_of(command.meta.command_id) for command in commands]
    assert parts == [(meta.command_id, number, 3) for number in (1, 2, 3)]
    [alone] = forget_commands(meta, wanted[:MAX_EVENTS], 7)
    assert alone.meta.command_id == meta.command_id


@pytest.mark.parametrize("text", ["", "a", "a/1", "/1/2", "a/0/2", "a/3/2", "a/01/2", "a/1/x"])
def test_an_id_that_says_nothing_of_parts_is_a_whole_request(text: str) -> None:
    assert ids.part_of(text) == (text, 1, 1)
