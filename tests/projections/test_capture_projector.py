"""The projector keeps view and file at once, with real keys; what is destroyed comes back on no replay."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from ops.keyring import open_keys
from ops.local.postgres import dsn_with, ensure_database
from ops.local.services import ServiceAddresses
from ops.projecting import run_projector
from ops.settings import Settings, load_settings
from ops.wiring_setup import set_up
from schemas.owner import Owner
from schemas.sealing import seal
from tests.projections.harness import Broker, eventually
from tests.projections.logs import T0, LogMaker
from tests.projections.turns import learn, publish, turn_of

KEPT = ("what u2 says", "what a2 says")


@pytest.fixture
def keys_database(services: ServiceAddresses) -> Iterator[str]:
    name = f"emb_test_{secrets.token_hex(6)}_keys"
    ensure_database(services.postgres_dsn, name)
    yield dsn_with(services.postgres_dsn, name)
    with psycopg.connect(services.postgres_dsn, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def given(services: ServiceAddresses, fresh_database: str, keys_database: str, topic_prefix: str, tmp_path: Path) -> Settings:
    return load_settings(
        kafka_bootstrap=services.kafka_bootstrap,
        postgres_dsn=SecretStr(fresh_database),
        keys_dsn=SecretStr(keys_database),
        data_dir=tmp_path,
        partitions=2,
        topic_prefix=topic_prefix,
        capture_sqlite=tmp_path / "capture" / "interactions.sqlite",
    )


@contextlib.asynccontextmanager
async def projecting(settings: Settings, bootstrap: str, dsn: str) -> AsyncIterator[None]:
    """The projector of the view and of the keys at work."""
    stop = asyncio.Event()
    task = asyncio.create_task(run_projector(settings, bootstrap, dsn, ["capture", "keys"], stop, lambda: None))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 30)


def in_file(path: Path) -> list[tuple[str, str]]:
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
            return list(file.execute("SELECT user_transcript, assistant_response FROM interactions ORDER BY 1"))
    except sqlite3.OperationalError:
        return []  # not there yet


async def in_view(dsn: str) -> list[tuple[str, str]]:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        cursor = await connection.execute("SELECT user_transcript, assistant_response FROM interactions ORDER BY 1")
        return await cursor.fetchall()


async def test_what_is_forgotten_leaves_view_and_file_and_a_file_made_anew_cannot_read_it(
    services: ServiceAddresses, fresh_database: str, given: Settings
) -> None:
    bootstrap, dsn, path, log = services.kafka_bootstrap, fresh_database, given.capture_sqlite, LogMaker(given.topics)
    assert path is not None
    await set_up(given, bootstrap, dsn)
    async with open_keys(given, dsn) as ring, Broker.of(bootstrap, given.topics, create=False, delete=False) as broker:
        ana = await ring.directory.reference_of(Owner("default", "user", "ana"))
        turns = [turn_of(ana, [f"u{n}", f"a{n}"], at=T0) for n in (1, 2)]
        for turn in turns:
            publish(log, await seal(ring.keys, turn))
        memory = learn(log, turns[0])
        assert not any(b"says" in (record.value or b"") for record in log.records), "sealed"
        await broker.send(log.records)

        async def both(*expected: tuple[str, str]) -> bool:
            return in_file(path) == await in_view(dsn) == list(expected)

        async with projecting(given, bootstrap, dsn):
            await eventually(lambda: both(("what u1 says", "what a1 says"), KEPT), "both hold what was said")
            sent = len(log.records)
            log.forget(ana, memory, include_source=True)
            await broker.send(log.records[sent:])
            await eventually(lambda: both(KEPT), "both have forgotten")
            data = await asyncio.to_thread(path.read_bytes)
            assert b"what u1 says" not in data
            assert b"what a1 says" not in data
        await asyncio.to_thread(path.unlink)
        async with projecting(given, bootstrap, dsn):
            await eventually(lambda: both(KEPT), "the file is made anew")
