"""Readers and runners while one generation after another becomes live."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from projections.log_reader import KafkaLog
from projections.promotion import rollback
from projections.rebuild import rebuild, verify
from projections.runner import ProjectionRunner, RunnerConfig
from projections.view import View
from tests.projections.harness import Broker, eventually, owner, running
from tests.projections.logs import LogMaker
from tests.projections.test_generations import caught_up
from tests.projections.test_rebuild import database_of, fill, follow


@pytest.mark.slow
async def test_readers_and_the_runner_see_no_error_and_no_mix_through_a_hundred_switches(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    """Both generations are marked in their tables: no statement may see one's archive with the other's mentions."""
    view = views["thermal"]
    await fill(log, broker, 2)
    await follow(view, config, log)
    await rebuild(view, config)
    async with database_of(config) as conn:
        for number in (1, 2):
            await conn.execute(f"UPDATE thermal_g{number}.thermal_memory_archive SET memory_type = 'g{number}'")
            await conn.execute(f"UPDATE thermal_g{number}.memory_mention SET session_id = 'g{number}'")
    done, reads, kinds_seen = asyncio.Event(), 0, set()

    async def read(level: str) -> None:
        nonlocal reads
        async with database_of(config) as conn:
            while not done.is_set():
                async with conn.transaction():
                    await conn.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
                    cursor = await conn.execute(
                        "SELECT ARRAY(SELECT DISTINCT memory_type FROM thermal_memory_archive), "
                        "ARRAY(SELECT DISTINCT session_id FROM memory_mention)"
                    )
                    row = await cursor.fetchone()
                assert row is not None
                assert len(row[0]) == 1
                assert row[0] == row[1]
                kinds_seen.add(row[0][0])
                reads += 1

    readers = [asyncio.create_task(read(level)) for level in ("READ COMMITTED", "READ COMMITTED", "REPEATABLE READ")]
    async with running(view, config) as runner:
        try:
            for _ in range(100):
                await rollback(view, config)
        finally:
            done.set()
            await asyncio.gather(*readers)

        async def follows() -> bool:
            return runner.generation == 102

        await eventually(follows, "the runner goes on with the last one")
    assert reads > 500
    assert kinds_seen == {"g1", "g2"}


async def test_a_runner_that_missed_two_switches_goes_on_with_the_live_one_and_is_not_fenced(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sleeps in generation 1, which is promoted away, brought up and live again before it looks."""
    view, ana = views["thermal"], owner()
    log.add(ana, "one")
    await broker.send(log.records)
    asleep, wake, next_ = asyncio.Event(), asyncio.Event(), KafkaLog.next

    async def sleepy(self: KafkaLog) -> Any:
        if asyncio.current_task() is task and asleep.is_set():
            await wake.wait()
        return await next_(self)

    runner, stop = ProjectionRunner(view, config), asyncio.Event()
    task = asyncio.create_task(runner.run(stop))
    await caught_up(runner, view, log)
    monkeypatch.setattr(KafkaLog, "next", sleepy)
    asleep.set()
    await rebuild(view, config)
    log.add(ana, "two")
    await broker.send(log.records[1:])
    other = ProjectionRunner(view, config)  # of the same process, so it is no other one
    other._id = runner._id
    other_stop = asyncio.Event()
    other_task = asyncio.create_task(other.run(other_stop))
    await caught_up(other, view, log)
    other_stop.set()
    await other_task
    assert (await rollback(view, config)).live == 3
    log.add(ana, "three")
    await broker.send(log.records[2:])
    wake.set()
    await caught_up(runner, view, log)
    assert runner.generation == 3
    stop.set()
    await task
    assert (await verify(view, config)).equal
