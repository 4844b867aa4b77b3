"""Rows that were made while all keys were there equal those that are made after the keys of what was forgotten were destroyed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ops.keyring import open_keys
from ops.local.addresses import ServiceAddresses
from projections.runner import ProjectionRunner, RunnerConfig
from tests.line.conftest import MakeLine
from tests.line.support.line import Line
from tests.line.support.seeds import chosen_seed
from tests.line.support.waiting import until
from tests.rebuilding.history import History
from tests.rebuilding.reference import reference_of
from tests.rebuilding.stores import keys_behind


@pytest.fixture
async def alone(services: ServiceAddresses, make_line: MakeLine) -> AsyncIterator[Line]:
    """A line of the test's own, without processes."""
    line = make_line(services)
    await line.prepare()
    yield line
    await line.close()


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
