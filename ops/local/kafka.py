"""A real Apache Kafka broker (KRaft, one node, combined roles) as a child process on this machine."""

from __future__ import annotations

import base64
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from ops.local import jvm, process
from ops.local.kafka_check import answers_metadata, carries_a_record, connects
from ops.local.paths import LocalServicesError
from ops.local.process import ProcessId

HOST = "127.0.0.1"
LOG_ROTATE_BYTES = 16 * 1024 * 1024
STOP_STEPS: process.StopSteps = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0))
PORT_ATTEMPTS = 4

PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters=1@{host}:{controller_port}
log.dirs={log_dir}
auto.create.topics.enable=false
# One node: every internal topic has one replica, and few partitions, which are made at first use while a client waits.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
# One consumer, or all of them on this machine: nobody else is worth waiting for.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# After a kill the restarted broker registers only when the session of the killed one has ended.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
# What is purged from the inbox leaves the disk when the broker looks: the default is five minutes.
log.retention.check.interval.ms=30000
# The default buffer of the cleaner, 128 MB, is half of the heap.
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
num.recovery.threads.per.data.dir=2
metric.reporters=
"""


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the broker itself binds: connections of a killed one in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _cluster_id() -> str:
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if not text.startswith("-"):  # the storage tool would read it as an option
            return text


class EmbeddedKafka:
    """One broker over the folder `directory` (`server.properties`, `broker.log`, `log/`).

    `port` and `controller_port` are chosen at the first start and kept while they stay free. With `die_with_parent` the
    kernel asks the broker to end when this program dies. Methods raise `LocalServicesError` with the end of the broker's log.
    """

    def __init__(
        self,
        directory: Path,
        *,
        cache: Path | None = None,
        port: int = 0,
        controller_port: int = 0,
        running: ProcessId | None = None,
        die_with_parent: bool = True,
        broker_flags: Sequence[str] = (),
        tool_flags: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.port = port
        self.controller_port = controller_port
        self.process = running
        self.stop_steps = STOP_STEPS
        self._cache = cache
        self._death_signal = signal.SIGTERM if die_with_parent else 0
        self._broker_flags = tuple(broker_flags)
        self._tool_flags = tuple(tool_flags)

    @property
    def bootstrap(self) -> str:
        """`host:port` for clients."""
        return f"{HOST}:{self.port}"

    @property
    def config(self) -> Path:
        return self.directory / "server.properties"

    @property
    def log(self) -> Path:
        return self.directory / "broker.log"

    @property
    def marker(self) -> tuple[str, ...]:
        """The arguments by which this folder's broker is recognised among all processes."""
        return (jvm.BROKER_CLASS, str(self.config))

    def start(self, *, deadline_s: float = 60.0, on_spawn: Callable[[], None] | None = None) -> None:
        """Format the folder if it is new, start the broker, return when it answers a metadata request.

        `on_spawn` is called as soon as the process exists, so that its pid can be recorded before anything can go wrong.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)  # the inbox is plain text
        end = time.monotonic() + deadline_s
        for _ in range(PORT_ATTEMPTS):
            self._choose_ports()
            self._write_config(self.directory / "log")
            self._format()
            position = self._rotate_log()
            self.process = process.spawn(
                jvm.command(*self.marker, cache=self._cache, extra=self._broker_flags),
                marker=self.marker,
                log=self.log,
                cwd=self.directory,
                environment=jvm.environment(),
                death_signal=self._death_signal,
            )
            if on_spawn is not None:
                on_spawn()
            if self._wait_ready(end):
                return
            if not self._port_was_taken(position):
                break
            self.port = self.controller_port = 0  # lost a race for a free port: take others
        raise LocalServicesError(f"Kafka ended while starting; the end of {self.log}:\n{process.tail(self.log)}")

    def _choose_ports(self) -> None:
        if not self.port or not port_is_free(self.port):
            self.port = free_port()
        if not self.controller_port or self.controller_port == self.port or not port_is_free(self.controller_port):
            self.controller_port = free_port()

    def _write_config(self, log_dir: Path) -> None:
        text = PROPERTIES.format(
            host=HOST, port=self.port, controller_port=self.controller_port, log_dir=str(log_dir).replace("\\", "\\\\")
        )
        self.config.write_text(text, encoding="utf-8")

    def _format(self) -> None:
        final = self.directory / "log"
        if final.is_dir():
            return
        # Formatted beside its place and moved: a killed format leaves nothing that looks like a formatted folder.
        fresh = self.directory / "log.new"
        shutil.rmtree(fresh, ignore_errors=True)
        self._write_config(fresh)
        line = jvm.command(
            jvm.STORAGE_TOOL_CLASS, "format", "-t", _cluster_id(), "-c", str(self.config),
            cache=self._cache, extra=self._tool_flags,
        )  # fmt: skip
        done = subprocess.run(line, env=jvm.environment(), capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise LocalServicesError(f"Kafka cannot format {fresh}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        fresh.rename(final)
        self._write_config(final)

    def _rotate_log(self) -> int:
        size = self.log.stat().st_size if self.log.exists() else 0
        if size > LOG_ROTATE_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
            return 0
        return size

    def _port_was_taken(self, position: int) -> bool:
        with self.log.open("rb") as log:
            log.seek(position)
            return b"Address already in use" in log.read()

    def _wait_ready(self, end: float) -> bool:
        """True when it answers, False when it ended; raises when the deadline passes."""
        assert self.process is not None
        while time.monotonic() < end:
            if not self.process.alive():
                return False
            if connects(HOST, self.port) and self.healthy(deadline_s=min(5.0, max(0.1, end - time.monotonic()))):
                return True
            time.sleep(0.02)
        self.kill()
        raise LocalServicesError(
            f"Kafka did not answer in time and was stopped; the end of {self.log}:\n{process.tail(self.log)}"
        )

    def healthy(self, *, deadline_s: float = 5.0) -> bool:
        """Whether the broker answers a metadata request and counts itself among the live ones."""
        return bool(self.port) and connects(HOST, self.port) and answers_metadata(self.bootstrap, deadline_s=deadline_s)

    def exercise(self) -> None:
        """Make a topic, write and read one record: so that a class archive holds the classes of ordinary work."""
        if not carries_a_record(self.bootstrap):
            raise LocalServicesError(f"Kafka at {self.bootstrap} does not carry a record")

    def stop(self) -> None:
        """End the broker cleanly, by force after ten seconds. Nothing happens when it does not run."""
        if self.process is not None:
            process.stop(self.process, self.stop_steps)
            self.process = None

    def kill(self) -> None:
        """SIGKILL, as a crash would; returns when the process is gone. Ports and data stay as they are."""
        if self.process is not None:
            process.stop(self.process, ((signal.SIGKILL, 10.0),))
            self.process = None

    def restart(self, *, deadline_s: float = 60.0) -> None:
        """Start again over the same data on the same port (stopped cleanly first, if it runs)."""
        self.stop()
        port = self.port
        end = time.monotonic() + 5
        while port and not port_is_free(port) and time.monotonic() < end:
            time.sleep(0.02)
        self.start(deadline_s=deadline_s)
        if port and self.port != port:
            raise LocalServicesError(f"port {port} was taken by another program while Kafka was down")
