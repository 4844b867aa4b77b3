"""The life of generations: building, ready, live, kept and live again, with a runner and readers at work all the while."""

from __future__ import annotations

import random
from typing import Any

import pytest

from projections import generation
from projections.applier import Applier
from projections.errors import DigestMismatch, OtherFold, WrongState
from projections.log_reader import KafkaLog
from projections.promotion import drop, promote, rollback
from projections.rebuild import build, rebuild, verify
from projections.records import Positions
from projections.runner import ProjectionRunner, RunnerConfig
from projections.view import View
from projections.views import REGISTRY
from tests.projections.harness import Broker, running
from tests.projections.logs import LogMaker
from tests.projections.test_kept import states
from tests.projections.test_rebuild import database_of, fill, follow

NAMES = sorted(REGISTRY)


async def seen(config: RunnerConfig, view: View) -> list[tuple[int, str]]:
    async with database_of(config) as conn:
        return await states(conn, view.name)


async def schemas(config: RunnerConfig, view: View) -> list[str]:
    async with database_of(config) as conn:
        cursor = await conn.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE %s ORDER BY 1", (f"{view.name}\\_%",))
        return [row[0] for row in await cursor.fetchall()]


async def caught_up(runner: ProjectionRunner, view: View, log: LogMaker) -> None:
    await runner.catch_up_to(log.ends(*{s.topic for s in view.sources}), 30)


# -- the way round


