"""The list of generations."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from projections import generation, listing
from projections.errors import WrongState
from projections.promotion import drop, rollback
from projections.rebuild import build, rebuild
from projections.runner import RunnerConfig
from projections.view import View
from tests.projections.harness import Broker, owner
from tests.projections.logs import LogMaker
from tests.projections.test_generations import schemas, seen
from tests.projections.test_kept import states
from tests.projections.test_rebuild import fill, follow


async def test_generations_are_listed_with_what_they_lack_and_dropped_unless_live(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    view = views["thermal"]
    await fill(log, broker, 1)
    await follow(view, config, log)
    await rebuild(view, config)
    await build(view, config)
    begin = len(log.records)
    log.add(owner(), "one", "two")
    await broker.send(log.records[begin:])
    await follow(view, config, log)
    async with await generation.connect(config.dsn) as conn:
        found = await listing.listed(conn, ["thermal", "audit"])
    assert [(g.view, g.generation, g.state, g.behind) for g in found] == [
        ("thermal", 1, "kept", 2),
        ("thermal", 2, "live", 0),
        ("thermal", 3, "ready", 2),
        ("audit", 1, "live", 0),
    ]
    assert all(g.fold_version == views[g.view].version and g.size > 0 for g in found)
    assert found[2].rows > 0
    assert found[0].since >= found[1].since
    for number, why in ((2, "is live"), (7, "has no generation 7")):
        with pytest.raises(WrongState, match=why):
            await drop(view, config, number)
    await drop(view, config, 3)
    await drop(view, config, 1)
    assert await seen(config, view) == [(2, "live")]
    assert await schemas(config, view) == ["thermal_g2"]
    with pytest.raises(WrongState, match="build one with `emberlog rebuild thermal`"):
        await rollback(view, config)


async def test_a_list_that_an_older_version_made_takes_the_new_states(
    installed: str, views: dict[str, View], broker: Broker, config: RunnerConfig
) -> None:
    async with await psycopg.AsyncConnection.connect(installed, autocommit=True) as conn:
        await _as_before(conn)
        with pytest.raises(psycopg.errors.CheckViolation):
            await conn.execute("UPDATE emberlog_view_generation SET state = 'ready'")
        assert (await build(views["thermal"], config)).equal
        assert await states(conn, "thermal") == [(1, "live"), (2, "ready")]
        await _as_before(conn, "DELETE FROM emberlog_view_generation WHERE state = 'ready'")
        await generation.install(installed, list(views.values()))
        cursor = await conn.execute("SELECT bool_and(since = created_at) FROM emberlog_view_generation")
        assert await cursor.fetchone() == (True,)


async def _as_before(conn: AsyncConnection[Any], *statements: str) -> None:
    for statement in statements:
        await conn.execute(statement)
    await conn.execute(
        "ALTER TABLE emberlog_view_generation DROP COLUMN since, DROP CONSTRAINT emberlog_view_generation_state_check, "
        "ADD CONSTRAINT emberlog_view_generation_state_check CHECK (state IN ('building', 'live', 'kept'))"
    )
