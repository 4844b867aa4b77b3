"""The inbox behind admission: what was admitted is gone from it, nothing else is, and its bytes leave the disk."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from structlog.testing import capture_logs

from ops.local.kafka import EmbeddedKafka
from schemas import codec
from schemas.topics import Topics
from schemas.types import ConversationTurn
from streams import kafka
from streams.agents import purging
from streams.agents.admission import Admission
from streams.agents.purging import InboxPurger
from streams.extraction.embedders import WordLlamaEmbedder
from streams.setup import create_topics
from streams.stage import Work
from tests.line.support.waiting import until
from tests.services import temporary_data_dir
from tests.streams.agents.bench import PARTITIONS, Bench, read_partition

MARKER = "the marker that nobody may find"


@pytest.fixture(autouse=True)
def at_a_quick_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "PURGE_EVERY_S", 0.1)


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


async def _publish(bench: Bench, partition: int, *texts: str) -> None:
    """One turn per text, which is also the name of its session."""
    for text in texts:
        turn = {"owner": f"u-{text}", "session_id": text, "messages": [{"role": "user", "content": text}]}
        await bench.producer.send_and_wait(bench.topics.inbox, json.dumps(turn).encode(), partition=partition)


async def _reach(bench: Bench, partition: int = 0) -> tuple[int, int]:
    """Beginning and end of a partition of the inbox."""
    tp = TopicPartition(bench.topics.inbox, partition)
    consumer = kafka.reader(bench.bootstrap, "test-reach")
    await consumer.start()
    try:
        return (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
    finally:
        await consumer.stop()


async def _until_it_reaches(bench: Bench, begin: int, end: int, partition: int = 0) -> None:
    async def reached() -> bool:
        return await _reach(bench, partition) == (begin, end)

    await until(reached, f"partition {partition} of the inbox holds the offsets from {begin} to {end}")


async def _admitted(bench: Bench) -> set[str]:
    """The sessions of all turns that were admitted."""
    turns = [
        codec.decode(record.value or b"")
        for partition in range(PARTITIONS)
        for record in await read_partition(bench.bootstrap, bench.topics.conversation, partition)
    ]
    return {turn.session_id.text for turn in turns if isinstance(turn, ConversationTurn)}


async def test_after_admission_the_records_are_gone_from_the_inbox(bench: Bench) -> None:
    async with bench.worker("admit"):
        await _publish(bench, 0, "a", "b", "c")
        await _publish(bench, 1, "d")
        await _until_it_reaches(bench, 3, 3)
        await _until_it_reaches(bench, 1, 1, partition=1)
        assert await read_partition(bench.bootstrap, bench.topics.inbox, 0) == []
    assert await _admitted(bench) == {"a", "b", "c", "d"}


async def test_a_record_that_is_parked_is_purged_too_and_its_copy_stays_in_the_parking_lot(bench: Bench) -> None:
    async with bench.worker("admit"):
        await bench.producer.send_and_wait(bench.topics.inbox, b"no turn at all", partition=0)
        await _until_it_reaches(bench, 1, 1)
    parked = [record for p in range(PARTITIONS) for record in await read_partition(bench.bootstrap, bench.topics.parked, p)]
    assert len(parked) == 1


async def test_nothing_at_or_above_the_committed_offset_is_deleted_and_a_restarted_worker_admits_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as while_held:
        Gate(while_held)
        async with bench.worker("admit"):
            await _publish(bench, 0, "a", "b", "held", "c", "d")
            await _until_it_reaches(bench, 2, 5)
            # c and d are admitted, but stand behind a turn that is not
            async with asyncio.timeout(30):
                while await _admitted(bench) != {"a", "b", "c", "d"}:  # noqa: ASYNC110 - a topic offers no event
                    await asyncio.sleep(0.05)
            # many rounds later: what came to the other partition meanwhile has been committed and purged
            for end in range(1, 4):
                await _publish(bench, 1, f"e{end}")
                await _until_it_reaches(bench, end, end, partition=1)
            assert await _reach(bench) == (2, 5)
    kept = await read_partition(bench.bootstrap, bench.topics.inbox, 0)
    assert [record.offset for record in kept] == [2, 3, 4]

    async with bench.worker("admit"):
        await _publish(bench, 0, "f")
        await _until_it_reaches(bench, 6, 6)
    assert await _admitted(bench) == {"a", "b", "held", "c", "d", "e1", "e2", "e3", "f"}


async def test_only_the_partitions_that_are_ours_are_purged(bench: Bench) -> None:
    inbox = bench.topics.inbox
    for partition in range(PARTITIONS):
        await _publish(bench, partition, "a", "b")
        await bench.commit("admit", TopicPartition(inbox, partition), 2)
    purger = InboxPurger(bench.bootstrap, bench.config("admit").group("admit"), inbox)
    try:
        purger.assigned({1})
        await _until_it_reaches(bench, 2, 2, partition=1)
        assert await _reach(bench) == (0, 2)
        purger.assigned({0})
        await _until_it_reaches(bench, 2, 2)
    finally:
        await purger.stop()


async def test_an_offset_beyond_the_end_deletes_nothing_and_holds_no_other_partition_back(bench: Bench) -> None:
    inbox = bench.topics.inbox
    await _publish(bench, 0, "a")
    await _publish(bench, 1, "b")
    await bench.commit("admit", TopicPartition(inbox, 0), 7)
    await bench.commit("admit", TopicPartition(inbox, 1), 1)
    purger = InboxPurger(bench.bootstrap, bench.config("admit").group("admit"), inbox)
    with capture_logs() as lines:
        try:
            purger.assigned({0, 1})
            await _until_it_reaches(bench, 1, 1, partition=1)
            # another round, so that the one before is over
            await _publish(bench, 1, "c")
            await bench.commit("admit", TopicPartition(inbox, 1), 2)
            await _until_it_reaches(bench, 2, 2, partition=1)
        finally:
            await purger.stop()
    assert await _reach(bench) == (0, 1)
    assert [line for line in lines if line["log_level"] == "warning"] == []


# -- a broker of their own: to end it, and to look into its folder


class QuickKafka(EmbeddedKafka):
    """Looks for segments to delete all the time, not every five minutes."""

    def _write_config(self, log_dir: Path) -> None:
        super()._write_config(log_dir)
        with self.config.open("a", encoding="utf-8") as config:
            config.write("log.retention.check.interval.ms=200\nlog.initial.task.delay.ms=200\n")

    def holding(self, topic: str, text: str) -> list[str]:
        """The files in the folders of ``topic`` whose raw bytes hold ``text``."""
        found = []
        for file in (self.directory / "log").glob(f"{topic}-*/*"):
            try:
                if text.encode() in file.read_bytes():
                    found.append(file.name)
            except FileNotFoundError:
                continue  # the broker deleted it meanwhile
        return found


@pytest.fixture
def own_kafka() -> Iterator[QuickKafka]:
    folder = temporary_data_dir()
    broker = QuickKafka(folder)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()
        shutil.rmtree(folder)


@pytest.fixture
async def own_bench(own_kafka: QuickKafka, tmp_path: Path) -> AsyncIterator[Bench]:
    topics = Topics(PARTITIONS)
    spec = next(replace(s, config=s.config | {"segment.ms": "500"}) for s in topics.specs() if s.name == topics.inbox)
    admin = AIOKafkaAdminClient(bootstrap_servers=own_kafka.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(spec.name, spec.partitions, 1, topic_configs=spec.config)])
    finally:
        await admin.close()
    await create_topics(own_kafka.bootstrap, topics)
    async with Bench.open(own_kafka.bootstrap, topics, WordLlamaEmbedder(), tmp_path) as opened:
        yield opened


@pytest.mark.slow
async def test_the_raw_bytes_of_the_inbox_hold_a_purged_text_until_its_segment_is_rolled_and_nowhere_after(
    own_kafka: QuickKafka, own_bench: Bench
) -> None:
    inbox = own_bench.topics.inbox
    async with own_bench.worker("admit"):
        await _publish(own_bench, 0, MARKER)
        await _until_it_reaches(own_bench, 1, 1)
        assert own_kafka.holding(inbox, MARKER) == ["00000000000000000000.log"]
        assert own_kafka.holding(own_bench.topics.conversation, MARKER)

        async def gone() -> bool:
            # a segment is rolled by the first record that comes after its time
            await _publish(own_bench, 0, "later")
            return not own_kafka.holding(inbox, MARKER)

        await until(gone, "the marker left the disk")


@pytest.mark.slow
async def test_while_the_broker_is_away_purging_waits_and_goes_on_with_what_was_committed(
    own_kafka: QuickKafka, own_bench: Bench
) -> None:
    inbox = TopicPartition(own_bench.topics.inbox, 0)
    await _publish(own_bench, 0, "a", "b", "c")
    await own_bench.commit("admit", inbox, 1)
    purger = InboxPurger(own_bench.bootstrap, own_bench.config("admit").group("admit"), inbox.topic)
    try:
        purger.assigned({0})
        await _until_it_reaches(own_bench, 1, 3)
        await asyncio.to_thread(own_kafka.kill)
        await asyncio.to_thread(own_kafka.restart)
        await own_bench.commit("admit", inbox, 2)
        await _until_it_reaches(own_bench, 2, 3)
    finally:
        await purger.stop()
