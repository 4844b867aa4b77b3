"""Emberlog's own processes (worker, projector, stand-in) as children of ``up`` and ``demo``.

A child has a session of its own, so that Ctrl-C reaches only the parent, which then stops all in order. Its stdin is a pipe from
the parent: the first line brings addresses and settings, and when the pipe ends the child stops by itself, so however the
parent dies, no child outlives it. It says that it is ready by making a file.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ops.cli.errors import CliError, TimedOut
from ops.cli.interrupts import check
from ops.cli.target import Target, target_line

POLL_S = 0.02
STOP_S = 15.0
LOG_LINES = 8


class Child:
    """One child process, started by the constructor; its stderr and stdout go to ``log``."""

    def __init__(self, name: str, module: str, arguments: Sequence[str], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.log = folder / f"{name}.log"
        self.ready_file = folder / f"{name}.ready"
        self.ready_file.unlink(missing_ok=True)
        own = ["--ready-file", str(self.ready_file), "--with-parent"]
        # -P: a folder called ops or schemas where the user happens to stand must not shadow ours
        command = [sys.executable, "-P", "-m", module, *arguments, *own]
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def ready(self) -> bool:
        return self.ready_file.exists()

    def ended(self) -> bool:
        """True when it is no longer running."""
        return self.process.poll() is not None

    def last_lines(self) -> str:
        """The end of what it logged in this run."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-LOG_LINES:])

    def send_target(self, target: Target) -> None:
        """Tell it addresses and settings; not by argument or environment, where others could read the secrets."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended: wait_ready says so, with its log
            self.process.stdin.write(target_line(target))
            self.process.stdin.flush()

    def ask_to_stop(self) -> None:
        if not self.ended():
            self.process.send_signal(signal.SIGTERM)

    def wait_ended(self, deadline: float) -> None:
        """Wait until ``deadline`` (monotonic), then kill."""
        try:
            self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        self.ready_file.unlink(missing_ok=True)


def wait_ready(children: Iterable[Child], timeout_s: float, on_ready: Callable[[Child], None] = lambda _: None) -> None:
    """Wait until every child is ready.

    Raises CliError with its last log lines when one ends, TimedOut after ``timeout_s``, Stopped when a signal comes.
    """
    waiting = list(children)
    deadline = time.monotonic() + timeout_s
    while waiting:
        check()
        for child in list(waiting):
            if child.ready:
                waiting.remove(child)
                on_ready(child)
            else:
                check_running([child])
        if waiting and time.monotonic() > deadline:
            names = ", ".join(child.name for child in waiting)
            raise TimedOut(f"{names} not ready after {timeout_s:.0f} s", f"its log: {waiting[0].log}\n{waiting[0].last_lines()}")
        if waiting:
            time.sleep(POLL_S)


def check_running(children: Iterable[Child]) -> None:
    """Raise CliError with the last log lines of a child that ended."""
    for child in children:
        if child.ended():
            raise CliError(
                f"{child.name} ended with code {child.process.returncode}", f"its log: {child.log}\n{child.last_lines()}"
            )


def stop_all(children: Iterable[Child]) -> None:
    """Ask all to stop, wait, kill those that do not."""
    running = list(children)
    for child in running:
        child.ask_to_stop()
    deadline = time.monotonic() + STOP_S
    for child in running:
        child.wait_ended(deadline)
