"""The runner on a real broker and a real database: live, behind, broken off, fenced, promoted away."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import psycopg
import pytest

from projections import generation
from projections.applier import Applier
from projections.errors import CatchUpTimeout, Fenced, LogTruncated
from projections.rebuild import rebuild
from projections.runner import ProjectionRunner, RunnerConfig
from projections.view import View
from tests.projections.harness import Broker, ends, eventually, owner, running
from tests.projections.logs import LogMaker


async def one(dsn: str, what: str) -> object:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        row = await (await conn.execute("SELECT " + what)).fetchone()
        return None if row is None else row[0]


async def drop_connections(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        await conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


async def test_what_is_written_while_it_runs_and_while_it_did_not_run_is_folded(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    view, owners = views["thermal"], [owner() for _ in range(5)]
    for i in range(40):
        log.add(owners[i % 5], f"behind {i} a", f"behind {i} b")
    await broker.send(log.records)
    async with running(view, config) as runner:
        await runner.catch_up_to(log.ends(log.topics.events), 20)
        sent = len(log.records)
        log.add(owners[0], "live")
        await broker.send(log.records[sent:])
        await runner.catch_up_to(log.ends(log.topics.events), 20)
        assert await one(config.dsn, "count(*) FROM thermal_memory_archive") == 81
        assert runner.applied == log.ends(log.topics.events)
    sent = len(log.records)
    log.add(owners[1], "while it was away")
    await broker.send(log.records[sent:])
    async with running(view, config) as runner:
        await runner.catch_up_to(log.ends(log.topics.events), 20)
        assert await one(config.dsn, "count(*) FROM thermal_memory_archive") == 82


async def test_all_views_run_side_by_side(broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker) -> None:
    ana = owner()
    for memory in log.add(ana, "one", "two"):
        log.embed(ana, memory, [0.6, 0.8])
    await broker.send(log.records)
    for view in views.values():
        async with running(view, config) as runner:
            await runner.catch_up_to(log.ends(*{s.topic for s in view.sources}), 20)
    assert await one(config.dsn, "count(*) FROM memory_embedding JOIN thermal_memory_archive ON id = trace_id") == 2
    assert await one(config.dsn, "count(*) FROM audit_log") == 2
    assert await one(config.dsn, "new FROM turn_outcome") == 2


async def test_a_database_that_drops_its_connections_is_a_pause_and_nothing_is_lost(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    ana = owner()
    async with running(views["thermal"], config) as runner:
        for i in range(6):
            log.add(ana, f"fact {i}")
            await broker.send(log.records[-1:])
            if i % 2:
                await runner.catch_up_to(log.ends(log.topics.events), 20)
            await drop_connections(config.dsn)
        await runner.catch_up_to(log.ends(log.topics.events), 20)
    assert await one(config.dsn, "count(*) FROM thermal_memory_archive") == 6
    assert await one(config.dsn, "max(last_sequence) FROM emberlog_thermal_owner_position") == 6


async def test_a_broker_that_is_not_there_yet_is_waited_for(
    config: RunnerConfig, views: dict[str, View], unused_port: int
) -> None:
    runner, stop = ProjectionRunner(views["thermal"], replace(config, bootstrap=f"127.0.0.1:{unused_port}")), asyncio.Event()
    task = asyncio.create_task(runner.run(stop))
    with pytest.raises(CatchUpTimeout):
        await runner.catch_up_to({("nothing", 0): 1}, 0.5)
    assert not task.done()
    stop.set()
    await asyncio.wait_for(task, 20)


async def test_topics_that_are_made_later_are_waited_for(
    services: object, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    async with running(views["thermal"], config) as runner:
        with pytest.raises(CatchUpTimeout):
            await runner.catch_up_to(log.ends(log.topics.events), 0.3)
        async with Broker.of(config.bootstrap, log.topics) as broker:
            log.add(owner(), "one")
            await broker.send(log.records)
            await runner.catch_up_to(log.ends(log.topics.events), 20)


async def test_rubbish_on_every_topic_stops_no_view(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    ana = owner()
    for topic in (log.topics.events, log.topics.conversation, log.topics.embeddings, log.topics.parked):
        for partition in range(2):
            for value in (b"", b"\x00" * 40, b"\xc3\x01" + b"\xff" * 40, b"{}"):
                log.put(topic, partition, b"k", value, [("sliceid", b"\xff")])
    [memory] = log.add(ana, "one")
    log.embed(ana, memory, [1.0])
    await broker.send(log.records)
    for name, view in views.items():
        async with running(view, config) as runner:
            await runner.catch_up_to(log.ends(*{s.topic for s in view.sources}), 20)
        topics = len(view.sources)
        assert await one(config.dsn, f"count(*) FROM emberlog_{name}_view_problem") == 8 * topics
    assert await one(config.dsn, "count(*) FROM memory_embedding") == 1


async def test_a_runner_follows_a_promotion_to_the_new_generation(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    ana, view = owner(), views["thermal"]
    log.add(ana, "one")
    await broker.send(log.records)
    async with running(view, config) as runner:
        await runner.catch_up_to(log.ends(log.topics.events), 20)
        assert runner.generation == 1
        await rebuild(view, config)
        log.add(ana, "two")
        await broker.send(log.records[1:])
        await runner.catch_up_to(log.ends(log.topics.events), 20)
        assert runner.generation == 2
    assert await one(config.dsn, "count(*) FROM thermal_memory_archive") == 2
    assert await one(config.dsn, "count(*) FROM thermal_g1.thermal_memory_archive") == 1


async def test_an_idle_runner_notices_that_it_was_fenced(
    broker: Broker, config: RunnerConfig, views: dict[str, View], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock was lost, as in a failover of the database: the checkpoint alone tells it."""
    monkeypatch.setattr("projections.runner.OWNERSHIP_CHECK_S", 0.1)
    first = ProjectionRunner(views["thermal"], config)
    task = asyncio.create_task(first.run(asyncio.Event()))
    await first.catch_up_to(await ends(config, views["thermal"]), 20)
    async with await generation.connect(config.dsn) as conn:
        await Applier(views["thermal"], "thermal_g1", conn, partitions=[1]).claim()
        with pytest.raises(Fenced, match="stop the other one"):
            await asyncio.wait_for(task, 20)
    assert first.progress.standing().words == "ended: Fenced"


