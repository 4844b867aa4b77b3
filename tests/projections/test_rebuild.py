"""Rebuild and verify on real topics: equal digests, tampering found, promotion under readers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from projections import building, promotion
from projections.errors import DigestMismatch, LogTruncated, RebuildRunning
from projections.rebuild import build, rebuild, verify
from projections.runner import ProjectionRunner, RunnerConfig
from projections.view import View
from projections.views import REGISTRY
from tests.projections.harness import Broker, eventually, owner, running
from tests.projections.logs import LogMaker
from tests.projections.test_splits import park

NAMES = sorted(REGISTRY)


@contextlib.asynccontextmanager
async def database_of(config: RunnerConfig) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(config.dsn, autocommit=True) as conn:
        yield conn


async def fill(log: LogMaker, broker: Broker, rounds: int = 6) -> None:
    """Some life: additions, mentions, revisions, forgettings, an erasure, vectors, parked work, rubbish."""
    begin = len(log.records)
    for i in range(rounds):
        ana = owner()
        memories = log.add(ana, *[f"fact {i} {j}" for j in range(4)])
        log.reheat(ana, memories[0], memories[1])
        for memory in memories:
            log.embed(ana, memory, [i / rounds, 1.0, 0.5])
        log.revise(ana, memories[0], f"revised {i}", category="c")
        log.embed(ana, memories[0], [1.0, i / rounds, 0.5])
        log.pin(ana, memories[2])
        log.link(ana, memories[0], memories[2])
        ben = owner()
        [bens] = log.add(ben, f"of somebody who goes {i}")
        log.embed(ben, bens, [1.0, 1.0, 1.0])
        log.erase(ben)
        log.forget(ana, memories[3])
        log.unembed(ana, memories[3])
        log.note(ana, failed=1)
        log.again(log.records[-1:])
        log.put(log.topics.events, i % 2, b"k", b"rubbish")
        for step, which in (("park", i), ("park", i + 1), ("retry", i), ("resolve", i + 1)):
            park(log, step, ana, which)
    await broker.send(log.records[begin:])


async def follow(view: View, config: RunnerConfig, log: LogMaker) -> None:
    async with running(view, config) as runner:
        await runner.catch_up_to(log.ends(*{s.topic for s in view.sources}), 30)


@pytest.mark.parametrize("name", NAMES)
async def test_a_rebuild_from_zero_equals_the_live_view(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, name: str
) -> None:
    view = views[name]
    await fill(log, broker)
    await follow(view, config, log)
    seen: list[tuple[int, int]] = []
    report = await verify(view, config, progress=lambda done, total: seen.append((done, total)))
    assert report.equal
    assert report.differing == []
    assert report.positions == log.ends(*{s.topic for s in view.sources})
    assert sum(t.rows for t in report.live.tables.values()) > 0
    assert seen[-1][0] == seen[-1][1] == sum(report.positions.values())
    promoted = await rebuild(view, config)
    assert promoted.equal
    assert promoted.promoted
    assert promoted.rebuilt == report.rebuilt
    async with database_of(config) as conn:
        cursor = await conn.execute(
            "SELECT generation, state FROM emberlog_view_generation WHERE view = %s ORDER BY generation", (name,)
        )
        assert await cursor.fetchall() == [(1, "kept"), (2, "live")]
        cursor = await conn.execute("SELECT count(*) FROM pg_namespace WHERE nspname LIKE %s", (f"{name}\\_scratch%",))
        assert await cursor.fetchone() == (0,)
    await fill(log, broker, 2)
    await follow(view, config, log)
    assert (await verify(view, config)).equal


@pytest.mark.parametrize("name", NAMES)
async def test_a_view_of_empty_topics_is_rebuilt_to_empty_tables(
    broker: Broker, config: RunnerConfig, views: dict[str, View], name: str
) -> None:
    report = await rebuild(views[name], config)
    assert report.equal
    assert report.records == 0
    assert sum(t.rows for t in report.rebuilt.tables.values()) == 0


async def test_an_empty_live_table_is_refilled_only_by_force(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    """The live tables were emptied behind the runner's back: the rebuild differs, and only ``force`` promotes it."""
    view = views["thermal"]
    await fill(log, broker)
    await follow(view, config, log)
    async with database_of(config) as conn:
        await conn.execute("TRUNCATE thermal_g1.thermal_memory_archive, thermal_g1.memory_mention")
        with pytest.raises(DigestMismatch, match="memory_mention, thermal_memory_archive"):
            await rebuild(view, config)
        cursor = await conn.execute("SELECT generation, state FROM emberlog_view_generation WHERE view = 'thermal' ORDER BY 1")
        assert await cursor.fetchall() == [(1, "live"), (2, "ready")]
        report = await rebuild(view, config, force=True)
        assert (report.equal, report.resumed, report.records) == (False, True, 0)
        cursor = await conn.execute("SELECT count(*) FROM thermal_memory_archive")
        assert await cursor.fetchone() == (18,)
    assert (await verify(view, config)).equal


TAMPERINGS = {
    "a changed content": "UPDATE {g}.thermal_memory_archive SET original_content = 'other' WHERE original_content = 'fact 1 1'",
    "a warmed memory": "UPDATE {g}.thermal_memory_archive SET temperature_score = 99 WHERE original_content = 'fact 2 2'",
    "a deleted memory": "DELETE FROM {g}.thermal_memory_archive WHERE original_content = 'fact 1 1'",
    "a deleted mention": "DELETE FROM {g}.memory_mention WHERE sequence = 5",
    "a moved owner": "UPDATE {g}.owner_position SET last_sequence = last_sequence + 1",
}


