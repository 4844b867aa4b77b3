"""Start a service's process, know it again later, and stop it, never any other."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from ops.local.paths import LocalServicesError

SHIM = Path(__file__).with_name("shim.py")
SAME_START_S = 0.05
REAP_S = 5.0
_TICKS = os.sysconf("SC_CLK_TCK")
StopSteps = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class ProcessId:
    """A process, recognisable after its pid was given to another one.

    `started` is as `start_time` says; `marker` is a run of arguments that only this service's command line has: what it
    is, then the path of its data or configuration.
    """

    pid: int
    started: float
    marker: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ProcessId:
        return cls(pid=int(stored["pid"]), started=float(stored["started"]), marker=tuple(map(str, stored["marker"])))

    def find(self) -> psutil.Process | None:
        """The live process, or None when it ended or its pid now belongs to something else."""
        child = _children.get(self.pid)
        if child is not None and child.poll() is not None:
            return None
        try:
            process = psutil.Process(self.pid)
            if abs(start_time(process) - self.started) > SAME_START_S:
                return None
            if child is not None:
                return process  # not reaped yet, so its pid is its own; its arguments change while it starts
            if process.status() == psutil.STATUS_ZOMBIE or not _carries(process.cmdline(), self.marker):
                return None
        except psutil.Error:
            return None
        return process

    def alive(self) -> bool:
        return self.find() is not None


def start_time(process: psutil.Process) -> float:
    """When a process started, in seconds since the machine did: unlike a time of day it does not move when the clock is set.

    Where there is no /proc, seconds since the epoch. Raises psutil.Error when the process is gone.
    """
    try:
        # the name, in brackets, may hold anything: fields are counted behind it
        fields = Path(f"/proc/{process.pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[19]) / _TICKS
    except (OSError, IndexError):
        return process.create_time()


def _carries(command_line: Sequence[str], marker: tuple[str, ...]) -> bool:
    # The path alone is not enough: an editor or a pager may have it open. A program may have moved: its name counts.
    for start in range(len(command_line) - len(marker) + 1):
        name, *rest = command_line[start : start + len(marker)]
        if name.rsplit("/", 1)[-1] == marker[0] and tuple(rest) == marker[1:]:
            return True
    return False


def find_by_marker(marker: tuple[str, ...]) -> list[ProcessId]:
    """Every live process whose arguments contain `marker`: what a killed run left without a record."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        info = process.info
        if _carries(info["cmdline"] or (), marker) and info["status"] != psutil.STATUS_ZOMBIE:
            with contextlib.suppress(psutil.Error):
                found.append(ProcessId(process.pid, start_time(process), marker))
    return found


# Kept so that an ended child is reaped, and so that a collected Popen does not warn of a process meant to live on.
_children: dict[int, subprocess.Popen[bytes]] = {}


class _Spawner:
    """One thread, alive as long as the program, that starts every child.

    Linux sends the parent-death signal when the *thread* that forked ends, so a worker thread of a pool must not fork.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._lock = threading.Lock()

    def run(self, work: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._thread is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._thread = threading.Thread(target=self._serve, name="emberlog-spawner", daemon=True)
                self._thread.start()
        done: Future[subprocess.Popen[bytes]] = Future()
        self._work.put((work, done))
        return done.result()

    def _serve(self) -> None:
        while True:
            work, done = self._work.get()
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)


_spawner = _Spawner()


def spawn(
    command: Sequence[str | Path],
    *,
    marker: tuple[str, ...],
    log: Path,
    cwd: Path,
    environment: Mapping[str, str],
    death_signal: int = 0,
    user: tuple[int, int] | None = None,
) -> ProcessId:
    """Start `command` in a session of its own, its output appended to `log`.

    `death_signal` is sent to it when this program dies (0: it outlives us); `user` is (uid, gid) to run as. Returns at
    once: readiness is the caller's question. Raises `LocalServicesError` when the program cannot be started.
    """
    uid, gid = user if user is not None else (-1, -1)
    head: list[str | Path] = [sys.executable, "-I", "-S", SHIM, str(os.getpid()), str(int(death_signal))]
    arguments = [*head, str(uid), str(gid), *command]

    def start() -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            # A session of its own: Ctrl-C in the terminal is ours to answer, in order, not theirs.
            return subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=dict(environment),
                start_new_session=True,
            )

    try:
        child = _spawner.run(start)
        _children[child.pid] = child
        return ProcessId(child.pid, start_time(psutil.Process(child.pid)), marker)
    except (OSError, psutil.Error) as error:
        raise LocalServicesError(f"cannot start {command[0]}: {error}") from error


def wait_ended(process: ProcessId, deadline_s: float) -> bool:
    """True when the process has ended within `deadline_s` seconds (and was reaped, if it is our child)."""
    end = time.monotonic() + deadline_s
    while process.alive():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    _reap(process.pid)
    return True


def _reap(pid: int) -> None:
    """Take notice of a child's end, which may have come after it was last asked: nobody else does."""
    child = _children.pop(pid, None)
    if child is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(REAP_S)


def send(process: ProcessId, signal_number: int) -> bool:
    """Send a signal to exactly this process; False when it is not there any more."""
    live = process.find()
    if live is None:
        return False
    try:
        live.send_signal(signal_number)  # psutil checks the pid's start time once more
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied as error:
        raise LocalServicesError(f"process {process.pid} belongs to another user; stop it as that user (or root)") from error
    return True


def stop(process: ProcessId, steps: StopSteps) -> None:
    """Send each (signal, seconds to wait) in turn until the process has ended.

    Raises `LocalServicesError` when it survives them all.
    """
    for signal_number, patience_s in steps:
        if not send(process, signal_number) or wait_ended(process, patience_s):
            _reap(process.pid)
            return
    raise LocalServicesError(f"process {process.pid} does not end, even when killed; look at it by hand")


def tail(path: Path, *, lines: int = 15) -> str:
    """The last lines of a log, for an error message."""
    try:
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"(no log: {error})"
