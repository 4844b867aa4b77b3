"""The inbox behind admission: what was admitted is gone from it, nothing else is, and its bytes leave the disk."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import TopicPartition
from structlog.testing import capture_logs

from streams.agents import purging
from streams.agents.purging import InboxPurger
from tests.line.support.waiting import until
from tests.streams.agents.bench import PARTITIONS, Bench, read_partition
from tests.streams.agents.inbox import Gate, admitted, publish, reach, until_it_reaches
from tests.streams.agents.quick_kafka import QuickKafka

MARKER = "the marker that nobody may find"


@pytest.fixture(autouse=True)
def at_a_quick_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "PURGE_EVERY_S", 0.1)


async def test_after_admission_the_records_are_gone_from_the_inbox(bench: Bench) -> None:
    async with bench.worker("admit"):
        await publish(bench, 0, "a", "b", "c")
        await publish(bench, 1, "d")
        await until_it_reaches(bench, 3, 3)
        await until_it_reaches(bench, 1, 1, partition=1)
        assert await read_partition(bench.bootstrap, bench.topics.inbox, 0) == []
    assert await admitted(bench) == {"a", "b", "c", "d"}


async def test_a_record_that_is_parked_is_purged_too_and_its_copy_stays_in_the_parking_lot(bench: Bench) -> None:
    async with bench.worker("admit"):
        await bench.producer.send_and_wait(bench.topics.inbox, b"no turn at all", partition=0)
        await until_it_reaches(bench, 1, 1)
    parked = [record for p in range(PARTITIONS) for record in await read_partition(bench.bootstrap, bench.topics.parked, p)]
    assert len(parked) == 1


@pytest.mark.slow
async def test_nothing_at_or_above_the_committed_offset_is_deleted_and_a_restarted_worker_admits_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as while_held:
        Gate(while_held)
        async with bench.worker("admit"):
            await publish(bench, 0, "a", "b", "held", "c", "d")
            await until_it_reaches(bench, 2, 5)
            # c and d are admitted, but stand behind a turn that is not
            async with asyncio.timeout(30):
                while await admitted(bench) != {"a", "b", "c", "d"}:  # noqa: ASYNC110 - a topic offers no event
                    await asyncio.sleep(0.05)
            # many rounds later: what came to the other partition meanwhile has been committed and purged
            for end in range(1, 4):
                await publish(bench, 1, f"e{end}")
                await until_it_reaches(bench, end, end, partition=1)
            assert await reach(bench) == (2, 5)
    kept = await read_partition(bench.bootstrap, bench.topics.inbox, 0)
    assert [record.offset for record in kept] == [2, 3, 4]

    async with bench.worker("admit"):
        await publish(bench, 0, "f")
        await until_it_reaches(bench, 6, 6)
    assert await admitted(bench) == {"a", "b", "held", "c", "d", "e1", "e2", "e3", "f"}


async def test_only_the_partitions_that_are_ours_are_purged(bench: Bench) -> None:
    inbox = bench.topics.inbox
    for partition in range(PARTITIONS):
        await publish(bench, partition, "a", "b")
        await bench.commit("admit", TopicPartition(inbox, partition), 2)
    purger = InboxPurger(bench.bootstrap, bench.config("admit").group("admit"), inbox, bench.producer)
    try:
        purger.assigned({1})
        await until_it_reaches(bench, 2, 2, partition=1)
        assert await reach(bench) == (0, 2)
        purger.assigned({0})
        await until_it_reaches(bench, 2, 2)
    finally:
        await purger.stop()


async def test_an_offset_beyond_the_end_deletes_nothing_and_holds_no_other_partition_back(bench: Bench) -> None:
    inbox = bench.topics.inbox
    await publish(bench, 0, "a")
    await publish(bench, 1, "b")
    await bench.commit("admit", TopicPartition(inbox, 0), 7)
    await bench.commit("admit", TopicPartition(inbox, 1), 1)
    purger = InboxPurger(bench.bootstrap, bench.config("admit").group("admit"), inbox, bench.producer)
    with capture_logs() as lines:
        try:
            purger.assigned({0, 1})
            await until_it_reaches(bench, 1, 1, partition=1)
            # another round, so that the one before is over
            await publish(bench, 1, "c")
            await bench.commit("admit", TopicPartition(inbox, 1), 2)
            await until_it_reaches(bench, 2, 2, partition=1)
        finally:
            await purger.stop()
    assert await reach(bench) == (0, 1)
    assert [line for line in lines if line["log_level"] == "warning"] == []


# -- a broker of their own: to end it, and to look into its folder


@pytest.mark.slow
async def test_the_raw_bytes_of_the_inbox_hold_a_purged_text_until_its_segment_is_rolled_and_nowhere_after(
    own_kafka: QuickKafka, own_bench: Bench
) -> None:
    inbox = own_bench.topics.inbox
    async with own_bench.worker("admit"):
        await publish(own_bench, 0, MARKER)
        await until_it_reaches(own_bench, 1, 1)
        assert own_kafka.holding(inbox, MARKER) == ["00000000000000000000.log"]
        assert own_kafka.holding(own_bench.topics.conversation, MARKER)

        async def gone() -> bool:
            # a segment is rolled by the first record that comes after its time
            await publish(own_bench, 0, "later")
            return not own_kafka.holding(inbox, MARKER)

        await until(gone, "the marker left the disk")


@pytest.mark.slow
async def test_while_the_broker_is_away_purging_waits_and_goes_on_with_what_was_committed(
    own_kafka: QuickKafka, own_bench: Bench
) -> None:
    inbox = TopicPartition(own_bench.topics.inbox, 0)
    await publish(own_bench, 0, "a", "b", "c")
    await own_bench.commit("admit", inbox, 1)
    purger = InboxPurger(own_bench.bootstrap, own_bench.config("admit").group("admit"), inbox.topic, own_bench.producer)
    try:
        purger.assigned({0})
        await until_it_reaches(own_bench, 1, 3)
        await asyncio.to_thread(own_kafka.kill)
        await asyncio.to_thread(own_kafka.restart)
        await own_bench.commit("admit", inbox, 2)
        await until_it_reaches(own_bench, 2, 3)
    finally:
        await purger.stop()
