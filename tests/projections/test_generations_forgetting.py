"""What is forgotten leaves every generation, whatever its state, and nothing brings it back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from projections import generation
from projections.applier import Applier
from projections.building import taken_up
from projections.digest import view_digest
from projections.errors import WrongState
from projections.generation import Generation
from projections.kept import unfinished_cleared
from projections.promotion import promote, rollback
from projections.rebuild import build, rebuild, verify
from projections.runner import RunnerConfig
from projections.view import View, ViewSettings
from projections.views import build_views
from tests.projections.harness import AUDIT_KEY, Broker, of_view, owner, user
from tests.projections.logs import LogMaker
from tests.projections.test_generations import NAMES, seen
from tests.projections.test_kept import TABLES, rows_of, states
from tests.projections.test_rebuild import follow
from tests.projections.test_splits import TOPICS, park, steps, write


@pytest.mark.parametrize("name", TABLES)
async def test_what_is_forgotten_leaves_a_ready_and_a_kept_generation_and_a_rollback_brings_nothing_back(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, name: str
) -> None:
    view, ana, ben = views[name], user(), user()
    begin = 0

    async def more() -> None:
        nonlocal begin
        await broker.send(log.records[begin:])
        begin = len(log.records)
        await follow(view, config, log)

    for who, which in ((ana, 1), (ben, 2)):
        for text in ("garden", "boat"):
            [memory] = log.add(who, text)
            log.embed(who, memory, [1.0, 0.0])
        park(log, "park", who, which)
        park(log, "park", who, which + 2)
    await more()
    await rebuild(view, config)
    await build(view, config)
    assert await seen(config, view) == [(1, "kept"), (2, "live"), (3, "ready")]
    log.reheat(ana, log.live(ana)[0])
    log.forget(ana, log.live(ana)[0])
    log.erase(ben)
    for which in (1, 2, 4):
        park(log, "resolve", ana, which)
        park(log, "resolve", ben, which)
    await more()
    async with await generation.connect(config.dsn) as conn:
        for number in (1, 2, 3):
            assert await rows_of(conn, name, number) == [1] * len(TABLES[name]), number
        assert (await rollback(view, config)).live == 4
        assert await rows_of(conn, name, 4) == [1] * len(TABLES[name])
        assert (await verify(view, config)).equal
        assert (await promote(view, config)).equal
        assert (await verify(view, config)).equal


@pytest.mark.parametrize("name", NAMES)
@given(plan=steps, share=st.floats(0, 1), state=st.sampled_from(["ready", "kept"]))
@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
async def test_one_that_met_forgettings_before_their_time_ends_in_the_same_rows(
    database: str, name: str, plan: list[tuple[str, int, int]], share: float, state: str
) -> None:
    view = build_views(ViewSettings(TOPICS, AUDIT_KEY), [name])[name]
    log = LogMaker(TOPICS)
    write(log, [*plan, ("add", 0, 1), ("embed", 0, 1), ("revise", 0, 0), ("forget", 0, 0), ("add", 1, 1), ("erase", 1, 0)])
    records = of_view(view, log.records)
    cut = round(share * len(records))
    async with await generation.connect(database) as conn, await generation.connect(database) as other:
        await generation.install(database, [view])
        try:
            live = Applier(view, (await generation.live(conn, name)).schema, conn, clears_kept=True)
            await live.claim()
            async with conn.transaction():
                made = await generation.create(conn, view)
            beside = Applier(view, made.schema, other)
            await beside.claim()
            await live.apply(records[:cut])
            await beside.apply(records[:cut])
            await generation.mark(conn, made, state)
            for record in records[cut:]:
                await live.apply([record])
            if made not in await generation.in_state(conn, name, state):
                assert name in ("graph", "capture"), "others can forget whatever is named"
                return
            again = Applier(view, made.schema, other)  # another process: a slice that was open at the cut is read again
            await again.claim()
            await again.apply([r for r in records if r.offset >= again.positions[r.topic, r.partition]])
            assert (await view_digest(conn, view, live.schema)).differing(await view_digest(conn, view, made.schema)) == []
        finally:
            for each in await generation.in_state(conn, name, "building", "ready", "live", "kept"):
                await conn.execute(f"DROP SCHEMA {each.schema} CASCADE")
            await conn.execute("DELETE FROM emberlog_view_generation WHERE view = %s", (name,))


@pytest.mark.usefixtures("small_batches")
async def test_one_that_is_brought_up_counts_as_unfinished_until_it_is_where_the_live_one_is(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words that it read before the live one forgot them may be written after that: a receipt waits, or it is dropped."""
    view, ana = views["thermal"], owner()
    memories = log.add(ana, "Ana's garden", "Ana's boat")
    log.add(ana, *[f"fact {n}" for n in range(30)])
    await broker.send(log.records)
    await follow(view, config, log)
    await build(view, config)
    begin = len(log.records)
    log.reheat(ana, *memories)
    log.add(ana, *[f"more {n}" for n in range(30)])
    log.forget(ana, memories[0])
    await broker.send(log.records[begin:])
    await follow(view, config, log)
    at = log.records[-1]
    stands, go, apply = asyncio.Event(), asyncio.Event(), Applier.apply

    async def held(self: Applier, records: Any) -> int:
        stands.set()
        await go.wait()
        return await apply(self, records)

    async with await generation.connect(config.dsn) as conn:
        assert await unfinished_cleared(conn, "thermal", at.topic, at.partition, at.offset), (
            "a ready one forgot with the live one"
        )
        monkeypatch.setattr(Applier, "apply", held)
        promotion = asyncio.create_task(promote(view, config))
        await asyncio.wait_for(stands.wait(), 30)
        assert not await unfinished_cleared(conn, "thermal", at.topic, at.partition, at.offset)
        go.set()
        assert (await promotion).equal
        assert await unfinished_cleared(conn, "thermal", at.topic, at.partition, at.offset)


