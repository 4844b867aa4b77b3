"""A generation that is kept after a promotion holds nothing that was forgotten since."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import AsyncConnection

from projections import generation
from projections.kept import unfinished_cleared
from projections.rebuild import rebuild
from projections.runner import RunnerConfig
from projections.view import View
from tests.projections.harness import Broker, owner, running, user
from tests.projections.logs import LogMaker
from tests.projections.test_splits import park

TABLES = {
    "thermal": ("thermal_memory_archive", "memory_mention", "memory_version"),
    "graph": ("memory_trace", "memory_embedding"),
    "parked": ("parked_work",),
    "current": ("memory_current",),
    "brain": ("user_brain",),
    "mem0": ("mem0_memories", "mem0_shown"),
}


async def rows_of(conn: AsyncConnection[Any], view: str, number: int) -> list[int]:
    found = []
    for table in TABLES[view]:
        cursor = await conn.execute(f"SELECT count(*) FROM {generation.schema_of(view, number)}.{table}")
        found += [row[0] for row in await cursor.fetchall()]
    return found


async def states(conn: AsyncConnection[Any], view: str) -> list[tuple[int, str]]:
    cursor = await conn.execute(
        "SELECT generation, state FROM emberlog_view_generation WHERE view = %s ORDER BY generation", (view,)
    )
    return await cursor.fetchall()


async def follow(view: View, config: RunnerConfig, log: LogMaker) -> None:
    async with running(view, config) as runner:
        await runner.catch_up_to(log.ends(*{s.topic for s in view.sources}), 30)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("how", ["memory", "owner"])
async def test_what_is_forgotten_after_a_promotion_leaves_the_kept_generation_too(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, name: str, how: str
) -> None:
    view, ana, ben = views[name], user(), user()
    [memory], [other] = log.add(ana, "Ana's garden"), log.add(ben, "Ben's garden")
    for who, which in ((ana, memory), (ben, other)):
        log.embed(who, which, [1.0, 0.0])
    park(log, "park", ana, 1)
    park(log, "park", ben, 2)
    await broker.send(log.records)
    await follow(view, config, log)
    await rebuild(view, config)
    begin = len(log.records)
    if how == "memory":
        log.forget(ana, memory)
    else:
        log.erase(ana)
    park(log, "resolve", ana, 1)
    await broker.send(log.records[begin:])
    await follow(view, config, log)
    async with await generation.connect(config.dsn) as conn:
        assert await states(conn, name) == [(1, "kept"), (2, "live")]
        assert await rows_of(conn, name, 1) == await rows_of(conn, name, 2) == [1] * len(TABLES[name])


async def test_a_kept_generation_of_an_older_fold_is_dropped_by_the_first_forgetting(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    view, ana = views["thermal"], owner()
    [memory] = log.add(ana, "Ana's garden")
    await broker.send(log.records)
    await follow(view, config, log)
    await rebuild(view, config)
    async with await generation.connect(config.dsn) as conn:
        await conn.execute("UPDATE emberlog_view_generation SET fold_version = 0 WHERE state = 'kept'")
        begin = len(log.records)
        log.forget(ana, memory)
        await broker.send(log.records[begin:])
        await follow(view, config, log)
        assert await states(conn, "thermal") == [(2, "live")]
        cursor = await conn.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'thermal%'")
        assert await cursor.fetchall() == [("thermal_g2",)]


async def test_a_kept_graph_is_dropped_once_messages_go_with_a_memory(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    """It waits there with its words, and that the memory names it was said after the promotion."""
    view, ana = views["graph"], owner()
    log.say(ana, "m-1")
    await broker.send(log.records)
    await follow(view, config, log)
    await rebuild(view, config)
    begin = len(log.records)
    [memory] = log.add(ana, "Ana's garden", producer_id="m-1")
    log.forget(ana, memory, include_source=True)
    await broker.send(log.records[begin:])
    await follow(view, config, log)
    async with await generation.connect(config.dsn) as conn:
        assert await states(conn, "graph") == [(2, "live")]
        assert await (await conn.execute("SELECT 1 FROM waiting_message")).fetchall() == []
        cursor = await conn.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'graph%'")
        assert await cursor.fetchall() == [("graph_g2",)]


async def test_what_a_killed_rebuild_left_is_dropped_and_a_running_one_waited_for(
    installed: str, views: dict[str, View], log: LogMaker
) -> None:
    view, place = views["thermal"], (log.topics.events, 0, 7)
    async with await generation.connect(installed) as conn, await generation.connect(installed) as other:
        assert await unfinished_cleared(conn, "thermal", *place), "there is none"
        async with conn.transaction():
            left = await generation.create(conn, view)
            await generation.create_schema(conn, view, generation.scratch_of("thermal"))
        async with generation.rebuild_lock(other, "thermal") as ours:
            assert ours
            assert not await unfinished_cleared(conn, "thermal", *place)
            for schema in (left.schema, generation.scratch_of("thermal")):
                await conn.execute(f"UPDATE {schema}.checkpoint SET next_offset = 8 WHERE partition = 0")
            assert await unfinished_cleared(conn, "thermal", *place), "both are past it"
            await conn.execute(f"UPDATE {left.schema}.checkpoint SET next_offset = 7 WHERE partition = 0")
        assert await unfinished_cleared(conn, "thermal", *place)
        assert await states(conn, "thermal") == [(1, "live")]
        cursor = await conn.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'thermal%'")
        assert await cursor.fetchall() == [("thermal_g1",)]
