"""Purging of the inbox: what was admitted or parked is deleted from it, since it is the only topic that holds plain text.

Deleted is what stands below the committed offset of the admit group, and nothing else: the agent commits a record only after its
turn, or its copy in the parking lot, was written for good. The records are out of every reader's reach at once; their bytes
leave the disk by segments, the last one after a neutral record (``streams.agents.rolling``), see docs/operations.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from streams import kafka, tasks
from streams.agents.rolling import Roller

log = structlog.get_logger(__name__)

PURGE_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class _Clients:
    admin: AIOKafkaAdminClient
    reader: AIOKafkaConsumer


class InboxPurger:
    """Purges the partitions of ``topic`` that this worker owns up to the offsets that ``group`` committed, and rolls them.

    ``assigned`` starts it, at the first assignment, and ``stop`` ends it. Whatever goes wrong pauses it: the records wait for the
    next round, and their retention bounds the wait. No failure of it ends a worker.
    """

    def __init__(self, bootstrap: str, group: str, topic: str, producer: AIOKafkaProducer) -> None:
        self._bootstrap, self._group, self._topic = bootstrap, group, topic
        self._roller = Roller(producer)
        self._mine: frozenset[int] = frozenset()
        self._task: asyncio.Task[None] | None = None

    def assigned(self, partitions: Set[int]) -> None:
        """Purge these partitions from now on, and no others; none when they were taken away."""
        self._mine = frozenset(partitions)
        if self._task is None and partitions:
            self._task = asyncio.create_task(self._run(), name="inbox-purger")

    async def stop(self) -> None:
        """Stop; what was not purged is purged by the next worker."""
        if self._task is not None:
            await tasks.end(self._task)
            self._task = None

    async def _run(self) -> None:
        failing = False
        while True:
            try:
                async with self._connected() as clients:
                    while True:
                        await self._purge(clients)
                        if failing:
                            log.info("the inbox is purged again")
                            failing = False
                        await asyncio.sleep(PURGE_EVERY_S)
            except (Exception, asyncio.CancelledError) as error:
                # aiokafka lets a CancelledError out of its own tasks when the broker goes away
                if kafka.is_cancelled():
                    raise
                if not failing:
                    log.warning("the inbox is not purged", error=type(error).__name__)
                failing = True
            await asyncio.sleep(PURGE_EVERY_S)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[_Clients]:
        admin = AIOKafkaAdminClient(
            bootstrap_servers=self._bootstrap, client_id="emberlog-purge", request_timeout_ms=kafka.REQUEST_TIMEOUT_MS
        )
        reader = kafka.reader(self._bootstrap, "purge")
        try:
            await admin.start()
            await reader.start()
            yield _Clients(admin, reader)
        finally:
            try:
                await reader.stop()
            finally:
                await admin.close()

    async def _purge(self, clients: _Clients) -> None:
        """One round over the partitions that are ours now. One that is taken away meanwhile loses nothing: offsets only rise."""
        mine = [TopicPartition(self._topic, p) for p in sorted(self._mine)]
        if not mine:
            return
        offsets = await clients.admin.list_consumer_group_offsets(self._group)
        committed = {tp: offsets[tp].offset for tp in mine if tp in offsets}
        # asked every time: a broker that crashed may begin a partition earlier than it said before
        begin, end = await clients.reader.beginning_offsets(mine), await clients.reader.end_offsets(mine)
        # an offset beyond the end was committed for another topic of this name, which was deleted since
        wanted = {tp: RecordsToDelete(offset) for tp, offset in committed.items() if begin[tp] < offset <= end[tp]}
        if wanted:
            await clients.admin.delete_records(wanted, timeout_ms=kafka.REQUEST_TIMEOUT_MS)
            log.debug("inbox purged", records=sum(committed[tp] - begin[tp] for tp in wanted))
        await self._roller.roll(begin, end)
