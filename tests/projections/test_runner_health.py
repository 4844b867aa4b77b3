"""What a runner tells of itself: how far behind it is, in records and seconds, and whether it gets on."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
from prometheus_client import REGISTRY
from typer.testing import CliRunner

from ops.cli.health import Health, look
from ops.cli.main import app
from ops.cli.target import Target
from ops.heartbeat import SILENT_S, HealthFile, beating, judged
from ops.settings import load_settings
from projections.progress import Progress
from projections.runner import ProjectionRunner, RunnerConfig
from projections.view import View
from tests.projections.harness import Broker, eventually, owner, running
from tests.projections.logs import LogMaker

STALLED_S = 1.0


def metric(name: str, **labels: object) -> float | None:
    return REGISTRY.get_sample_value(name, {label: str(value) for label, value in labels.items()})


def ago_ms(seconds: float) -> int:
    return int((time.time() - seconds) * 1000)


async def seen(config: RunnerConfig, log: LogMaker, tmp_path: Path) -> Health:
    """What `emberlog status` sees."""
    named = {"data_dir": str(tmp_path), "partitions": 2, "topic_prefix": log.topics.prefix, "stalled_s": 60.0}
    return await look(Target(load_settings(tmp_path / "none", **named), config.bootstrap, config.dsn))


def places(health: Health, view: str) -> dict[int, tuple[int, int, bool]]:
    """By partition of memory.events: next offset, lag, whether a projector runs."""
    rows = health.views[view]["partitions"]
    return {row["partition"]: (row["next_offset"], row["lag"], row["running"]) for row in rows if "events" in row["topic"]}


async def moved(dsn: str, at: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        await conn.execute(f"UPDATE thermal_g1.checkpoint SET moved_at = {at}".encode())


async def test_status_tells_records_and_seconds_behind_and_that_no_projector_runs(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, tmp_path: Path
) -> None:
    owners = [owner() for _ in range(8)]
    for name in owners:
        log.add(name, "one")
    ends = log.ends(log.topics.events)
    await broker.send(log.records, ago_ms(300))
    health = await seen(config, log, tmp_path)
    thermal = health.views["thermal"]
    assert thermal["lag"] == 8
    assert 300 <= thermal["lag_s"] < 360
    assert places(health, "thermal") == {p: (0, ends[log.topics.events, p], False) for p in range(2)}
    assert "no projector runs there: start one" in health.stalled["thermal"]
    async with running(views["thermal"], config, [0]) as runner:
        await runner.catch_up_to({(log.topics.events, 0): ends[log.topics.events, 0]}, 20)
        health = await seen(config, log, tmp_path)
        left = ends[log.topics.events, 1]
        assert places(health, "thermal") == {0: (8 - left, 0, True), 1: (0, left, False)}
        assert "on partition 1, " in health.stalled["thermal"]
        await moved(config.dsn, "now() WHERE partition = 1")
        # old records of which some were applied just now: it is catching up
        assert "thermal" not in (await seen(config, log, tmp_path)).stalled
        async with running(views["thermal"], config, [1]) as other:
            await other.catch_up_to({(log.topics.events, 1): left}, 20)
            health = await seen(config, log, tmp_path)
    assert "thermal" not in health.stalled
    assert (health.views["thermal"]["lag"], health.views["thermal"]["lag_s"]) == (0, 0.0)
    assert all(place["quiet_s"] < 30 for place in health.views["thermal"]["partitions"])
    # idle for long, and then something new: that is no stall
    await moved(config.dsn, "now() - interval '1 hour'")
    log.add(owners[0], "new")
    await broker.send(log.records[8:])
    health = await seen(config, log, tmp_path)
    assert health.views["thermal"]["lag"] == 1
    assert "thermal" not in health.stalled


async def test_a_runner_held_up_in_the_database_turns_unhealthy_and_healthy_again(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, tmp_path: Path
) -> None:
    file, config = tmp_path / "health", replace(config, stalled_s=STALLED_S)
    log.add(owner(), "one")
    place = log.topics.events, log.records[0].partition
    labels = {"view": "thermal", "topic": place[0], "partition": place[1]}
    async with running(views["thermal"], config) as runner, beating([runner], STALLED_S, HealthFile(file).write):
        await broker.send(log.records)
        await runner.catch_up_to(log.ends(log.topics.events), 20)

        async def well() -> bool:
            return judged(file)[0] and runner.progress.standing(STALLED_S).lag == 0

        async def unwell() -> bool:
            return not judged(file)[0]

        await eventually(well, "the file says that all is well")
        assert (metric("emberlog_projection_lag_seconds", **labels), metric("emberlog_projection_healthy", view="thermal")) == (
            0,
            1,
        )
        async with await psycopg.AsyncConnection.connect(config.dsn) as conn:
            await conn.execute("LOCK TABLE thermal_g1.thermal_memory_archive IN ACCESS EXCLUSIVE MODE")
            log.add(owner(), "two", "three")
            place = log.topics.events, log.records[-1].partition
            await broker.send(log.records[1:], ago_ms(100))
            await eventually(unwell, "the file says that it is stuck")
            standing = runner.progress.standing(STALLED_S)
            assert (standing.state, standing.lag) == ("running", 2)
            assert 100 < standing.lag_s < 160
            assert "2 records behind" in standing.words
            assert "no progress for" in standing.words
            labels["partition"] = place[1]
            assert metric("emberlog_projection_lag_records", **labels) == 2
            assert 100 < (metric("emberlog_projection_lag_seconds", **labels) or 0) < 160
            assert metric("emberlog_projection_healthy", view="thermal") == 0
            # a probe may go by the file's age alone
            assert time.time() - file.stat().st_mtime > STALLED_S
            refused = CliRunner().invoke(app, ["health", str(file)])
            assert refused.exit_code == 1
            assert "2 records behind" in str(refused.exception)
        await runner.catch_up_to(log.ends(log.topics.events), 20)
        await eventually(well, "the file says that all is well again")
        assert metric("emberlog_projection_lag_records", **labels) == 0
        assert CliRunner().invoke(app, ["health", str(file)]).exit_code == 0


async def test_a_runner_without_broker_says_so_and_is_unhealthy_after_a_while(
    config: RunnerConfig, views: dict[str, View], unused_port: int
) -> None:
    async with running(views["thermal"], replace(config, bootstrap=f"127.0.0.1:{unused_port}")) as runner:

        async def says_so() -> bool:
            standing = runner.progress.standing(STALLED_S)
            return not standing.healthy and "paused: the broker does not answer" in standing.words

        await eventually(says_so, "it is unhealthy and says why")
        assert runner.progress.standing().healthy
    assert runner.progress.standing().state == "ended"
    assert not runner.progress.standing().healthy


async def test_a_runner_that_waits_for_its_turn_is_not_stuck(views: dict[str, View], config: RunnerConfig) -> None:
    runner = ProjectionRunner(views["thermal"], config)
    assert runner.progress.standing(-1.0).healthy
    runner.progress.starts(60.0)
    assert not runner.progress.standing(-1.0).healthy


def test_seconds_behind_are_those_of_the_oldest_record_that_is_not_applied(views: dict[str, View], log: LogMaker) -> None:
    first, second = ((log.topics.events, partition) for partition in range(2))
    progress = Progress(views["thermal"], [0, 1])
    progress.begins({first: 5, second: 0}, {first: 5, second: 0})
    assert (progress.standing().lag, progress.standing().lag_s) == (0, 0.0)
    progress.took({first: (ago_ms(50), ago_ms(10))}, {first: 9, second: 0})
    assert progress.standing().lag == 4
    assert 50 <= progress.standing().lag_s < 51
    # two of them are applied, up to the one of ten seconds ago: what is left is younger
    progress.applied({first: 7, second: 0}, {first: (ago_ms(50), ago_ms(10))}, {first: 9, second: 0})
    assert 10 <= progress.standing().lag_s < 11
    progress.applied({first: 9, second: 0}, {first: (ago_ms(10), ago_ms(10))}, {first: 9, second: 0})
    assert progress.standing().lag_s == 0.0
    # what is known by its number only counts from now, not from the record before it
    progress.applied({first: 9, second: 0}, {}, {first: 10, second: 0})
    assert progress.standing().lag_s < 1
    assert {p["partition"]: p["lag"] for p in progress.standing().partitions} == {0: 1, 1: 0}


def test_records_that_wait_while_nothing_is_read_make_a_runner_unhealthy(
    views: dict[str, View], log: LogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    place: tuple[str, int] = (log.topics.events, 0)
    now = [1000.0]
    monkeypatch.setattr("projections.progress.time", SimpleNamespace(time=time.time, monotonic=lambda: now[0]))
    progress = Progress(views["thermal"], [0])
    progress.starts(60.0)
    progress.begins({place: 5}, {place: 9})
    steps = ((59, 5, True), (2, 5, False), (1, 6, True), (61, 6, False), (1, 9, True), (61, 9, True))
    for passed_s, position, healthy in steps:
        now[0] += passed_s
        progress.applied({place: position}, {}, {place: 9})
        assert progress.standing().healthy == healthy, now
    now[0] += 61
    assert not progress.standing().healthy, "nobody has looked since"


def test_a_health_file_that_nobody_writes_any_more_is_a_dead_projector(tmp_path: Path, views: dict[str, View]) -> None:
    path, progress = tmp_path / "folder" / "health", Progress(views["thermal"], [0])
    assert judged(path) == (False, [f"no projector writes {path}: it has not begun, or it has ended"])
    file = HealthFile(path)
    file.write({"thermal": progress.standing()})
    assert judged(path) == (True, ["thermal: not begun"])
    old = path.read_bytes().replace(time.strftime("%Y", time.gmtime()).encode(), b"2001", 1)
    path.write_bytes(old)
    well, lines = judged(path)
    assert not well
    assert "it is dead or frozen" in lines[0]
    path.write_bytes(b"[]")
    assert not judged(path)[0]
    file.remove()
    assert not os.path.exists(path)
    assert SILENT_S < 60
    assert "owner" not in str(asdict(progress.standing()))
