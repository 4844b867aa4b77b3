"""The one place that decides which Kafka and PostgreSQL are used, and says so.

`EMBERLOG_SERVICES` forces `external`, `containers` or `embedded`. Without it: an operator's own services when
`EMBERLOG_KAFKA_BOOTSTRAP` and `EMBERLOG_POSTGRES_DSN` are set; containers, where the caller may use them (their data does
not stay) and a Docker daemon answers; else the embedded ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from rich.console import Console

from ops.local.addresses import ServiceAddresses
from ops.local.containers import ContainerServices, docker_answers
from ops.local.kafka_check import answers_metadata
from ops.local.paths import LocalServicesError
from ops.local.services import LocalServices

FORCE = "EMBERLOG_SERVICES"
KAFKA = "EMBERLOG_KAFKA_BOOTSTRAP"
POSTGRES = "EMBERLOG_POSTGRES_DSN"
REDIS = "REDIS_URL"


class Kind(StrEnum):
    EXTERNAL = "external"
    CONTAINERS = "containers"
    EMBEDDED = "embedded"


@dataclass(frozen=True)
class Choice:
    """Which services, and why in a few words. Holds no address: it may be printed."""

    kind: Kind
    reason: str

    def __str__(self) -> str:
        return f"{self.kind.value} ({self.reason})"


def decide(
    environ: Mapping[str, str] | None = None,
    *,
    containers: bool = False,
    docker: Callable[[], bool] = docker_answers,
) -> Choice:
    """The decision alone; nothing is started. Raises `LocalServicesError` for settings that contradict each other."""
    environ = os.environ if environ is None else environ
    given = [name for name in (KAFKA, POSTGRES) if environ.get(name, "").strip()]
    forced = environ.get(FORCE, "").strip().lower()
    if forced and forced not in set(Kind):
        raise LocalServicesError(f"{FORCE}={forced!r}: use external, containers or embedded, or leave it unset")
    if forced in ("", Kind.EXTERNAL):
        if len(given) == 1:
            missing = POSTGRES if given == [KAFKA] else KAFKA
            raise LocalServicesError(f"{given[0]} is set but {missing} is not: set both to use your own services, or neither")
        if given:
            return Choice(Kind.EXTERNAL, f"{KAFKA} and {POSTGRES} are set")
    if forced == Kind.EXTERNAL:
        raise LocalServicesError(f"{FORCE}=external needs {KAFKA} and {POSTGRES}")
    if forced == Kind.EMBEDDED:
        return Choice(Kind.EMBEDDED, f"{FORCE}={forced}")
    if forced == Kind.CONTAINERS:
        if not docker():
            raise LocalServicesError(
                f"{FORCE}=containers, but no Docker daemon answers (or Testcontainers is not installed): start Docker, "
                f"install the `dev` extra, or use {FORCE}=embedded"
            )
        return Choice(Kind.CONTAINERS, f"{FORCE}={forced}")
    if not containers:
        return Choice(Kind.EMBEDDED, f"{KAFKA} and {POSTGRES} are not set")
    if docker():
        return Choice(Kind.CONTAINERS, "a Docker daemon answers")
    return Choice(Kind.EMBEDDED, "no Docker daemon answers")


class ChosenServices:
    """Running services: `choice`, `addresses`, and `close()`, which ends what was started for this object only."""

    def __init__(self, choice: Choice, addresses: ServiceAddresses, close: Callable[[], None]) -> None:
        self.choice = choice
        self.addresses = addresses
        self.close = close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _to_stderr(line: str) -> None:
    Console(stderr=True).print(line, markup=False, highlight=False)


def choose_services(
    data_dir: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    containers: bool = False,
    on_step: Callable[[str], None] = _to_stderr,
) -> ChosenServices:
    """Decide, tell `on_step`, and return the services when they answer.

    `data_dir` is for embedded ones (default: `EMBERLOG_DATA_DIR`, else `.emberlog` here). Raises `LocalServicesError`
    when the settings contradict each other or a service does not answer.
    """
    environ = os.environ if environ is None else environ
    choice = decide(environ, containers=containers)
    on_step(f"services: {choice}")
    if choice.kind is Kind.EXTERNAL:
        return ChosenServices(choice, _external(environ), lambda: None)
    if choice.kind is Kind.CONTAINERS:
        started = ContainerServices()
        return ChosenServices(choice, started.start(on_step=on_step), started.close)
    local = LocalServices(data_dir)
    return ChosenServices(choice, local.start(on_step=on_step), local.close)


def _external(environ: Mapping[str, str]) -> ServiceAddresses:
    addresses = ServiceAddresses(environ[KAFKA].strip(), environ[POSTGRES].strip(), environ.get(REDIS, "").strip() or None)
    if not answers_metadata(addresses.kafka_bootstrap, deadline_s=10.0):
        raise LocalServicesError(f"the Kafka of {KAFKA} does not answer a metadata request within 10 s")
    try:
        psycopg.connect(addresses.postgres_dsn, connect_timeout=10).close()
    except psycopg.Error as error:
        # Its text may repeat the connection string, password and all.
        raise LocalServicesError(
            f"the PostgreSQL of {POSTGRES} refuses a connection ({type(error).__name__}); check host, user and password"
        ) from None
    return addresses