async def test_a_tampered_live_row_is_found_by_verify(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    view = views["thermal"]
    await fill(log, broker, 3)
    await follow(view, config, log)
    generation = 1
    for what, statement in TAMPERINGS.items():
        assert (await verify(view, config)).equal
        async with database_of(config) as conn:
            cursor = await conn.execute(statement.format(g=f"thermal_g{generation}"))
            assert cursor.rowcount > 0, what
        report = await verify(view, config)
        assert not report.equal, what
        assert report.differing, what
        await rebuild(view, config, force=True)
        generation += 1


async def test_verify_and_rebuild_while_the_log_grows_and_the_runner_runs(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    for name in ("thermal", "graph"):
        view, stop = views[name], asyncio.Event()

        async def grow(stop: asyncio.Event = stop) -> None:
            while not stop.is_set():
                await fill(log, broker, 1)
                await asyncio.sleep(0.02)

        async with running(view, config) as runner:
            task = asyncio.create_task(grow())
            try:
                for _ in range(2):
                    assert (await verify(view, config)).equal
                    assert (await rebuild(view, config)).equal
            finally:
                stop.set()
                await task
            await runner.catch_up_to(log.ends(*{s.topic for s in view.sources}), 30)

            async def follows(runner: ProjectionRunner = runner) -> bool:
                return runner.generation == 3

            await eventually(follows, "the runner goes on with the third generation")
        assert (await verify(view, config)).equal


async def test_readers_see_no_error_and_no_mix_while_generations_are_promoted(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    """Each live generation is marked in both of its tables: no statement may see one's archive with another's mentions."""
    view = views["thermal"]
    await fill(log, broker, 2)
    await follow(view, config, log)
    done, reads, seen = asyncio.Event(), 0, set()

    async def read(level: str) -> None:
        nonlocal reads
        async with database_of(config) as conn:
            while not done.is_set():
                async with conn.transaction():
                    await conn.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
                    cursor = await conn.execute(
                        "SELECT ARRAY(SELECT DISTINCT memory_type FROM thermal_memory_archive), "
                        "ARRAY(SELECT DISTINCT session_id FROM memory_mention ORDER BY 1)"
                    )
                    row = await cursor.fetchone()
                assert row is not None
                kinds, sessions = row
                assert (kinds, sessions) == (["episodic"], ["s-1", "s-2"]) or (len(kinds) == 1 and kinds == sessions)
                seen.add(kinds[0])
                reads += 1

    async def mark(conn: psycopg.AsyncConnection[Any], number: int) -> None:
        async with conn.transaction():
            await conn.execute(f"UPDATE thermal_g{number}.thermal_memory_archive SET memory_type = 'g{number}'")
            await conn.execute(f"UPDATE thermal_g{number}.memory_mention SET session_id = 'g{number}'")

    readers = [asyncio.create_task(read(level)) for level in ("READ COMMITTED", "READ COMMITTED", "REPEATABLE READ")]
    try:
        async with database_of(config) as conn:
            for number in range(1, 9):
                await mark(conn, number)
                assert (await rebuild(view, config, force=True)).new_generation == number + 1
    finally:
        done.set()
        await asyncio.gather(*readers)
    assert reads > 50
    assert len(seen) > 4


async def test_one_rebuild_of_a_view_at_a_time(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "LOCK_PATIENCE_S", 0.2)
    async with building.exclusive(views["thermal"], config):
        for work in (verify, build, rebuild, promotion.promote, promotion.rollback):
            with pytest.raises(RebuildRunning):
                await work(views["thermal"], config)
        assert (await verify(views["audit"], config)).equal


async def test_a_rebuild_waits_a_little_for_one_that_is_about_to_end(
    broker: Broker, config: RunnerConfig, views: dict[str, View]
) -> None:
    async with building.exclusive(views["thermal"], config):
        waiting = asyncio.create_task(rebuild(views["thermal"], config))
        await asyncio.sleep(0.5)
        assert not waiting.done()
    assert (await waiting).promoted


async def test_what_a_killed_rebuild_left_is_gone_on_with_by_the_next(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    from projections import generation

    view = views["thermal"]
    await fill(log, broker, 1)
    await follow(view, config, log)
    async with await generation.connect(config.dsn) as conn:
        async with conn.transaction():
            left = await generation.create(conn, view)
        await rebuild(view, config)
        cursor = await conn.execute("SELECT generation, state FROM emberlog_view_generation WHERE view = 'thermal' ORDER BY 1")
        assert await cursor.fetchall() == [(1, "kept"), (2, "live")]
        assert left.number == 2
        cursor = await conn.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'thermal%' ORDER BY 1")
        assert await cursor.fetchall() == [("thermal_g1",), ("thermal_g2",)]


async def test_a_log_without_its_beginning_is_not_rebuilt_from(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
    from aiokafka.structs import TopicPartition

    view = views["thermal"]
    await fill(log, broker, 2)
    await follow(view, config, log)
    admin = AIOKafkaAdminClient(bootstrap_servers=config.bootstrap)
    await admin.start()
    try:
        await admin.delete_records(
            {TopicPartition(log.topics.events, p): RecordsToDelete(before_offset=1) for p in range(log.topics.partitions)}
        )
    finally:
        await admin.close()
    with pytest.raises(LogTruncated, match="must keep its records for ever"):
        await verify(view, config)
    async with database_of(config) as conn:
        cursor = await conn.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'thermal%'")
        assert await cursor.fetchall() == [("thermal_g1",)]
