"""A worker with a single agent, what goes into its topics and what comes out of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from schemas.topics import Topics, partition_of
from streams import kafka
from streams.config import WorkerConfig
from streams.extraction.ports import Embedder, Extraction, TurnToExtract
from streams.order import committed_offsets
from streams.parking.lot import ParkingLot, Place
from streams.stage import Work
from streams.worker import run_worker
from tests.keys.plain import PlainKeys

DEADLINE_S = 60.0
PARTITIONS = 2


class NoExtractor:
    """For workers without the extract agent."""

    rules = True

    async def extract(self, turn: TurnToExtract) -> Extraction:
        raise AssertionError("nothing was to be extracted")

    async def close(self) -> None:
        return None


async def read_partition(bootstrap: str, topic: str, partition: int) -> list[ConsumerRecord]:
    """What stands on a partition now, in order."""
    tp = TopicPartition(topic, partition)
    consumer = kafka.reader(bootstrap, "test")
    await consumer.start()
    found: list[ConsumerRecord] = []
    try:
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        end = await kafka.end_offset(consumer, tp)
        while await consumer.position(tp) < end:
            found += (await consumer.getmany(tp, timeout_ms=500)).get(tp, ())
    finally:
        await consumer.stop()
    return found


@dataclass(frozen=True)
class Bench:
    """Topics of its own on the real broker."""

    bootstrap: str
    topics: Topics
    embedder: Embedder
    data_dir: Path
    producer: AIOKafkaProducer

    @classmethod
    @asynccontextmanager
    async def open(cls, bootstrap: str, topics: Topics, embedder: Embedder, data_dir: Path) -> AsyncIterator[Bench]:
        producer = kafka.producer(bootstrap, "test")
        await producer.start()
        try:
            yield cls(bootstrap, topics, embedder, data_dir, producer)
        finally:
            await producer.stop()

    def config(self, *agents: str, **parts: Any) -> WorkerConfig:
        """Of a worker with these agents; no database is there."""
        return WorkerConfig(
            **{
                "bootstrap": self.bootstrap,
                "topics": self.topics,
                "state_dsn": "",
                "data_dir": self.data_dir,
                "keys": PlainKeys(),
                "directory": PlainKeys(),
                "extractor": NoExtractor(),
                "embedder": self.embedder,
                "agents": frozenset(agents),
                **parts,
            }
        )

    @asynccontextmanager
    async def worker(self, agent: str, **parts: Any) -> AsyncIterator[None]:
        """A worker with one agent that has its partitions."""
        stop, ready = asyncio.Event(), asyncio.Event()
        running = asyncio.create_task(run_worker(self.config(agent, **parts), stop, ready.set))
        waiting = asyncio.create_task(ready.wait())
        try:
            async with asyncio.timeout(DEADLINE_S):
                await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
            yield
        finally:
            waiting.cancel()
            stop.set()
            await running

    async def records(self, topic: str, owner: str) -> list[ConsumerRecord]:
        """What stands on the owner's partition of ``topic``, in order."""
        return await read_partition(self.bootstrap, topic, partition_of(owner, PARTITIONS))

    async def until(self, topic: str, owner: str, there: Callable[[list[ConsumerRecord]], bool]) -> list[ConsumerRecord]:
        """The owner's partition of ``topic`` once it is as wanted."""
        async with asyncio.timeout(DEADLINE_S):
            while not there(found := await self.records(topic, owner)):  # noqa: ASYNC110 - a topic offers no event
                await asyncio.sleep(0.05)
        return found

    async def until_parked(self, lot: ParkingLot, parked_id: str) -> Place:
        """Where this work is parked, once it is."""
        async with asyncio.timeout(DEADLINE_S):
            while (place := lot.place(parked_id)) is None:  # noqa: ASYNC110 - the lot tells no stranger
                await asyncio.sleep(0.05)
        return place

    async def until_committed(self, agent: str, topic: str, owner: str, **parts: Any) -> None:
        """Wait until the agent, or part of one that has a group of its own, has committed all of the owner's partition."""
        group = self.config("embed", **parts).group(agent)
        mine, end = partition_of(owner, PARTITIONS), len(await self.records(topic, owner))
        async with asyncio.timeout(DEADLINE_S):
            while (await committed_offsets(self.bootstrap, group, topic)).get(mine, 0) < end:  # noqa: ASYNC110 - nor does a commit
                await asyncio.sleep(0.1)

    async def commit(self, agent: str, tp: TopicPartition, offset: int) -> None:
        """Commit ``offset`` for the agent, which must not run."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=self.config("embed").group(agent), enable_auto_commit=False
        )
        await consumer.start()
        try:
            consumer.assign([tp])
            await consumer.commit({tp: offset})
        finally:
            await consumer.stop()

    def work(self, topic: str, value: bytes | None, offset: int = 0, **headers: bytes) -> Work:
        """A record as an agent's handler gets it."""
        return Work(topic, 0, offset, None, value, headers)
