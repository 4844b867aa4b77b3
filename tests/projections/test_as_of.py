"""A view as it stood: equal to one that was only followed that far, without what was forgotten since."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from projections import generation
from projections.as_of import FILLING, STANDING, Onward, as_of, places_at
from projections.errors import NotOnLog
from projections.promotion import drop
from projections.rebuild import rebuild
from projections.runner import RunnerConfig
from projections.view import View
from projections.views import REGISTRY
from tests.projections.harness import Broker, Fold, of_view, owner
from tests.projections.logs import LogMaker
from tests.projections.test_kept import states
from tests.projections.test_rebuild import fill, follow

NAMES = sorted(REGISTRY)


def middle(view: View, log: LogMaker) -> dict[tuple[str, int], int]:
    """Half of each topic of the view."""
    return {place: end // 2 for place, end in log.ends(*{s.topic for s in view.sources}).items()}


@pytest.mark.parametrize("name", NAMES)
async def test_a_view_as_of_a_place_is_the_fold_up_to_there_and_of_the_end_the_live_one(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, name: str
) -> None:
    view = views[name]
    for i in range(4):  # nothing is forgotten
        ana = owner()
        first, second = log.add(ana, f"first {i}", f"second {i}")
        log.embed(ana, first, [1.0, 0.5])
        log.reheat(ana, first)
        log.revise(ana, second, f"revised {i}")
    await broker.send(log.records)
    await follow(view, config, log)
    at = middle(view, log)
    found = await as_of(view, config, at)
    below = [r for r in of_view(view, log.records) if r.offset < at[r.topic, r.partition]]
    async with Fold.of(config.dsn, view) as fold:
        await fold.take(below)
        expected = await fold.digest()
    assert found.digest.differing(expected) in ([], ["owner_position"])  # what came since is passed over, and noted as passed
    counted = [table.name for table in view.tables if table.digested]
    assert {name: found.digest.tables[name] for name in counted} == {name: expected.tables[name] for name in counted}
    whole = await as_of(view, config, log.ends(*{s.topic for s in view.sources}))
    assert whole.digest == (await rebuild(view, config)).live


async def test_what_was_forgotten_since_is_not_in_it_and_what_is_forgotten_later_leaves_it(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    view, ana, ben = views["thermal"], owner(), owner()
    _, early, late = log.add(ana, "stays", "forgotten soon", "forgotten late")
    log.add(ben, "of somebody erased")
    at = log.ends(log.topics.events)
    log.forget(ana, early)
    log.erase(ben)
    await broker.send(log.records)
    await follow(view, config, log)
    found = await as_of(view, config, at)

    async def contents() -> set[str]:
        async with await generation.connect(config.dsn) as conn:
            cursor = await conn.execute(f"SELECT original_content FROM {found.schema}.thermal_memory_archive")
            rows = {row[0] for row in await cursor.fetchall()}
            cursor = await conn.execute(f"SELECT content FROM {found.schema}.memory_version")
            return rows | {row[0] for row in await cursor.fetchall()}

    assert await contents() == {"stays", "forgotten late"}
    begin = len(log.records)
    log.forget(ana, late)
    log.add(ana, "new")
    await broker.send(log.records[begin:])
    await follow(view, config, log)
    assert await contents() == {"stays"}


@pytest.mark.parametrize("name", NAMES)
async def test_a_stretch_replayed_into_it_makes_the_fold_to_its_end(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, name: str
) -> None:
    view = views[name]
    await fill(log, broker, 3)
    await follow(view, config, log)
    ends = log.ends(*{s.topic for s in view.sources})
    found = await as_of(view, config, middle(view, log), onward=Onward(ends))
    assert found.positions == ends
    assert found.digest == (await rebuild(view, config)).live


async def test_of_one_owner_only_that_owners_records_are_replayed_but_what_anybody_forgot_goes(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    view, ana, ben = views["thermal"], owner(), owner()
    log.add(ana, "before, of one")
    [gone] = log.add(ben, "forgotten within the stretch")
    log.add(ben, "before, of the other")
    at = log.ends(log.topics.events)
    log.add(ana, "in the stretch, of one")
    log.add(ben, "in the stretch, of the other")
    log.forget(ben, gone)
    until = log.ends(log.topics.events)
    log.add(ana, "after it")
    await broker.send(log.records)
    await follow(view, config, log)
    found = await as_of(view, config, at, onward=Onward(until, ana))
    async with await generation.connect(config.dsn) as conn:
        cursor = await conn.execute(f"SELECT original_content FROM {found.schema}.thermal_memory_archive")
        contents = sorted(row[0] for row in await cursor.fetchall())
    assert contents == ["before, of one", "before, of the other", "in the stretch, of one"]


async def test_a_time_finds_the_places_of_its_records(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    view, ana = views["thermal"], owner()
    log.add(ana, "before")
    await broker.send(log.records)
    before = log.ends(log.topics.events)
    await asyncio.sleep(0.01)  # records carry milliseconds
    moment = datetime.now(UTC)
    await asyncio.sleep(0.01)
    begin = len(log.records)
    log.add(ana, "after")
    await broker.send(log.records[begin:])
    assert await places_at(view, config, moment) == before
    assert await places_at(view, config, datetime.now(UTC)) == log.ends(log.topics.events)
    assert set((await places_at(view, config, datetime(2000, 1, 1, tzinfo=UTC))).values()) == {0}


async def test_it_is_neither_promoted_nor_gone_on_with_nor_in_the_way_of_a_rebuild_and_can_be_dropped(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    view = views["thermal"]
    await fill(log, broker, 2)
    await follow(view, config, log)
    found = await as_of(view, config, middle(view, log))
    report = await rebuild(view, config)
    assert report.equal
    async with await generation.connect(config.dsn) as conn:
        assert await states(conn, "thermal") == [(1, "kept"), (found.generation, STANDING), (3, "live")]
        await drop(view, config, found.generation)
        assert await states(conn, "thermal") == [(1, "kept"), (3, "live")]


async def test_what_a_killed_one_left_is_dropped_by_the_next(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    view = views["thermal"]
    async with await generation.connect(config.dsn) as conn:
        async with conn.transaction():
            left = await generation.create(conn, view, state=FILLING)
        found = await as_of(view, config, {})
        assert await states(conn, "thermal") == [(1, "live"), (found.generation, STANDING)]
        assert left.number != found.generation or left.schema == found.schema


async def test_a_place_that_is_not_on_the_log_is_named(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    view, events = views["thermal"], log.topics.events
    with pytest.raises(NotOnLog, match="ends at offset 0: 5 is not on it"):
        await as_of(view, config, {(events, 0): 5})
    with pytest.raises(NotOnLog, match="it reads"):
        await as_of(view, config, {("nothing", 0): 0})
    async with await generation.connect(config.dsn) as conn:
        assert await states(conn, "thermal") == [(1, "live")]
