"""Rows that were made while all keys were there equal those that are made after the keys of what was forgotten were destroyed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import psycopg
import pytest

from ops.keyring import open_keys
from ops.keys.tables import digest
from ops.local.addresses import ServiceAddresses
from projections.runner import ProjectionRunner, RunnerConfig
from schemas.sealed import Sealed
from schemas.types import ConsolidateDay
from tests.line.conftest import MakeLine
from tests.line.support.line import Line
from tests.line.support.seeds import chosen_seed
from tests.line.support.waiting import until
from tests.rebuilding.history import History
from tests.rebuilding.life import Step
from tests.rebuilding.reference import reference_of
from tests.rebuilding.stores import keys_behind


@pytest.fixture
async def alone(services: ServiceAddresses, make_line: MakeLine) -> AsyncIterator[Line]:
    """A line of the test's own, without processes."""
    line = make_line(services)
    await line.prepare()
    yield line
    await line.close()


async def keys_left_of(line: Line, command_id: str) -> int:
    """Keys of summaries that a command brought, which are still there."""
    query = "SELECT count(*) FROM emberlog_item_key WHERE kind = 'summary' AND cause = %s AND wrapped IS NOT NULL"
    async with await psycopg.AsyncConnection.connect(line.keys_dsn) as connection:
        [count] = await (await connection.execute(query, (digest(command_id),))).fetchone() or (0,)
    return int(count)


async def destroy_what_is_forgotten(line: Line) -> None:
    """As the projection ``keys`` does."""
    ends, stop = await line.ends(line.topics.events, line.topics.parked, line.topics.commands), asyncio.Event()
    async with open_keys(line.as_settings, line.dsn) as ring:
        config = RunnerConfig(bootstrap=line.bootstrap, dsn=line.keys_dsn)
        task = asyncio.create_task(ProjectionRunner(ring.erasing(line.topics), config).run(stop))
        try:
            await until(lambda: not keys_behind(line, ends), "the keys are destroyed", 60)
        finally:
            stop.set()
            await task


@pytest.mark.slow
async def test_rows_do_not_depend_on_whether_the_keys_of_what_is_forgotten_are_still_there(alone: Line) -> None:
    """The two ends of a race that live work and rebuilds run in between. Of some days a summary is made anew in between, too."""
    seed = chosen_seed()
    history = History(alone, 1_000, seed)
    await history.write(1_000)
    while not any(person.days_again for person in history.life.people):
        assert history.events < 10_000
        await history.write(500)
    before = await reference_of(alone)
    await destroy_what_is_forgotten(alone)
    after = await reference_of(alone)
    assert {name: (before[name], after[name]) for name in before if before[name] != after[name]} == {}
    assert before["thermal_memory_archive"][0] > 100


async def test_a_summary_of_what_was_forgotten_meanwhile_is_rejected_and_its_key_destroyed(alone: Line) -> None:
    history = History(alone, 100, chosen_seed())
    await history.write(100)
    person = max(history.life.people, key=lambda each: len(each.memories))

    def summary(memory_id: str) -> ConsolidateDay:
        words = Sealed.of("A day with what is forgotten")
        meta = history.life.meta(person, str(uuid4()))
        return ConsolidateDay(meta, meta.occurred_at.date(), words, (memory_id,), (), (), (), "a-model", "1", 0, 0)

    kept, rejected = summary(person.memories[-1]), summary(str(uuid4()))
    await history.write_steps(Step(person, kept), Step(person, rejected))
    assert [await keys_left_of(alone, command.meta.command_id) for command in (kept, rejected)] == [1, 1]
    await destroy_what_is_forgotten(alone)
    assert [await keys_left_of(alone, command.meta.command_id) for command in (kept, rejected)] == [1, 0]
