"""A running set: services, topics and tables, worker and projector, started together and stopped in order.

    with RunningSet(settings, say=print) as running:
        running.watch()            # returns never; raises CliError when a part ends

Heavy imports of the children overlap with the start of broker and database: a child gets the addresses when they are known.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ops.cli.children import Child, check_running, stop_all, wait_ready
from ops.cli.errors import CliError
from ops.cli.interrupts import check
from ops.cli.target import Target, external, uses_own_services, with_redis
from ops.settings import Settings

if TYPE_CHECKING:
    from ops.local.services import LocalServices

READY_S = 90.0
WATCH_S = 0.2
Say = Callable[[str], None]


class RunningSet:
    """Everything that ``emberlog up`` runs, with ``settings`` and over their data folder. ``say`` gets a line per step."""

    def __init__(self, settings: Settings, say: Say, meanwhile: Callable[[], object] = lambda: None) -> None:
        """``meanwhile`` is called while worker and projector get ready."""
        self.settings, self._say, self._meanwhile = settings, say, meanwhile
        self._children: list[Child] = []
        self._services: LocalServices | None = None
        self._target: Target | None = None
        self._lock: int | None = None

    @property
    def target(self) -> Target:
        """Addresses; meaningful once started."""
        assert self._target is not None
        return self._target

    def child(self, name: str) -> Child:
        """The child process of this name."""
        return next(c for c in self._children if c.name == name)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _start(self) -> None:
        own = uses_own_services(self.settings)
        self.settings.data_dir.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        logs = self.settings.data_dir / "logs"
        for name, arguments in (("worker", ["worker"]), ("projector", ["project"])):
            self._children.append(Child(name, "ops.cli.main", arguments, logs))
        self._target = external(self.settings) if own else self._embedded()
        check()
        self._say("creating topics and tables")
        self._set_up()
        check()
        for child in self._children:
            child.send_target(self.target)
        self._say("starting worker and projector")
        self._meanwhile()
        wait_ready(self._children, READY_S, lambda child: self._say(f"{child.name} is ready"))

    def _embedded(self) -> Target:
        from ops.local.services import LocalServices

        self._services = LocalServices(self.settings.data_dir, with_redis=self.settings.redis_url is None)
        addresses = self._services.start(on_step=self._say)
        settings = with_redis(self.settings, addresses.redis_url)
        return Target(settings, addresses.kafka_bootstrap, addresses.postgres_dsn, "embedded services")

    def _set_up(self) -> None:
        from ops.wiring_setup import set_up

        made = asyncio.run(set_up(self.settings, self.target.bootstrap, self.target.dsn))
        for line in made.advice:
            self._say(f"warning: {line}")

    def _take_lock(self) -> None:
        """One set per folder: two would take each other's views away."""
        path = self.settings.data_dir / "up.lock"
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = path.read_text().strip()
            raise CliError(
                f"Emberlog already runs on {self.settings.data_dir}" + (f" (process {holder})" if holder else ""),
                "use that one, stop it with Ctrl-C in its terminal, or give another folder with --data-dir",
            ) from None
        os.ftruncate(self._lock, 0)
        os.write(self._lock, str(os.getpid()).encode())

    def watch(self) -> None:
        """Return never; raises Stopped when a signal comes, CliError when a child ends by itself."""
        while True:
            check()
            check_running(self._children)
            time.sleep(WATCH_S)

    def stop(self) -> None:
        """Stop processes first, then the services that were started here. Data stays."""
        stop_all(self._children)
        self._children.clear()
        if self._services is not None:
            self._services.close()
            self._services = None
        if self._lock is not None:
            with suppress(OSError):
                os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None


def is_running(data_dir: Path) -> bool:
    """True while a RunningSet holds this folder."""
    try:
        handle = os.open(data_dir / "up.lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def folder_of(settings: Settings) -> Path:
    """The data folder as a person would type it."""
    with suppress(ValueError):
        return settings.data_dir.resolve().relative_to(Path.cwd())
    return settings.data_dir
