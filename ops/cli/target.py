"""The set to work with: the operator's own addresses where they are set, else the set that runs on the data folder."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field

from pydantic import SecretStr

from ops.cli.errors import NotRunning, UsageError
from ops.settings import Settings, dump_settings, load_settings, restore_settings
from schemas.topics import Topics


@dataclass(frozen=True, slots=True)
class Target:
    """Settings with the addresses in use. ``origin`` says where they come from."""

    settings: Settings
    bootstrap: str
    dsn: str = field(repr=False)
    origin: str = ""

    @property
    def topics(self) -> Topics:
        return self.settings.topics


def read_settings() -> Settings:
    """The settings, with their folders put where the code that reads only the environment finds them too."""
    settings = load_settings()
    _export_folders(settings)
    return settings


def _export_folders(settings: Settings) -> None:
    os.environ["EMBERLOG_DATA_DIR"] = str(settings.data_dir)
    os.environ["EMBERLOG_CACHE_DIR"] = str(settings.cache_dir)


def target_line(target: Target) -> bytes:
    """Addresses and settings as one line for a child process; it holds secrets."""
    return json.dumps([target.bootstrap, target.dsn, dump_settings(target.settings)]).encode() + b"\n"


def target_from_line(line: bytes) -> Target:
    """What ``target_line`` made, in the child."""
    bootstrap, dsn, values = json.loads(line)
    settings = restore_settings(values)
    _export_folders(settings)
    return Target(settings, bootstrap, dsn, "the parent process")


def uses_own_services(settings: Settings) -> bool:
    """True where the operator's own services are to be used, False for the embedded ones.

    Raises LocalServicesError for settings that contradict each other, UsageError for containers.
    """
    from ops.local.choose import Kind, decide

    environ = {name: str(value) for name, value in dump_settings(settings).items() if value is not None}
    if settings.services == "containers":
        raise UsageError(
            "EMBERLOG_SERVICES=containers is for tests: such containers keep no data",
            "leave it unset for embedded services, or start docker-compose.yml and set the two addresses",
        )
    return decide(environ).kind is Kind.EXTERNAL


def external(settings: Settings) -> Target:
    """The operator's own services."""
    assert settings.kafka_bootstrap is not None
    assert settings.postgres_dsn is not None
    return Target(settings, settings.kafka_bootstrap, settings.postgres_dsn.get_secret_value(), "the addresses in the settings")


def find_running() -> Target:
    """The running set. Raises NotRunning with what to do where nothing runs."""
    settings = read_settings()
    return external(settings) if uses_own_services(settings) else _embedded(settings)


def with_redis(settings: Settings, url: str | None) -> Settings:
    """``settings`` with the Redis of the embedded services, unless they name one."""
    if url is None or settings.redis_url is not None:
        return settings
    return settings.model_copy(update={"redis_url": SecretStr(url)})


def _embedded(settings: Settings) -> Target:
    if not (settings.data_dir / "services.json").is_file():
        raise NotRunning(f"nothing runs on {settings.data_dir}", "start it with: emberlog up")
    from ops.local.services import LocalServices

    services = LocalServices(settings.data_dir, with_redis=settings.redis_url is None)
    found = services.status()
    if set(found.values()) == {"stopped"}:
        raise NotRunning(f"nothing runs on {settings.data_dir}", "start it with: emberlog up")
    # without Redis there is no working set, and everything else goes on
    broken = [f"{name} is {state}" for name, state in found.items() if state != "healthy" and name != "redis"]
    if broken:
        raise NotRunning(f"on {settings.data_dir} {' and '.join(broken)}", "stop what runs there and start again: emberlog up")
    addresses = services.addresses
    settings = with_redis(settings, addresses.redis_url)
    return Target(settings, addresses.kafka_bootstrap, addresses.postgres_dsn, f"running on {settings.data_dir}")
