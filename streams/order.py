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
    """Says which events of a topic are next: ``hold`` when partitions are revoked, ``reset`` once the new assignment is ready.

    Faust lets the events of a new assignment flow while its handlers still run. In between an event is judged by nothing that
    is true, and one that is dropped then would never be delivered again: so it waits for the ``reset``.
    """

    def __init__(self, bootstrap: str, group: str, topic: str) -> None:
        self._bootstrap, self._group, self._topic = bootstrap, group, topic
        self._expected: dict[int, int] = {}
        self._settled = asyncio.Event()

    def hold(self) -> None:
        """Partitions are being assigned anew: ``take`` waits."""
        self._settled.clear()

    async def reset(self, partitions: set[int]) -> None:
        """A new assignment: begin again at the committed offsets."""
        expected = {}
        if partitions:
            committed = await committed_offsets(self._bootstrap, self._group, self._topic)
            expected = {p: committed.get(p, 0) for p in partitions}
        self._expected = expected
        self._settled.set()

    def take_next(self, partition: int, offset: int) -> bool:
        """``take`` for an event that is next beyond doubt: False where that is to be looked into."""
        if not self._settled.is_set() or self._expected.get(partition) != offset:
            return False
        self._expected[partition] = offset + 1
        return True

    async def take(self, partition: int, offset: int) -> bool:
        """Whether the event at ``offset`` is to be worked on now: not for one that came early, was taken, or is not ours."""
        while True:
            await self._settled.wait()
            expected = self._expected.get(partition)
            if expected is None or offset < expected:
                return False
            if offset > expected:
                first = await self._first_from(partition, expected)
                if not self._settled.is_set() or self._expected.get(partition) != expected:
                    continue  # assigned anew meanwhile
                if first != offset:
                    log.info(
                        "an event came early and is dropped until its turn", topic=self._topic, partition=partition, offset=offset
                    )
                    return False
            self._expected[partition] = offset + 1
            return True

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
