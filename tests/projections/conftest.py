"""Fixtures of the read side's tests."""

from __future__ import annotations

import secrets
import socket
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from ops.local.postgres import dsn_with, ensure_database
from ops.local.services import ServiceAddresses
from projections import generation
from projections.log_reader import ReaderConfig
from projections.runner import RunnerConfig
from projections.view import View, ViewSettings
from projections.views import build_views
from schemas.topics import Topics
from tests.projections.harness import AUDIT_KEY, EVERYBODY, Broker
from tests.projections.logs import LogMaker
from tests.projections.store import Store, store_of
from tests.services import TOPIC_PREFIX


@pytest.fixture
def topics() -> Topics:
    """Names of this test's topics; they exist while ``broker`` is used."""
    return Topics(partitions=2, prefix=f"{TOPIC_PREFIX}{secrets.token_hex(4)}.")


@pytest.fixture
async def broker(services: ServiceAddresses, topics: Topics) -> AsyncIterator[Broker]:
    async with Broker.of(services.kafka_bootstrap, topics) as made:
        yield made


@pytest.fixture
def views(topics: Topics) -> dict[str, View]:
    return build_views(ViewSettings(topics, AUDIT_KEY))


@pytest.fixture(scope="session")
def database(services: ServiceAddresses) -> Iterator[str]:
    """DSN of one database for all tests that fold into schemas of their own."""
    name = f"emb_test_{secrets.token_hex(6)}"
    ensure_database(services.postgres_dsn, name)
    yield dsn_with(services.postgres_dsn, name)
    with psycopg.connect(services.postgres_dsn, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
async def installed(request: pytest.FixtureRequest, fresh_database: str, views: dict[str, View]) -> str:
    """DSN of a database with a first generation of every view, or of the one that the test is about: it has a ``name`` then."""
    callspec = getattr(request.node, "callspec", None)
    name = None if callspec is None else callspec.params.get("name")
    await generation.install(fresh_database, [views[name]] if name in views else list(views.values()))
    return fresh_database


@pytest.fixture
def unused_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def config(services: ServiceAddresses, installed: str) -> RunnerConfig:
    return RunnerConfig(services.kafka_bootstrap, installed, owners=EVERYBODY)


@pytest.fixture
def log(topics: Topics) -> LogMaker:
    return LogMaker(topics)


@pytest.fixture
async def store(installed: str, views: dict[str, View], log: LogMaker) -> AsyncIterator[Store]:
    """The live views, filled as the test says, and recall over them."""
    async with store_of(installed, views, log) as made:
        yield made


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rebuilds read ten records at a time."""

    def reader(self: RunnerConfig) -> ReaderConfig:
        return RunnerConfig.reader(RunnerConfig(self.bootstrap, self.dsn, max_records=10, poll_ms=self.poll_ms))

    monkeypatch.setattr(RunnerConfig, "bulk_reader", reader)
