"""Emberlog's processes, with what a test does to them: kill, pause, resume, stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from tests.line.support.waiting import until

STOP_S = 25.0
ROOT = Path(__file__).resolve().parents[3]


class EmberlogProcess:
    """One ``emberlog worker`` or ``emberlog project``. It waits, imports done, until ``go``.

    ``plain``: exactly the command that an operator types, at work at once, without a line from us.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        *,
        fault: str | None = None,
        plain: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name, self._plain = name, plain
        self.log_file, self.ready_file = folder / f"{name}.log", folder / f"{name}.ready"
        start = (
            ["-P", "-m", "ops.cli.main"] if plain else ["-m", "tests.line.support.launch", *(("--with", fault) if fault else ())]
        )
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *start, *arguments, "--ready-file", str(self.ready_file)],
                stdin=subprocess.DEVNULL if plain else subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
                cwd=ROOT,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self.process.poll()

    def log(self) -> str:
        """All that it logged."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def go(self, environment: Mapping[str, str]) -> None:
        """Begin to work, with this added to the environment."""
        if self._plain:
            return
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended: ``ready`` says so, with its log
            self.process.stdin.write(json.dumps(dict(environment)).encode() + b"\n")
            self.process.stdin.flush()

    async def ready(self, deadline_s: float = 60.0) -> None:
        """Wait until it has its partitions."""

        def there() -> bool:
            assert self.alive, f"{self.name} ended with {self.exit_code}:\n{self.log()[-3000:]}"
            return self.ready_file.exists()

        await until(there, lambda: f"{self.name} ready; its log ends\n{self.log()[-2000:]}", deadline_s)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self.process.kill()
        self._reap()

    def pause(self) -> None:
        """SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    async def tell_where(self) -> str:
        """What it is doing: the stacks of its threads and tasks, from its log."""
        before = len(self.log())
        if not self.alive:
            return f"{self.name} ended with {self.exit_code}: {self.log()[-1000:]}"
        self.process.send_signal(signal.SIGUSR1)
        await asyncio.sleep(1)
        used = psutil.Process(self.process.pid).cpu_percent(1.0)
        return f"{self.name} uses {used:.0f} % of a core\n{self.log()[before:]}"

    def close(self) -> None:
        """Stop it in order, by force after a while; nothing happens when it is gone."""
        if self.alive:
            self.resume()
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._reap()

    def _reap(self) -> None:
        self.process.wait()
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
