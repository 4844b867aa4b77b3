"""Fixtures for real services, one set per test session, and each test's own corner of them."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psutil
import psycopg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from psycopg import sql

from ops.local.choose import choose_services, decide
from ops.local.postgres import dsn_with, ensure_database
from ops.local.services import LocalServices, ServiceAddresses

TOPIC_PREFIX = "emb-test-"
PLENTY = 6 * 2**30
"""Bytes of memory: what the suite's data folders and programs take at most, with as much again to spare."""


def temporary_data_dir() -> Path:
    """A path for embedded services, not made yet: a folder of `tmp_path`'s kind would be closed to PostgreSQL's user.

    It lies in memory where there is plenty: a file system on a disk spends a third of the suite's processor time on the files of
    databases that live for one test.
    """
    return _temporary_folder() / f"emberlog-test-{secrets.token_hex(6)}"


@cache
def _temporary_folder() -> Path:
    in_memory = Path("/dev/shm")
    if "TMPDIR" not in os.environ and os.access(in_memory, os.W_OK | os.X_OK):
        free = min(psutil.disk_usage(str(in_memory)).free, psutil.virtual_memory().available)
        if free >= PLENTY:
            return in_memory
    return Path(tempfile.gettempdir()).resolve()


def services_header() -> str:
    """One line for pytest's header. A contradiction in the settings fails the tests that need services, not the header."""
    try:
        return f"services: {decide(containers=True)}"
    except RuntimeError as error:
        return f"services: {error}"


@pytest.fixture(scope="session")
def services() -> Iterator[ServiceAddresses]:
    """Kafka and PostgreSQL for the whole session: an operator's own, containers, or embedded in a temporary folder."""
    data_dir = temporary_data_dir()
    try:
        with choose_services(data_dir, containers=True, on_step=lambda _: None) as chosen:
            yield chosen.addresses
    finally:
        if data_dir.exists():
            LocalServices(data_dir).destroy()


@pytest.fixture
def fresh_database(services: ServiceAddresses) -> Iterator[str]:
    """DSN of an empty database with the vector extension, dropped after the test whoever is still connected."""
    name = f"emb_test_{secrets.token_hex(6)}"
    ensure_database(services.postgres_dsn, name)
    try:
        yield dsn_with(services.postgres_dsn, name)
    finally:
        with psycopg.connect(services.postgres_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def topic_prefix(services: ServiceAddresses) -> Iterator[str]:
    """A prefix for every topic of this test (`emb-test-<random>.`); topics that have it are deleted after the test."""
    prefix = f"{TOPIC_PREFIX}{secrets.token_hex(4)}."
    yield prefix

    async def delete() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=services.kafka_bootstrap)
        await admin.start()
        try:
            if mine := [topic for topic in await admin.list_topics() if topic.startswith(prefix)]:
                await admin.delete_topics(mine)
        finally:
            await admin.close()

    # In a thread: the session's event loop may be running around this fixture.
    failures: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(delete())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