@pytest.mark.parametrize("name", NAMES)
async def test_a_generation_is_built_promoted_rolled_back_and_the_next_one_promoted(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, name: str
) -> None:
    view = views[name]
    async with running(view, config) as runner:
        await fill(log, broker, 2)
        await caught_up(runner, view, log)
        report = await build(view, config)
        assert (report.equal, report.promoted, report.resumed, report.new_generation) == (True, False, False, 2)
        assert await seen(config, view) == [(1, "live"), (2, "ready")]

        await fill(log, broker, 1)
        await caught_up(runner, view, log)
        report = await promote(view, config)
        assert (report.equal, report.promoted, report.live_generation, report.new_generation) == (True, True, 1, 2)
        assert await seen(config, view) == [(1, "kept"), (2, "live")]

        await fill(log, broker, 1)
        await caught_up(runner, view, log)
        switched = await rollback(view, config)
        assert (switched.was, switched.live, switched.kept) == (1, 3, 2)
        assert switched.records > 0
        assert await seen(config, view) == [(2, "kept"), (3, "live")]
        assert (await verify(view, config)).equal

        await fill(log, broker, 1)
        await caught_up(runner, view, log)
        assert runner.generation == 3
        assert (await build(view, config)).equal
        assert (await promote(view, config)).equal
        assert await seen(config, view) == [(3, "kept"), (4, "live")]
        assert await schemas(config, view) == [f"{name}_g3", f"{name}_g4"]
        await fill(log, broker, 1)
        await caught_up(runner, view, log)
        assert (await verify(view, config)).equal


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
async def test_any_order_of_steps_ends_in_equal_tables_and_in_the_states_that_are_due(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A random walk, with the projector at work: it is never fenced, and no generation that is live holds other rows."""
    choice, view = random.Random(seed), views["graph"]
    expected: dict[str, int] = {"live": 1}
    async with running(view, config) as runner:
        for _ in range(40):
            match choice.choice(["write", "build", "stop", "scratch", "promote", "rollback", "rollback", "drop"]):
                case "write":
                    await fill(log, broker, 1)
                    await caught_up(runner, view, log)
                case "stop":  # a build that fails at its end, as a kill would
                    with monkeypatch.context() as patch:
                        patch.setattr("projections.building.view_digest", _gone)
                        with pytest.raises(OSError, match="gone"):
                            await build(view, config)
                    left = expected.pop("ready", 0) or expected.pop("building", 0)
                    top = max(left, *expected.values())
                    expected["building"] = left if left > expected["live"] else top + 1
                case "build" | "scratch" as how:
                    anew = how == "scratch"
                    report = await build(view, config, from_scratch=anew)
                    assert report.equal
                    assert report.new_generation is not None
                    before = [expected.pop(state, 0) for state in ("ready", "building")]
                    assert not (report.resumed and anew)
                    assert any(before) or not report.resumed
                    expected["ready"] = report.new_generation
                case "promote" if "ready" in expected:
                    report = await promote(view, config)
                    assert report.equal
                    assert report.new_generation is not None
                    del expected["ready"]
                    expected |= {"kept": expected["live"], "live": report.new_generation}
                case "promote":
                    with pytest.raises(WrongState, match="emberlog rebuild graph"):
                        await promote(view, config)
                case "rollback" if "kept" in expected:
                    switched = await rollback(view, config)
                    assert (switched.was, switched.kept) == (expected["kept"], expected["live"])
                    expected |= {"kept": expected["live"], "live": switched.live}
                case "rollback":
                    with pytest.raises(WrongState, match="is kept"):
                        await rollback(view, config)
                case "drop":
                    for state in choice.sample(sorted(expected), 1):
                        if state == "live":
                            with pytest.raises(WrongState, match="is live"):
                                await drop(view, config, expected["live"])
                        else:
                            await drop(view, config, expected.pop(state))
            found = {state: number for number, state in await seen(config, view)}
            assert found == expected
            assert len(await schemas(config, view)) == len(expected)
        await fill(log, broker, 1)
        await caught_up(runner, view, log)
        assert (await verify(view, config)).equal


async def _gone(*_: Any) -> Any:
    raise OSError("gone")


# -- going on with what is there


def break_after(monkeypatch: pytest.MonkeyPatch, batches: int) -> None:
    """The fold fails for good after so many batches."""
    apply, left = Applier.apply, batches

    async def maybe(self: Applier, records: Any) -> int:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError("gone")
        return await apply(self, records)

    monkeypatch.setattr(Applier, "apply", maybe)


@pytest.mark.usefixtures("small_batches")
async def test_a_build_that_was_cut_off_goes_on_from_its_checkpoint_unless_told_to_begin_anew(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = views["thermal"]
    await fill(log, broker, 4)
    await follow(view, config, log)
    whole = (await verify(view, config)).records
    with monkeypatch.context() as patch:
        break_after(patch, 3)
        with pytest.raises(OSError, match="gone"):
            await build(view, config)
    assert await seen(config, view) == [(1, "live"), (2, "building")]
    sought: list[Positions] = []
    seek = KafkaLog.seek

    async def noted(self: KafkaLog, positions: Positions) -> None:
        sought.append(dict(positions))
        await seek(self, positions)

    monkeypatch.setattr(KafkaLog, "seek", noted)
    report = await build(view, config)
    assert (report.equal, report.resumed, report.new_generation) == (True, True, 2)
    assert sum(sought[0].values()) > 0
    assert 0 < report.records < whole
    again = await build(view, config)
    assert (again.equal, again.resumed, again.records, again.new_generation) == (True, True, 0, 2)
    anew = await build(view, config, from_scratch=True)
    assert (anew.equal, anew.resumed, anew.records) == (True, False, whole)
    assert await seen(config, view) == [(1, "live"), (2, "ready")]


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("how", ["promotion", "rollback"])
async def test_what_is_cut_off_while_it_is_brought_up_is_unfinished_and_the_live_one_stays(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = views["thermal"]
    await fill(log, broker, 1)
    await follow(view, config, log)
    await (build if how == "promotion" else rebuild)(view, config)
    await fill(log, broker, 3)
    await follow(view, config, log)
    live = 1 if how == "promotion" else 2
    with monkeypatch.context() as patch:
        break_after(patch, 2)
        with pytest.raises(OSError, match="gone"):
            await (promote if how == "promotion" else rollback)(view, config)
    assert await seen(config, view) == [(live, "live"), (live + 1, "building")]
    with pytest.raises(WrongState, match="one is unfinished, `emberlog rebuild thermal` goes on with it"):
        await (promote if how == "promotion" else rollback)(view, config)
    report = await rebuild(view, config)
    assert (report.equal, report.resumed, report.new_generation) == (True, True, live + 1)


async def test_a_build_of_another_version_of_the_fold_is_not_gone_on_with(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = views["thermal"]
    await fill(log, broker, 1)
    await follow(view, config, log)
    records = (await build(view, config)).records
    with monkeypatch.context() as patch:
        patch.setattr(type(view), "version", view.version + 1)
        with pytest.raises(OtherFold, match="emberlog rebuild thermal"):
            await promote(view, config)
        report = await build(view, config)
        assert (report.compared, report.resumed, report.records) == (False, False, records)
        assert (await promote(view, config)).promoted
        with pytest.raises(OtherFold, match="go back with the program that made it"):
            await rollback(view, config)
    assert (await rollback(view, config)).live == 3
    assert (await verify(view, config)).equal


async def test_a_generation_that_differs_is_ready_and_promoted_only_by_force_and_its_damage_goes(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    view = views["thermal"]
    await fill(log, broker, 2)
    await follow(view, config, log)
    assert (await build(view, config)).equal
    async with database_of(config) as conn:
        await conn.execute("UPDATE thermal_g1.thermal_memory_archive SET temperature_score = 99")
    with pytest.raises(DigestMismatch, match="emberlog promote thermal --force"):
        await promote(view, config)
    assert await seen(config, view) == [(1, "live"), (2, "ready")]
    assert (await promote(view, config, force=True)).differing == ["thermal_memory_archive"]
    assert (await verify(view, config)).equal


async def test_a_view_whose_database_was_lost_is_built_to_the_end_of_the_topics(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    """Nothing has read for the live tables yet: there is nothing to compare with, and the new ones are further on."""
    view = views["graph"]
    await fill(log, broker, 2)
    report = await rebuild(view, config)
    assert (report.compared, report.promoted) == (False, True)
    assert report.positions == log.ends(*{s.topic for s in view.sources})
    async with running(view, config) as runner:
        await fill(log, broker, 1)
        await caught_up(runner, view, log)
        assert runner.generation == 2
    assert (await verify(view, config)).equal


async def test_names_that_a_reader_never_lets_go_leave_the_live_one_live_and_the_other_where_it_was(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from projections.errors import CatchUpTimeout

    monkeypatch.setattr(generation, "PROMOTE_ATTEMPTS", 2)
    view = views["thermal"]
    await fill(log, broker, 1)
    await follow(view, config, log)
    await rebuild(view, config)
    await build(view, config)
    async with database_of(config) as reader, reader.transaction():
        await reader.execute("SELECT count(*) FROM thermal_memory_archive")
        with pytest.raises(CatchUpTimeout, match="end long transactions"):
            await promote(view, config)
        assert await seen(config, view) == [(1, "kept"), (2, "live"), (3, "ready")]
        with pytest.raises(CatchUpTimeout, match="end long transactions"):
            await rollback(view, config)
        assert await seen(config, view) == [(2, "live"), (3, "ready"), (4, "kept")]
    assert (await promote(view, config)).equal
    assert (2, "kept") in await seen(config, view)
