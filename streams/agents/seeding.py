"""After a restart: reading back what an agent knew, from the topics.

Facts on their way stand on the command topic, the sessions' last messages on conversation.events. Facts that the projection has
applied meanwhile are dropped at the first question (``RecentFacts``), so reading a few too many does no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import structlog
from aiokafka import ConsumerRecord, TopicPartition

from schemas import codec, envelope
from schemas.errors import ContractError
from schemas.sealing import opening
from schemas.types import ConversationTurn, FactsExtracted, Record
from streams import kafka
from streams.agents.accepting import Accepting
from streams.config import WorkerConfig
from streams.order import committed_offsets
from streams.recent import RecentMessages, what_is_left

log = structlog.get_logger(__name__)

COMMANDS_BACK = 5_000
"""At most so many commands of a partition are under way between the decider's commit and the log (``runner.MAX_UNDER_WAY``)."""
TURNS_BACK = 500
EVENTS_BACK = 10_000
"""Deciders that wake late repeat what others decided lately."""


async def seed_extraction(config: WorkerConfig, messages: RecentMessages, partitions: set[int]) -> None:
    """Fill ``config.recent`` and ``messages`` for ``partitions``. Raises KafkaError while the broker is away."""
    if not partitions:
        return
    topics = config.topics
    recent = config.recent

    def command(record: Record, offset: int) -> None:
        if recent is not None and isinstance(record, FactsExtracted):
            recent.remember(record, offset)

    def turn(record: Record, _: int) -> None:
        if isinstance(record, ConversationTurn):
            messages.add(what_is_left(record))

    decided = await committed_offsets(config.bootstrap, config.group("decide"), topics.commands)
    extracted = await committed_offsets(config.bootstrap, config.group("extract"), topics.conversation)
    for partition in sorted(partitions):
        lag = await recent.projected.lag(partition) if recent is not None else 0
        first = decided.get(partition, 0) - COMMANDS_BACK - lag
        await _read(config, TopicPartition(topics.commands, partition), max(first, 0), None, command)
        until = extracted.get(partition, 0)
        await _read(config, TopicPartition(topics.conversation, partition), max(until - TURNS_BACK, 0), until, turn)


async def seed_accepting(config: WorkerConfig, accepting: Accepting, partitions: set[int]) -> None:
    """Make ``accepting`` know owners of ``partitions`` again. Raises KafkaError while the broker is away."""
    accepting.reset()
    if not partitions:
        return
    events = config.topics.events
    embedded = await committed_offsets(config.bootstrap, config.group("embed"), events)
    for partition in sorted(partitions):
        until = embedded.get(partition, 0)
        first = max(until - EVENTS_BACK, 0)
        async for messages in _batches(config, TopicPartition(events, partition), first, until):
            for message in messages:
                with suppress(ContractError):
                    accepting.feed(envelope.as_map(message.headers))


async def _read(
    config: WorkerConfig, tp: TopicPartition, first: int, until: int | None, take: Callable[[Record, int], None]
) -> None:
    """Records of ``tp`` with their offsets, opened: from offset ``first`` up to ``until``, or to the end."""
    async for messages in _batches(config, tp, first, until):
        read = [(record, m.offset) for m in messages if (record := _decoded(m)) is not None]
        open_one = await opening(config.keys, [record for record, _ in read])
        for record, offset in read:
            with suppress(ContractError):  # a value that was tampered with: the agent that reads the topic parks it
                take(open_one(record), offset)


def _decoded(message: ConsumerRecord) -> Record | None:
    try:
        return codec.decode(message.value or b"")
    except ContractError:
        return None  # it was or will be parked by the agent that reads the topic


async def _batches(
    config: WorkerConfig, tp: TopicPartition, first: int, until: int | None
) -> AsyncIterator[list[ConsumerRecord]]:
    consumer = kafka.reader(config.bootstrap, "seed")
    await consumer.start()
    try:
        consumer.assign([tp])
        begin = (await consumer.beginning_offsets([tp]))[tp]
        end = await kafka.end_offset(consumer, tp) if until is None else until
        consumer.seek(tp, max(first, begin))
        while await consumer.position(tp) < end:
            batches = await consumer.getmany(tp, timeout_ms=1_000, max_records=1_000)
            yield [message for message in batches.get(tp, ()) if message.offset < end]
            await asyncio.sleep(0)
    finally:
        await consumer.stop()
