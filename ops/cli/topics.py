"""Reading topics for a person: plain aiokafka with assigned partitions, nothing committed, so that looking disturbs nobody."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from ops.cli.errors import NotRunning, UsageError
from ops.cli.target import Target
from ops.keyring import open_keys
from schemas import codec
from schemas.errors import ContractError
from schemas.sealing import open_all
from schemas.topics import Topics
from schemas.types import ConversationTurn

CONNECT_S = 5.0
NEAR = 500
LOOK_WAIT_MS, FOLLOW_WAIT_MS = 10, 500
SHORT_NAMES = ("inbox", "conversation", "commands", "events", "embeddings", "current", "parked")


class TopicMissing(NotRunning):
    """A topic that was not created yet."""


def topic_named(topics: Topics, name: str) -> str:
    """Full topic name for a full name, a name without the prefix or a short name (inbox, conversation, commands, …)."""
    if name in SHORT_NAMES:
        return str(getattr(topics, name))
    full = {getattr(topics, short) for short in SHORT_NAMES}
    for candidate in (name, topics.prefix + name):
        if candidate in full:
            return candidate
    bare = ", ".join(Topics().__getattribute__(short) for short in SHORT_NAMES)
    raise UsageError(f"there is no topic {name}", f"topics: {bare}; short names: {', '.join(SHORT_NAMES)}")


@asynccontextmanager
async def topic_reader(bootstrap: str, *, follow: bool = False) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group, for a quick look or to ``follow``. Raises NotRunning where no broker answers in time."""
    logger = logging.getLogger("aiokafka")
    before, logger.level = logger.level, logging.CRITICAL  # its own complaint would stand beside our clear one
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        client_id="emberlog-cli",
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        request_timeout_ms=int(CONNECT_S * 1000),
        # a new assignment waits for the fetch under way to return, which at the end of a topic takes all of this
        fetch_max_wait_ms=FOLLOW_WAIT_MS if follow else LOOK_WAIT_MS,
        max_partition_fetch_bytes=2_097_152,
    )
    try:
        try:
            await consumer.start()
        except KafkaError as error:
            raise NotRunning(
                f"Kafka does not answer at {bootstrap} ({type(error).__name__})", "see what runs with: emberlog status"
            ) from None
        yield consumer
    finally:
        await consumer.stop()
        logger.setLevel(before)


async def partitions_of(consumer: AIOKafkaConsumer, topic: str, expected: int | None = None) -> list[TopicPartition]:
    """All partitions of ``topic``. Raises TopicMissing, and UsageError where it has not the ``expected`` number."""
    await consumer._client.force_metadata_update()
    found = consumer.partitions_for_topic(topic)
    if not found:
        raise TopicMissing(f"topic {topic} does not exist", "make the topics with: emberlog setup")
    if expected is not None and len(found) != expected:
        raise UsageError(
            f"topic {topic} has {len(found)} partitions, but EMBERLOG_PARTITIONS says {expected}",
            f"set EMBERLOG_PARTITIONS={len(found)}",
        )
    return [TopicPartition(topic, number) for number in sorted(found)]


async def read_until(
    consumer: AIOKafkaConsumer, start: Mapping[TopicPartition, int], end: Mapping[TopicPartition, int]
) -> AsyncIterator[Any]:
    """Records from ``start`` up to ``end`` (exclusive) of each partition, in offset order within a partition."""
    open_ones = {tp for tp, offset in end.items() if start[tp] < offset}
    if not open_ones:
        return
    consumer.assign(sorted(open_ones))
    for tp in open_ones:
        consumer.seek(tp, start[tp])
    while open_ones:
        batches = await consumer.getmany(*open_ones, timeout_ms=200)
        for tp, records in batches.items():
            for record in records:
                if record.offset < end[tp]:
                    yield record
        for tp in list(open_ones):
            # the position moves past compacted and control records too
            if await consumer.position(tp) >= end[tp]:
                open_ones.discard(tp)
                consumer.pause(tp)


async def records_at(consumer: AIOKafkaConsumer, tp: TopicPartition, offsets: Iterable[int]) -> AsyncIterator[Any]:
    """The records at these offsets of ``tp``; offsets where there is none (any more) are passed over."""
    begin, end = (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
    for group in _near(offset for offset in offsets if begin <= offset < end):
        wanted = set(group)
        async for record in read_until(consumer, {tp: group[0]}, {tp: group[-1] + 1}):
            if record.offset in wanted:
                yield record


def _near(offsets: Iterable[int]) -> list[list[int]]:
    """Sorted offsets in groups that are worth one read each: what lies between costs less than another round trip."""
    groups: list[list[int]] = []
    for offset in sorted(set(offsets)):
        if groups and offset - groups[-1][-1] <= NEAR:
            groups[-1].append(offset)
        else:
            groups.append([offset])
    return groups


async def turns_at(target: Target, partition: int, offsets: Iterable[int]) -> dict[int, ConversationTurn]:
    """Admitted turns, opened, by their offset in one partition of conversation.events; those that cannot be read are left out."""
    turns: dict[int, ConversationTurn] = {}
    async with topic_reader(target.bootstrap) as consumer:
        async for record in records_at(consumer, TopicPartition(target.topics.conversation, partition), offsets):
            try:
                turn = codec.decode(record.value or b"")
            except ContractError:
                continue
            if isinstance(turn, ConversationTurn):
                turns[record.offset] = turn
    async with open_keys(target.settings, target.dsn, connections=1) as ring:
        return dict(zip(turns, await open_all(ring.keys, list(turns.values())), strict=True))