async def test_a_forgetting_between_comparing_and_being_ready_leaves_it_too(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from projections.building import Build

    view, ana = views["thermal"], owner()
    memory, _ = log.add(ana, "Ana's garden", "Ana's boat")
    await broker.send(log.records)
    await follow(view, config, log)
    leave = Build.leave

    async def late(self: Build, new: Generation, state: str) -> None:
        log.forget(ana, memory)
        await broker.send(log.records[-1:])
        await follow(view, config, log)
        await leave(self, new, state)

    monkeypatch.setattr(Build, "leave", late)
    assert (await build(view, config)).equal
    async with await generation.connect(config.dsn) as conn:
        assert await states(conn, "thermal") == [(1, "live"), (2, "ready")]
        assert await rows_of(conn, "thermal", 2) == [1, 1, 1]


async def test_a_generation_that_a_forgetting_drops_before_it_is_taken_up_is_made_anew_or_missed_by_name(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, in_state = views["thermal"], generation.in_state
    log.add(owner(), "garden")
    await broker.send(log.records)
    await follow(view, config, log)
    await build(view, config)
    gone: list[Generation] = []

    async def dropped_meanwhile(conn: Any, name: str, *wanted: str) -> list[Generation]:
        found = await in_state(conn, name, *wanted)
        if found and not gone:
            gone.extend(found)
            await generation.drop(conn, name, found[0].number)
        return found

    monkeypatch.setattr(generation, "in_state", dropped_meanwhile)
    with pytest.raises(WrongState, match="has just been dropped"):
        await promote(view, config)
    gone.clear()
    await build(view, config)
    assert gone == [], "nothing was left"
    report = await build(view, config)
    assert report.equal
    assert len(gone) == 1
    async with await generation.connect(config.dsn) as conn:
        assert await states(conn, "thermal") == [(1, "live"), (gone[0].number, "ready")]
        with pytest.raises(WrongState, match="has just been dropped"):
            await taken_up(conn, Generation("thermal", 99, "thermal_g99", view.version))
