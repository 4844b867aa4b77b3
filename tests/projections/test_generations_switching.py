"""Readers and runners while one generation after another becomes live."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
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

MARKED = {
    "thermal": (("thermal_memory_archive", "memory_type"), ("memory_mention", "session_id")),
    "graph": (("memory_trace", "content"), ("memory_embedding", "model")),
}
"""By view: two of its tables, each with a column of text that can say which generation it is of."""


@pytest.mark.slow
@pytest.mark.parametrize("name", MARKED)
async def test_readers_and_the_runner_see_no_error_and_no_mix_through_a_hundred_switches(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, name: str
) -> None:
    """Both generations are marked in two of their tables: no statement may see one's table with the other's.

    Nor may a transaction that reads the tables one after the other: a switch waits for its end. A rollback switches as a
    promotion does.
    """
    view = views[name]
    await fill(log, broker, 2)
    await follow(view, config, log)
    await rebuild(view, config)
    async with database_of(config) as conn:
        for number, (table, column) in itertools.product((1, 2), MARKED[name]):
            assert (await conn.execute(f"UPDATE {name}_g{number}.{table} SET {column} = 'g{number}'")).rowcount > 0
    done, seen = asyncio.Event(), Counter[str]()
    marks = [f"ARRAY(SELECT DISTINCT {column} FROM {table})" for table, column in MARKED[name]]

    async def read(level: str, statements: list[str]) -> None:
        async with database_of(config) as conn:
            while not done.is_set():
                found: list[list[str]] = []
                async with conn.transaction():
                    await conn.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
                    for statement in statements:
                        found += await (await conn.execute(statement)).fetchone() or ()
                [[mark], others] = found
                assert [mark] == others
                seen[mark] += 1

    together, one_by_one = [f"SELECT {', '.join(marks)}"], [f"SELECT {mark}" for mark in marks]
    ways = (("READ COMMITTED", together), ("REPEATABLE READ", together), ("READ COMMITTED", one_by_one))
    readers = [asyncio.create_task(read(*way)) for way in ways]
    async with running(view, config) as runner:
        try:
            for _ in range(100):
                await rollback(view, config)
                assert not any(reader.done() for reader in readers), "a reader met an error"
        finally:
            done.set()
            await asyncio.gather(*readers)

        async def follows() -> bool:
            return runner.generation == 102

        await eventually(follows, "the runner goes on with the last one")
    assert seen.total() > 500
    assert seen.keys() == {"g1", "g2"}


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
