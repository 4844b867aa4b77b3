"""Events in offset order from the committed offset on, whatever the stream still holds from before a rebalance.

A stream may hand out an event of the assignment before, ahead of the redelivered ones. Taken as it comes, the decider would
decide it first and then skip the earlier commands of its owner as decided. So a partition's first event must be the first one at
or above the committed offset, and each next one the next on the topic; what comes early is dropped, for it is delivered again.
"""

from __future__ import annotations

import asyncio

import structlog
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from streams import kafka

log = structlog.get_logger(__name__)


async def committed_offsets(bootstrap: str, group: str, topic: str) -> dict[int, int]:
    """Committed offset per partition of ``topic``; partitions without one are left out."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="emberlog-offsets")
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(group)
    finally:
        await admin.close()
    return {tp.partition: meta.offset for tp, meta in offsets.items() if tp.topic == topic and meta.offset >= 0}


class InOrder:
    """Says which events of a topic are next; ``reset`` at each assignment."""

    def __init__(self, bootstrap: str, group: str, topic: str) -> None:
        self._bootstrap, self._group, self._topic = bootstrap, group, topic
        self._expected: dict[int, int] = {}

    async def reset(self, partitions: set[int]) -> None:
        """A new assignment: begin again at the committed offsets."""
        self._expected = {}
        if partitions:
            committed = await committed_offsets(self._bootstrap, self._group, self._topic)
            self._expected = {p: committed.get(p, 0) for p in partitions}

    async def take(self, partition: int, offset: int) -> bool:
        """Whether the event at ``offset`` is to be worked on now: not for one that came early, was taken, or is not ours."""
        expected = self._expected.get(partition)
        if expected is None or offset < expected:
            return False
        if offset > expected and await self._first_from(partition, expected) != offset:
            log.info("an event came early and is dropped until its turn", topic=self._topic, partition=partition, offset=offset)
            return False
        if partition in self._expected:  # it may have been taken away meanwhile
            self._expected[partition] = offset + 1
            return True
        return False

    async def _first_from(self, partition: int, offset: int) -> int:
        """Offset of the first record at or above ``offset``: the log may begin later, or have holes."""
        tp = TopicPartition(self._topic, partition)
        consumer = kafka.reader(self._bootstrap, "order")
        await consumer.start()
        try:
            consumer.assign([tp])
            consumer.seek(tp, offset)
            async with asyncio.timeout(30):
                return int((await consumer.getone(tp)).offset)
        finally:
            await consumer.stop()