async def test_tables_of_another_version_of_the_fold_are_left_alone_until_they_are_rebuilt(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.add(owner(), "one")
    await broker.send(log.records)
    view = views["thermal"]
    async with running(view, config) as runner:
        await runner.catch_up_to(log.ends(log.topics.events), 20)
    monkeypatch.setattr(type(view), "version", view.version + 1)
    async with running(view, config) as runner:

        async def asks_for_a_rebuild() -> bool:
            return runner.outdated and "emberlog rebuild thermal" in runner.progress.standing().words

        await eventually(asks_for_a_rebuild, "the runner waits")
        assert not runner.generation
        report = await rebuild(view, config)
        assert not report.compared
        await runner.catch_up_to(log.ends(log.topics.events), 20)
        assert (runner.generation, runner.outdated) == (2, False)


async def test_a_log_that_lost_records_is_an_error_and_not_a_silent_skip(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    view = views["thermal"]
    async with await generation.connect(config.dsn) as conn:
        await conn.execute("UPDATE thermal_g1.checkpoint SET next_offset = 7")
    with pytest.raises(LogTruncated, match="recreated or restored"):
        await asyncio.wait_for(ProjectionRunner(view, config).run(asyncio.Event()), 20)


async def test_a_runner_without_tables_waits_for_them(
    broker: Broker, fresh_database: str, views: dict[str, View], log: LogMaker
) -> None:
    log.add(owner(), "one")
    await broker.send(log.records)
    config = RunnerConfig(broker.bootstrap, fresh_database)
    async with running(views["thermal"], config) as runner:
        await generation.install(fresh_database, list(views.values()))
        await runner.catch_up_to(log.ends(log.topics.events), 20)


async def test_install_by_many_at_once_makes_one_generation(fresh_database: str, views: dict[str, View]) -> None:
    await asyncio.gather(*(generation.install(fresh_database, list(views.values())) for _ in range(5)))
    assert await one(fresh_database, "count(*) FROM emberlog_view_generation") == len(views)

    async def empty() -> bool:
        return await one(fresh_database, "count(*) FROM thermal_memory_archive") == 0

    await eventually(empty, "the public view answers")
