"""Neutral records: one closes the last segment of a partition where nobody writes any more, and admission passes it over."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from structlog.testing import capture_logs

from streams.agents import purging, rolling
from streams.agents.rolling import NEUTRAL_HEADER
from tests.line.support.waiting import until
from tests.streams.agents.bench import PARTITIONS, Bench, read_partition
from tests.streams.agents.inbox import Gate, admitted, publish, reach, until_it_reaches
from tests.streams.agents.quick_kafka import QuickKafka

MARKER = "the marker that nobody may find"
TURN = json.dumps({"owner": "u-9", "session_id": "a turn", "messages": [{"role": "user", "content": "hello there"}]}).encode()


@pytest.fixture(autouse=True)
def at_a_quick_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "PURGE_EVERY_S", 0.1)
    monkeypatch.setattr(rolling, "ROLL_AFTER_S", 0.5)


@pytest.fixture
def never_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """No neutral record but the test's own."""
    monkeypatch.setattr(rolling, "ROLL_AFTER_S", 3600.0)


async def write(bench: Bench, value: bytes | None, *, header: bool = True, partition: int = 0) -> None:
    """A record with this value, and with the header of a neutral one. Of its key nothing depends; the client wants one."""
    headers = [(NEUTRAL_HEADER, b"")] if header else []
    await bench.producer.send_and_wait(bench.topics.inbox, value, key=b"k", partition=partition, headers=headers)


async def parked(bench: Bench) -> int:
    return sum([len(await read_partition(bench.bootstrap, bench.topics.parked, p)) for p in range(PARTITIONS)])


@pytest.mark.usefixtures("never_by_itself")
async def test_a_neutral_record_is_committed_and_purged_without_a_turn_and_parks_nothing(bench: Bench) -> None:
    async with bench.worker("admit"):
        await publish(bench, 0, "before")
        await write(bench, None)
        await publish(bench, 0, "after")
        await write(bench, None)
        await until_it_reaches(bench, 4, 4)
    assert await admitted(bench) == {"before", "after"}
    assert await parked(bench) == 0


@pytest.mark.usefixtures("never_by_itself")
async def test_a_record_with_a_value_is_no_neutral_one_whatever_its_headers_nor_is_one_without_the_header(bench: Bench) -> None:
    async with bench.worker("admit"):
        await write(bench, TURN)
        await write(bench, b"no turn at all")
        await write(bench, b"")
        await write(bench, None, header=False)
        await until_it_reaches(bench, 4, 4)
    assert await admitted(bench) == {"a turn"}
    assert await parked(bench) == 3


@pytest.mark.slow
async def test_a_quiet_partition_gets_one_neutral_record_per_burst_and_an_unused_one_none(bench: Bench) -> None:
    async with bench.worker("admit"):
        await publish(bench, 0, "a", "b")
        await until_it_reaches(bench, 3, 3)
        # as long again and longer: what comes to the other partition meanwhile has become quiet, too
        assert await reach(bench, 1) == (0, 0)
        await publish(bench, 1, "c")
        await until_it_reaches(bench, 2, 2, partition=1)
        assert await reach(bench) == (3, 3)
        await publish(bench, 0, "d")
        await until_it_reaches(bench, 5, 5)
    assert await admitted(bench) == {"a", "b", "c", "d"}
    assert await parked(bench) == 0


@pytest.mark.slow
async def test_after_a_restart_a_quiet_partition_gets_one_more_at_most(bench: Bench) -> None:
    async with bench.worker("admit"):
        await publish(bench, 0, "a")
        await until_it_reaches(bench, 2, 2)
    async with bench.worker("admit"):
        await publish(bench, 1, "b")
        await until_it_reaches(bench, 2, 2, partition=1)
        await publish(bench, 1, "c")
        await until_it_reaches(bench, 4, 4, partition=1)
        assert await reach(bench) == (3, 3)


@pytest.mark.slow
async def test_a_neutral_record_of_somebody_else_does_not_pass_for_ours(bench: Bench) -> None:
    async with bench.worker("admit"):
        await publish(bench, 0, "a")
        await write(bench, None)  # at once, so that it closes no segment
        await until_it_reaches(bench, 3, 3)


@pytest.mark.slow
async def test_no_neutral_record_comes_while_records_wait_for_admission(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    async with bench.worker("admit"):
        await publish(bench, 0, "a", "held")
        await until_it_reaches(bench, 1, 2)
        for end in (2, 4):
            await publish(bench, 1, f"b{end}")
            await until_it_reaches(bench, end, end, partition=1)
        assert await reach(bench) == (1, 2)
        gate.open()
        await until_it_reaches(bench, 3, 3)


async def test_a_broker_that_refuses_neutral_records_is_asked_again_and_purging_goes_on(bench: Bench) -> None:
    with capture_logs() as lines:
        async with bench.worker("admit"):
            await publish(bench, 0, "a")
            await set_largest_record(bench, 1)
            await until(lambda: len(warnings(lines)) == 1, "the refusal is said")
            await until_it_reaches(bench, 1, 1)
            await set_largest_record(bench, 1_000_000)
            await until_it_reaches(bench, 2, 2)
    assert warnings(lines) == ["a quiet partition of the inbox stays open"]


def warnings(lines: list[Any]) -> list[str]:
    return [line["event"] for line in lines if line["log_level"] == "warning"]


async def set_largest_record(bench: Bench, size: int) -> None:
    """Let the inbox take records up to so many bytes."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bench.bootstrap)
    await admin.start()
    try:
        await admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, bench.topics.inbox, {"max.message.bytes": str(size)})]
        )
    finally:
        await admin.close()


@pytest.mark.slow
async def test_the_segments_of_a_quiet_partition_hold_its_last_words_no_more(own_kafka: QuickKafka, own_bench: Bench) -> None:
    inbox = own_bench.topics.inbox
    async with own_bench.worker("admit"):
        await publish(own_bench, 0, MARKER)
        assert own_kafka.holding(inbox, MARKER) == ["00000000000000000000.log"]
        await until(lambda: not own_kafka.holding(inbox, MARKER), "the marker left the disk")
        await until_it_reaches(own_bench, 2, 2)


@pytest.mark.slow
async def test_while_the_broker_is_away_the_neutral_record_waits(own_kafka: QuickKafka, own_bench: Bench) -> None:
    async with own_bench.worker("admit"):
        await publish(own_bench, 0, MARKER)
        await until(lambda: _is_purged(own_bench), "the turn is purged")
        await asyncio.to_thread(own_kafka.kill)
        await asyncio.sleep(2 * rolling.ROLL_AFTER_S)  # it is due meanwhile
        await asyncio.to_thread(own_kafka.restart)
        await until(lambda: not own_kafka.holding(own_bench.topics.inbox, MARKER), "the marker left the disk", 90)


async def _is_purged(bench: Bench) -> bool:
    # a broker that is slow to begin has let the partition fall quiet by then: the neutral record may be there too
    begin, _ = await reach(bench)
    return begin > 0
