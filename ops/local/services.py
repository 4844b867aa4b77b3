"""Kafka, PostgreSQL and Redis of one data folder: started together, reused while they run, cleaned up after a kill.

    services = LocalServices(Path(".emberlog"))
    addresses = services.start(on_step=print)
    ...
    services.close()        # ends what this object started; `stop()` ends what runs, whoever started it

The folder holds `services.json` (process ids with start times, ports), `services.lock`, `kafka/`, `postgres/`, `redis/` and
their logs. Sets with different folders know nothing of each other.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from ops.local import process
from ops.local.addresses import ServiceAddresses
from ops.local.jars import ensure_jars, jars_dir
from ops.local.jvm import archive_settled, ensure_archive
from ops.local.kafka import EmbeddedKafka
from ops.local.paths import LocalServicesError, cache_dir, default_data_dir, exclusive, write_atomically
from ops.local.postgres import EmbeddedPostgres
from ops.local.process import ProcessId, StopSteps
from ops.local.redis import MISSING, EmbeddedRedis, find_server

__all__ = ["LocalServices", "ServiceAddresses"]

STATE_VERSION = 1
OnStep = Callable[[str], None]


class _Service(Protocol):
    process: ProcessId | None
    stop_steps: StopSteps

    @property
    def marker(self) -> tuple[str, ...]: ...
    def healthy(self) -> bool: ...
    def start(self, *, deadline_s: float = ..., on_spawn: Callable[[], None] | None = ...) -> None: ...
    def stop(self) -> None: ...


def _silent(_: str) -> None:
    return None


class LocalServices:
    """The embedded services over `data_dir` (default: `EMBERLOG_DATA_DIR`, else `.emberlog` here).

    With `die_with_parent` (the default) services that this object starts end when this program is killed. Without `with_redis`,
    and where this machine has no program for it, there is none. `kafka`, `postgres` and `redis` are there for tests that kill
    and restart one of them.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        cache: Path | None = None,
        die_with_parent: bool = True,
        with_redis: bool = True,
    ) -> None:
        self.data_dir = (data_dir or default_data_dir()).expanduser().resolve()
        self._cache = cache or cache_dir()
        self._state_lock = threading.Lock()
        self.started_here: set[str] = set()
        self.kafka = EmbeddedKafka(self.data_dir / "kafka", cache=self._cache, die_with_parent=die_with_parent)
        self.postgres = EmbeddedPostgres(self.data_dir / "postgres", die_with_parent=die_with_parent)
        self.redis = EmbeddedRedis(self.data_dir / "redis", die_with_parent=die_with_parent)
        self._with_redis = with_redis

    @property
    def _services(self) -> dict[str, _Service]:
        """All that may run here, by name."""
        return {"kafka": self.kafka, "postgres": self.postgres, "redis": self.redis}

    @property
    def _wanted(self) -> set[str]:
        return set(self._services) if self._with_redis and find_server() is not None else {"kafka", "postgres"}

    @property
    def state_file(self) -> Path:
        return self.data_dir / "services.json"

    @property
    def addresses(self) -> ServiceAddresses:
        """Addresses of the running set; meaningful after `start`."""
        return ServiceAddresses(self.kafka.bootstrap, self.postgres.dsn, self.redis.url if "redis" in self._wanted else None)

    def start(self, *, on_step: OnStep = _silent, deadline_s: float = 60.0) -> ServiceAddresses:
        """Make all services answer: reuse each that does, end leftovers of a killed run, start what is missing.

        `on_step` gets one short line per step, from any thread. Two starts at once over one folder give one set. The
        jars are fetched first when the cache has none. Raises `LocalServicesError` when a service cannot be made to
        answer within `deadline_s` seconds; then nothing that this call started is left running.
        """
        if not jars_dir(self._cache).is_dir():
            on_step("fetching Kafka's jars, once")
        ensure_jars(self._cache)
        if not archive_settled(self._cache):
            on_step("preparing the broker's class archive, once")
        ensure_archive(self._cache)
        wanted = self._wanted
        if self._with_redis and "redis" not in wanted:
            on_step(MISSING)
        with self._locked():
            self._load()
            before = set(self.started_here)
            services = [(name, service) for name, service in self._services.items() if name in wanted]
            with ThreadPoolExecutor(len(services)) as pool:
                running = [pool.submit(self._bring_up, name, service, on_step, deadline_s) for name, service in services]
            failures = [error for job in running if (error := job.exception()) is not None]
            if failures:
                self._stop(self.started_here - before, _silent)
                raise failures[0]
        return self.addresses

    def _bring_up(self, name: str, service: _Service, on_step: OnStep, deadline_s: float) -> None:
        if service.process is not None and service.process.alive():
            if service.healthy():
                on_step(f"reusing {name}, which already runs (process {service.process.pid})")
                return
            on_step(f"{name} of an earlier run does not answer: ending process {service.process.pid}")
            service.stop()
        elif service.process is not None:
            on_step(f"{name}: an earlier run was killed, clearing what it left")
            service.process = None
        for stray in process.find_by_marker(service.marker):
            on_step(f"{name}: ending process {stray.pid}, left by a killed run")
            process.stop(stray, service.stop_steps)
        on_step(f"starting {name}")
        self.started_here.add(name)
        service.start(deadline_s=deadline_s, on_spawn=self._save)
        on_step(f"{name} is ready")

    def stop(self, *, on_step: OnStep = _silent) -> bool:
        """End what runs over this folder, whoever started it, and leftovers; False when there was nothing."""
        if not self.data_dir.is_dir():
            return False
        with self._locked():
            self._load()
            return self._stop(set(self._services), on_step)

    def close(self) -> None:
        """End what this object started; services that it found running stay."""
        if self.started_here:
            with self._locked():
                self._load()
                self._stop(set(self.started_here), _silent)

    def _stop(self, names: set[str], on_step: OnStep) -> bool:
        found = False
        for name in sorted(names):
            service = self._services[name]
            if service.process is None:
                service.process = next(iter(process.find_by_marker(service.marker)), None)
            if service.process is not None and service.process.alive():
                on_step(f"stopping {name}")
                found = True
                process.stop(service.process, service.stop_steps)
            service.process = None
            self.started_here.discard(name)
        self._save()
        return found

    def status(self) -> dict[str, str]:
        """`kafka`, `postgres` and `redis` (where it is wanted) → `healthy`, `not answering` or `stopped`, as others find them."""
        self._load()
        answer, wanted = {}, self._wanted
        for name, service in self._services.items():
            if name not in wanted:
                continue
            alive = service.process is not None and service.process.alive()
            answer[name] = ("healthy" if service.healthy() else "not answering") if alive else "stopped"
        return answer

    def destroy(self) -> None:
        """Stop everything and delete the data folder. For tests: there is no way back."""
        self.stop()
        self.postgres.remove()
        self.redis.remove()
        shutil.rmtree(self.data_dir, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _locked(self) -> Any:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LocalServicesError(f"cannot make the data folder {self.data_dir}: {error}") from error
        return exclusive(self.data_dir / "services.lock")

    def _load(self) -> None:
        """Take over what the state file says of services that we do not already know to be alive."""
        try:
            state = json.loads(self.state_file.read_text(encoding="utf-8"))
            recorded = {name: ProcessId.from_json(entry) for name, entry in state["processes"].items()}
            ports = int(state["kafka_port"]), int(state["kafka_controller_port"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return  # cut off or foreign: running processes are still found by their arguments
        if self.kafka.process is None or not self.kafka.process.alive():
            self.kafka.process = recorded.get("kafka")
            self.kafka.port, self.kafka.controller_port = ports
        for name, service in self._services.items():
            if name != "kafka" and (service.process is None or not service.process.alive()):
                service.process = recorded.get(name)

    def _save(self) -> None:
        with self._state_lock:
            known = {name: service.process for name, service in self._services.items()}
            state = {
                "version": STATE_VERSION,
                "processes": {name: found.as_json() for name, found in known.items() if found is not None},
                "kafka_port": self.kafka.port,
                "kafka_controller_port": self.kafka.controller_port,
            }
            write_atomically(self.state_file, json.dumps(state, indent=2) + "\n")
