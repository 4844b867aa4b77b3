"""Broker and database killed under a running projection: it pauses, comes back, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from ops.local.postgres import dsn_with, ensure_database
from ops.local.services import LocalServices
from projections import generation
from projections.rebuild import verify
from projections.runner import RunnerConfig
from projections.view import ViewSettings
from projections.views import build_views
from schemas.topics import Topics
from tests.projections.harness import AUDIT_KEY, Broker, eventually, owner, running
from tests.projections.logs import LogMaker
from tests.services import temporary_data_dir


@pytest.fixture
def own() -> Iterator[LocalServices]:
    """Services of this test alone, which it may kill."""
    services = LocalServices(temporary_data_dir())
    services.start()
    try:
        yield services
    finally:
        services.stop()
        services.destroy()


@pytest.mark.slow
async def test_a_killed_broker_and_a_killed_database_are_pauses_and_nothing_is_lost(own: LocalServices) -> None:
    topics = Topics(2)
    view = build_views(ViewSettings(topics, AUDIT_KEY), ["thermal"])["thermal"]
    ensure_database(own.addresses.postgres_dsn, "outages")
    dsn = dsn_with(own.addresses.postgres_dsn, "outages")
    await generation.install(dsn, [view])
    config = RunnerConfig(own.addresses.kafka_bootstrap, dsn, backoff_max_s=0.5)
    log, owners = LogMaker(topics), [owner() for _ in range(5)]

    async def write(broker: Broker, count: int) -> None:
        begin = len(log.records)
        for i in range(count):
            log.add(owners[i % 5], f"fact {len(log.records)}")
        await broker.send(log.records[begin:])

    async with running(view, config) as runner:
        async with Broker.of(own.addresses.kafka_bootstrap, topics, delete=False) as broker:
            await write(broker, 30)
            await runner.catch_up_to(log.ends(topics.events), 30)
        await asyncio.to_thread(own.kafka.kill)

        async def says_so() -> bool:
            standing = runner.progress.standing()
            return standing.state == "paused" and "the broker does not answer" in standing.words and standing.healthy

        await eventually(says_so, "the runner says that it is paused, and why")
        assert not runner.progress.standing(stalled_s=0.1).healthy
        await asyncio.to_thread(own.kafka.restart)
        async with Broker.of(own.addresses.kafka_bootstrap, topics, create=False, delete=False) as broker:
            await write(broker, 30)
            await runner.catch_up_to(log.ends(topics.events), 60)
            # killed right after commits that did not wait for the disk: what is lost of them is read again
            await write(broker, 30)
            await runner.catch_up_to(log.ends(topics.events), 30)
            await asyncio.to_thread(own.postgres.kill)
            await write(broker, 30)
            await asyncio.to_thread(own.postgres.restart)
            await write(broker, 1)

            async def count() -> int:
                async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
                    cursor = await conn.execute("SELECT count(*) FROM thermal_memory_archive")
                    row = await cursor.fetchone()
                    return 0 if row is None else int(row[0])

            await runner.catch_up_to(log.ends(topics.events), 60)
            assert await count() == 121
    assert (await verify(view, config)).equal
