"""The same services as containers, through Testcontainers, where a Docker daemon answers. Data ends with the containers."""

from __future__ import annotations

import gc
import secrets
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any
from urllib.parse import quote

import psycopg

from ops.local.addresses import ServiceAddresses
from ops.local.jars import KAFKA_VERSION
from ops.local.kafka import PROPERTIES, free_port
from ops.local.kafka_check import answers_metadata
from ops.local.paths import LocalServicesError
from ops.local.postgres import DATABASE, SUPERUSER, dsn_with, ensure_database

KAFKA_IMAGE = f"apache/kafka:{KAFKA_VERSION}"
POSTGRES_IMAGE = "pgvector/pgvector:pg16"
DOCKER_PATIENCE_S = 3


def docker_answers() -> bool:
    """Whether Testcontainers is installed and a Docker daemon answers a ping within three seconds."""
    if find_spec("testcontainers") is None or find_spec("docker") is None:
        return False
    with warnings.catch_warnings():
        # Where nobody answers, Docker's client is given up half made, with an open socket.
        warnings.simplefilter("ignore", ResourceWarning)
        answered = _ping()
        gc.collect()
    return answered


def _ping() -> bool:
    import docker  # type: ignore[import-untyped]
    from docker.errors import DockerException  # type: ignore[import-untyped]

    try:
        client = docker.from_env(timeout=DOCKER_PATIENCE_S)
    except (DockerException, OSError):
        return False
    try:
        return bool(client.ping())
    except (DockerException, OSError):
        return False
    finally:
        client.close()


def broker_environment(advertised_host: str, advertised_port: int) -> dict[str, str]:
    """The embedded broker's settings in the form that the `apache/kafka` image takes: `KAFKA_…` variables."""
    text = PROPERTIES.format(host="localhost", port=9092, controller_port=9093, log_dir="/tmp/kafka-logs")  # noqa: S108
    pairs = (line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))
    variables = {f"KAFKA_{name.replace('.', '_').upper()}": value for name, value in pairs if value}
    variables["KAFKA_LISTENERS"] = "PLAINTEXT://:9092,CONTROLLER://:9093"
    variables["KAFKA_ADVERTISED_LISTENERS"] = f"PLAINTEXT://{advertised_host}:{advertised_port}"
    return variables


class ContainerServices:
    """One Kafka and one PostgreSQL container, removed by `close` (and by Testcontainers' reaper after a kill)."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def start(self, *, on_step: Callable[[str], None], deadline_s: float = 180.0) -> ServiceAddresses:
        """Start both and return when both answer. Raises `LocalServicesError` when one does not in `deadline_s`."""
        end = time.monotonic() + deadline_s
        try:
            on_step(f"starting containers {KAFKA_IMAGE} and {POSTGRES_IMAGE}")
            bootstrap = self._start_kafka()
            dsn = self._start_postgres()
            _wait(lambda: answers_metadata(bootstrap), end, KAFKA_IMAGE)
            _wait(lambda: _postgres_answers(dsn), end, POSTGRES_IMAGE)
            ensure_database(dsn, DATABASE)
        except BaseException:
            self.close()
            raise
        return ServiceAddresses(bootstrap, dsn_with(dsn, DATABASE))

    def _container(self, image: str) -> Any:
        from testcontainers.core.container import DockerContainer

        return DockerContainer(image)

    def _start_kafka(self) -> str:
        container = self._container(KAFKA_IMAGE)
        host, port = container.get_container_host_ip(), free_port()
        # Clients are told the address they must use, so the port outside has to be known before the start.
        container.with_bind_ports(9092, port)
        for name, value in broker_environment(host, port).items():
            container.with_env(name, value)
        self._stack.enter_context(container)
        return f"{host}:{port}"

    def _start_postgres(self) -> str:
        password = secrets.token_urlsafe(24)
        container = self._container(POSTGRES_IMAGE).with_exposed_ports(5432)
        container.with_env("POSTGRES_PASSWORD", password)
        self._stack.enter_context(container)
        host, port = container.get_container_host_ip(), container.get_exposed_port(5432)
        return f"postgresql://{SUPERUSER}:{quote(password, safe='')}@{host}:{port}/postgres"

    def close(self) -> None:
        """Stop and remove the containers."""
        self._stack.close()


def _postgres_answers(dsn: str) -> bool:
    try:
        with psycopg.connect(dsn, connect_timeout=3) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def _wait(answers: Callable[[], bool], end: float, image: str) -> None:
    while not answers():
        if time.monotonic() > end:
            raise LocalServicesError(
                f"the container of {image} does not answer; see `docker logs`, or set EMBERLOG_SERVICES=embedded"
            )
        time.sleep(0.2)
