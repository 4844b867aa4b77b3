"""The inbox of a bench: what goes into it, how far it reaches, and what was admitted from it."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiokafka import TopicPartition

from schemas import codec
from schemas.types import ConversationTurn
from streams import kafka
from streams.agents.admission import Admission
from streams.stage import Work
from tests.line.support.waiting import until
from tests.streams.agents.bench import PARTITIONS, Bench, read_partition


class Gate:
    """Holds admission at the turns that say ``held`` until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._open = asyncio.Event()
        really = Admission.__call__

        async def admit(admission: Admission, work: Work) -> None:
            if b"held" in (work.value or b""):
                await self._open.wait()
            await really(admission, work)

        monkeypatch.setattr(Admission, "__call__", admit)

    def open(self) -> None:
        self._open.set()


async def publish(bench: Bench, partition: int, *texts: str) -> None:
    """One turn per text, which is also the name of its session."""
    for text in texts:
        turn = {"owner": f"u-{text}", "session_id": text, "messages": [{"role": "user", "content": text}]}
        await bench.producer.send_and_wait(bench.topics.inbox, json.dumps(turn).encode(), partition=partition)


async def reach(bench: Bench, partition: int = 0) -> tuple[int, int]:
    """Beginning and end of a partition of the inbox."""
    tp = TopicPartition(bench.topics.inbox, partition)
    consumer = kafka.reader(bench.bootstrap, "test-reach")
    await consumer.start()
    try:
        return (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
    finally:
        await consumer.stop()


async def until_it_reaches(bench: Bench, begin: int, end: int, partition: int = 0) -> None:
    async def reached() -> bool:
        return await reach(bench, partition) == (begin, end)

    await until(reached, f"partition {partition} of the inbox holds the offsets from {begin} to {end}")


async def admitted(bench: Bench) -> set[str]:
    """The sessions of all turns that were admitted."""
    turns = [
        codec.decode(record.value or b"")
        for partition in range(PARTITIONS)
        for record in await read_partition(bench.bootstrap, bench.topics.conversation, partition)
    ]
    return {turn.session_id.text for turn in turns if isinstance(turn, ConversationTurn)}
