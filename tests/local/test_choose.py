"""One place decides which services are used."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from ops.local.choose import Kind, choose_services, decide
from ops.local.containers import broker_environment
from ops.local.kafka import free_port
from ops.local.paths import LocalServicesError
from ops.local.postgres import dsn_with, ensure_database
from ops.local.services import LocalServices

OWN = {"EMBERLOG_KAFKA_BOOTSTRAP": "broker:9092", "EMBERLOG_POSTGRES_DSN": "postgresql://u:very-secret@db/e"}


def docker() -> bool:
    return True


def no_docker() -> bool:
    return False


def test_an_operators_own_services_come_first() -> None:
    assert decide(OWN, containers=True, docker=docker).kind is Kind.EXTERNAL


def test_containers_are_taken_where_allowed_and_a_daemon_answers_else_embedded() -> None:
    assert decide({}, containers=True, docker=docker).kind is Kind.CONTAINERS
    assert decide({}, containers=True, docker=no_docker).kind is Kind.EMBEDDED
    assert decide({}, docker=docker).kind is Kind.EMBEDDED


@pytest.mark.parametrize("missing", sorted(OWN))
def test_one_address_without_the_other_is_an_error_that_names_the_missing_one(missing: str) -> None:
    given = {name: value for name, value in OWN.items() if name != missing}
    with pytest.raises(LocalServicesError, match=f"but {missing} is not") as caught:
        decide(given, docker=no_docker)
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize("forced", ["embedded", "containers", "external"])
def test_a_forced_kind_is_taken_and_named_as_the_reason(forced: str) -> None:
    choice = decide({**OWN, "EMBERLOG_SERVICES": forced}, docker=docker)
    assert choice.kind == forced
    assert str(choice).startswith(f"{forced} (")


@pytest.mark.parametrize("forced", ["containers", "external", "kubernetes"])
def test_a_forced_kind_that_cannot_be_had_is_an_error(forced: str) -> None:
    with pytest.raises(LocalServicesError, match="EMBERLOG_SERVICES"):
        decide({"EMBERLOG_SERVICES": forced}, docker=no_docker)


def test_own_services_are_used_and_left_running(running: LocalServices) -> None:
    own = {
        "EMBERLOG_KAFKA_BOOTSTRAP": running.addresses.kafka_bootstrap,
        "EMBERLOG_POSTGRES_DSN": running.addresses.postgres_dsn,
        "REDIS_URL": running.addresses.redis_url or "",
    }
    steps: list[str] = []
    with choose_services(environ=own, on_step=steps.append) as chosen:
        assert chosen.addresses == running.addresses
    assert steps[0].startswith("services: external")
    assert running.status() == dict.fromkeys(("kafka", "postgres", "redis"), "healthy")


def test_own_services_that_do_not_answer_are_an_error_without_the_password(running: LocalServices) -> None:
    own = {
        "EMBERLOG_KAFKA_BOOTSTRAP": running.addresses.kafka_bootstrap,
        "EMBERLOG_POSTGRES_DSN": f"postgresql://u:very-secret@127.0.0.1:{free_port()}/e",
    }
    with pytest.raises(LocalServicesError, match="EMBERLOG_POSTGRES_DSN refuses") as caught:
        choose_services(environ=own, on_step=lambda _: None)
    assert "very-secret" not in str(caught.value)


def test_embedded_services_are_chosen_started_and_ended(data_dir: Path) -> None:
    steps: list[str] = []
    with choose_services(data_dir, environ={"EMBERLOG_SERVICES": "embedded"}, on_step=steps.append):
        assert LocalServices(data_dir).status() == dict.fromkeys(("kafka", "postgres", "redis"), "healthy")
    assert LocalServices(data_dir).status() == dict.fromkeys(("kafka", "postgres", "redis"), "stopped")
    assert steps[0] == "services: embedded (EMBERLOG_SERVICES=embedded)"


def test_the_broker_container_gets_the_embedded_brokers_settings_and_the_address_outside() -> None:
    variables = broker_environment("docker-host", 12345)
    assert variables["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://docker-host:12345"
    assert variables["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert variables["KAFKA_PROCESS_ROLES"] == "broker,controller"


def test_each_test_gets_an_empty_database_of_its_own(fresh_database: str, topic_prefix: str) -> None:
    with psycopg.connect(fresh_database) as connection:
        name = connection.execute("SELECT current_database()").fetchone()
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        vector = connection.execute("SELECT extname FROM pg_extension WHERE extname = 'vector'").fetchone()
    assert name is not None
    assert name[0].startswith("emb_test_")
    assert tables == (0,)
    assert vector == ("vector",)
    assert topic_prefix.startswith("emb-test-")


def test_a_dsn_keeps_its_server_when_the_database_changes(running: LocalServices) -> None:
    ensure_database(running.addresses.postgres_dsn, "another")
    with psycopg.connect(dsn_with(running.addresses.postgres_dsn, "another")) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("another",)
