"""``emberlog`` commands as processes that start at once: forked by one that has imported everything, to be killed at will.

    async with forge() as forged:
        child = await forged.start(line, "rebuild", "--all")
        child.kill()

A start as from a shell costs seconds of a core for the imports alone. What runs here is a process of its own all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.cli.errors import CliError
from tests.line.support.line import Line, Result
from tests.line.support.process import ROOT

PR_SET_PDEATHSIG = 1
IMPORTED = (
    "ops.cli.main",
    "ops.cli.rebuilding",
    "ops.cli.commands.views",
    "ops.projecting",
    "ops.cli.serving",
    "projections.bulk",
)


@dataclass
class Child:
    """One command."""

    pid: int
    arguments: tuple[str, ...]
    folder: Path
    _code: asyncio.Future[int] = field(repr=False)

    @property
    def runs(self) -> bool:
        return not self._code.done()

    @property
    def said(self) -> Result:
        """What it has said so far, and its exit code, 0 while it runs."""
        code = self._code.result() if self._code.done() else 0
        out, err = ((self.folder / f"{self.pid}.{name}").read_text() for name in ("out", "err"))
        return Result(code, out, err)

    @property
    def trace(self) -> str:
        """Where the error was raised that it ended with, which an operator is not shown."""
        file = self.folder / f"{self.pid}.trace"
        return file.read_text() if file.exists() else ""

    async def kill(self) -> Result:
        """SIGKILL, unless it ended before; returns when it is gone."""
        self._signal(signal.SIGKILL)
        return await self.ended()

    async def stop(self) -> Result:
        """SIGTERM; returns when it is gone."""
        self._signal(signal.SIGTERM)
        return await self.ended()

    def _signal(self, number: signal.Signals) -> None:
        if self.runs:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def ended(self, deadline_s: float = 90.0) -> Result:
        """Wait for its end."""
        try:
            await asyncio.wait_for(asyncio.shield(self._code), deadline_s)
        except TimeoutError:
            said = self.said
            raise AssertionError(
                f"{self.arguments} did not end within {deadline_s:g} s: {said.out[-500:]} {said.err[-2000:]}"
            ) from None
        return self.said


class Forge:
    """Starts commands. Make one with ``forge``."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self._process, self._folder = process, folder
        self._begun: asyncio.Queue[int] = asyncio.Queue()
        self._codes: dict[int, asyncio.Future[int]] = {}

    def _code(self, pid: int) -> asyncio.Future[int]:
        return self._codes.setdefault(pid, asyncio.get_running_loop().create_future())

    async def listen(self) -> None:
        """Take in what the forking process says."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told: dict[str, Any] = json.loads(line)
            if "code" in told:
                self._code(told["pid"]).set_result(told["code"])
            else:
                self._begun.put_nowait(told["pid"])

    async def start(self, line: Line, *arguments: str) -> Child:
        """``emberlog ARGUMENTS`` on the line, at work."""
        assert self._process.stdin is not None
        told = {"arguments": arguments, "environment": line.environment, "folder": str(self._folder)}
        self._process.stdin.write(json.dumps(told).encode() + b"\n")
        await self._process.stdin.drain()
        async with asyncio.timeout(120):
            pid = await self._begun.get()
        return Child(pid, arguments, self._folder, self._code(pid))


@contextlib.asynccontextmanager
async def forge() -> AsyncIterator[Forge]:
    """A process with its imports done. What it started is killed at the end."""
    with tempfile.TemporaryDirectory(prefix="emberlog-forge-") as folder:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.rebuilding.forking"),
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "COLUMNS": "250", "NO_COLOR": "1"},
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        made = Forge(process, Path(folder))
        listening = asyncio.create_task(made.listen())
        try:
            yield made
        finally:
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()
            await listening


# -- in the forking process


def _tell(**what: Any) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def main() -> None:
    """Fork a child for each line on stdin; at its end kill those that are left."""
    for name in IMPORTED:
        importlib.import_module(name)
    running: set[int] = set()

    def reap(*_: object) -> None:
        for pid in list(running):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                running.discard(pid)
                _tell(pid=pid, code=os.waitstatus_to_exitcode(status))

    signal.signal(signal.SIGCHLD, reap)
    for line in sys.stdin:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            _become(json.loads(line))
        running.add(pid)
        _tell(pid=pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    for pid in list(running):
        os.kill(pid, signal.SIGKILL)


def _become(told: dict[str, Any]) -> None:
    """Run the command in this process, and end it."""
    from ops.cli.main import main as emberlog

    folder, pid = Path(told["folder"]), os.getpid()
    # of the parent's stdin, what it has read is of no interest
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{pid}.{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
    os.setsid()
    # nothing outlives the tests, even where the forking process is killed itself; elsewhere than on Linux there is no such call
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    os.environ.update(told["environment"])
    sys.argv = ["emberlog", *told["arguments"]]
    _keep_traces(folder / f"{pid}.trace")
    code = 0
    try:
        emberlog()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1 if end.code else 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _keep_traces(file: Path) -> None:
    main = importlib.import_module("ops.cli.main")
    explain: Callable[[BaseException], CliError | None] = main.explain

    def noted(error: BaseException) -> CliError | None:
        file.write_text("".join(traceback.format_exception(error)))
        return explain(error)

    vars(main)["explain"] = noted


if __name__ == "__main__":
    main()
