"""Several views made anew together: one pass for those that are empty, and what goes wrong with one stays with that one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from projections import building
from projections.bulk import Bulk, passes
from projections.bulk import spill as spilling
from projections.bulk.reading import PartsLog
from projections.digest import ViewDigest, view_digest
from projections.errors import DigestMismatch, RebuildRunning
from projections.generation import rebuild_lock
from projections.rebuild import build, rebuild
from projections.runner import RunnerConfig
from projections.together import Outcome, Watch, rebuild_all, verify_all
from projections.view import View
from tests.projections.bulk import VIEWS
from tests.projections.harness import Broker
from tests.projections.logs import LogMaker
from tests.projections.test_generations import seen
from tests.projections.test_rebuild import database_of, fill, follow

BY_RECORD = ("current",)


class Watched(Watch):
    """Everything that was told; it breaks off at ``at`` of the parts of the load."""

    def __init__(self, at: float = 2.0) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.begun: list[str] = []
        self.read: list[bool] = []
        self._at = at

    def begin(self, what: str) -> Any:
        self.begun.append(what)

        def show(done: int, total: int) -> None:
            if "," in what and done >= self._at * total:
                raise asyncio.CancelledError

        return show

    def reads(self, on: bool) -> None:
        self.read.append(on)

    def found(self, outcome: Outcome) -> None:
        self.outcomes[outcome.view] = outcome

    def equal(self) -> dict[str, bool]:
        return {view: found.report is not None and found.report.equal for view, found in self.outcomes.items()}


@pytest.fixture(autouse=True)
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spilling, "EVENTS_PER_BUCKET", 40)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[frozenset[str]]:
    """The topics of each pass over the log."""
    found: list[frozenset[str]] = []
    real = PartsLog.__init__

    def counted(self: PartsLog, config: Any, sources: Sequence[Any], partitions: Any) -> None:
        found.append(frozenset(source.topic for source in sources))
        real(self, config, sources, partitions)

    monkeypatch.setattr(PartsLog, "__init__", counted)
    return found


async def lived(views: dict[str, View], config: RunnerConfig, log: LogMaker, broker: Broker) -> None:
    """All views follow a log."""
    await fill(log, broker, 3)
    await asyncio.gather(*[follow(view, config, log) for view in views.values()])


async def test_all_views_are_built_from_one_pass_over_the_log_then_promoted(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, tmp_path: Path, looks: list[frozenset[str]]
) -> None:
    await lived(views, config, log, broker)
    bulk, watch = Bulk(tmp_path / "spill"), Watched()
    await rebuild_all(list(views.values()), config, bulk=bulk, watch=watch)
    assert watch.equal() == dict.fromkeys(views, True)
    assert looks == [frozenset(source.topic for view in VIEWS for source in views[view].sources)]
    assert not (tmp_path / "spill").exists()
    for view in views.values():
        assert await seen(config, view) == [(1, "live"), (2, "ready")]
        report = watch.outcomes[view.name].report
        assert report is not None
        assert report.records > 0
        assert not report.resumed
    # those that were read in bulk are done first
    assert set(list(watch.outcomes)[-len(BY_RECORD) :]) == set(BY_RECORD)
    assert (watch.read[0], watch.read[-1]) == (True, False)

    watch = Watched()
    await rebuild_all(list(views.values()), config, promote=True, bulk=bulk, watch=watch)
    assert watch.equal() == dict.fromkeys(views, True)
    assert len(looks) == 1
    for view in views.values():
        assert await seen(config, view) == [(1, "kept"), (2, "live")]


async def test_views_that_were_stopped_go_on_where_they_stood_each_by_itself(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, tmp_path: Path, looks: list[frozenset[str]]
) -> None:
    await lived(views, config, log, broker)
    bulk = Bulk(tmp_path / "spill")
    with pytest.raises(asyncio.CancelledError):
        await rebuild_all(list(views.values()), config, bulk=bulk, watch=Watched(0.8))
    assert len(looks) == 1
    await fill(log, broker, 1)
    await asyncio.gather(*[follow(view, config, log) for view in views.values()])
    # one by itself, and beside it one that has nothing yet
    for names in (["graph"], ["thermal", "mem0", "capture", "brain"]):
        watch = Watched()
        await rebuild_all([views[name] for name in names], config, bulk=bulk, watch=watch)
        assert watch.equal() == dict.fromkeys(names, True)
        reports = [watch.outcomes[name].report for name in names]
        assert all(report is not None and report.resumed for report in reports)
    assert len(looks) == 1
    watch = Watched()
    await rebuild_all([views["audit"], views["parked"]], config, from_scratch=True, bulk=bulk, watch=watch)
    assert watch.equal() == {"audit": True, "parked": True}
    assert len(looks) == 2
    assert not (tmp_path / "spill").exists(), "nobody goes on with what was read at first"


async def test_a_load_that_was_stopped_is_no_matter_to_who_goes_on_record_by_record(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, tmp_path: Path
) -> None:
    await lived({"thermal": views["thermal"]}, config, log, broker)
    both = [views["thermal"], views["parked"]]
    with pytest.raises(asyncio.CancelledError):
        await rebuild_all(both, config, bulk=Bulk(tmp_path / "spill"), watch=Watched(0.8))
    report = await build(views["thermal"], config)
    assert (report.equal, report.resumed) == (True, False)


async def test_what_goes_wrong_with_one_view_leaves_the_others_alone(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lived(views, config, log, broker)
    monkeypatch.setattr(building, "LOCK_PATIENCE_S", 0.5)
    real = view_digest

    async def broken(conn: Any, view: View, schema: str) -> ViewDigest:
        if view.name == "mem0":
            raise OSError("gone")
        return await real(conn, view, schema)

    monkeypatch.setattr(building, "view_digest", broken)
    watch = Watched()
    async with database_of(config) as conn, rebuild_lock(conn, "parked"):
        await conn.execute("UPDATE graph_g1.memory_edge SET weight = weight + 1")
        await conn.execute("DROP SCHEMA capture_g1 CASCADE")
        await rebuild_all(list(views.values()), config, promote=True, bulk=Bulk(tmp_path / "spill"), watch=watch)
    errors = {view: type(found.error) for view, found in watch.outcomes.items() if found.error is not None}
    assert errors.pop("capture").__name__ == "UndefinedTable"
    assert errors == {"parked": RebuildRunning, "mem0": OSError, "graph": DigestMismatch}
    assert {view for view, equal in watch.equal().items() if equal} == {"thermal", "audit", "brain", "current"}


async def test_a_load_that_fails_is_told_of_its_views_and_the_others_are_built(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lived({name: views[name] for name in ("thermal", "current")}, config, log, broker)

    async def broken(*_: Any, **__: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr(passes, "fill", broken)
    watch = Watched()
    await rebuild_all([views["thermal"], views["current"]], config, bulk=Bulk(tmp_path), watch=watch)
    assert watch.equal() == {"thermal": False, "current": True}
    assert isinstance(watch.outcomes["thermal"].error, ConnectionError)
    monkeypatch.undo()
    assert (await rebuild(views["thermal"], config, bulk=Bulk(tmp_path))).equal


async def test_views_are_compared_where_their_live_tables_stand_however_far_apart(
    broker: Broker,
    config: RunnerConfig,
    views: dict[str, View],
    log: LogMaker,
    tmp_path: Path,
    looks: list[frozenset[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    three = [views[name] for name in ("thermal", "audit", "graph")]
    await fill(log, broker, 2)
    await follow(views["audit"], config, log)
    await fill(log, broker, 2)
    await follow(views["thermal"], config, log)  # graph has read nothing: it goes to the end
    for far, count in ((100_000, 1), (10, 2)):
        looks.clear()
        monkeypatch.setattr(passes, "FAR", far)
        watch = Watched()
        await rebuild_all(three, config, from_scratch=True, bulk=Bulk(tmp_path), watch=watch)
        assert watch.equal() == {"thermal": True, "audit": True, "graph": False}
        reports = {name: found.report for name, found in watch.outcomes.items()}
        assert all(report is not None for report in reports.values())
        assert {name for name, report in reports.items() if report and report.compared} == {"thermal", "audit"}
        assert len(looks) == count


async def test_all_views_are_compared_in_one_pass_and_what_was_changed_is_found(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, tmp_path: Path, looks: list[frozenset[str]]
) -> None:
    await lived(views, config, log, broker)
    async with database_of(config) as conn:
        await conn.execute("UPDATE thermal_g1.thermal_memory_archive SET temperature_score = 99")
        watch = Watched()
        await verify_all(list(views.values()), config, bulk=Bulk(tmp_path / "spill"), watch=watch)
        assert watch.equal() == {name: name != "thermal" for name in views}
        assert len(looks) == 1
        cursor = await conn.execute("SELECT count(*) FROM pg_namespace WHERE nspname LIKE '%\\_scratch'")
        assert await cursor.fetchone() == (0,)
    assert not (tmp_path / "spill").exists()
