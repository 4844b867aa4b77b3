"""Installed by ``launch --with``: the process waits at one place of its code until it may go on, or is killed there.

A kill at a random moment seldom falls between two steps that follow each other at once; one at a place always does.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.line.support.line import Line
from tests.line.support.process import ROOT, EmberlogProcess

MODULE = "tests.line.support.held"
AT, FILE = "EMBERLOG_TEST_HELD_AT", "EMBERLOG_TEST_HELD_FILE"
POLL_S = 0.01


class Held:
    """One place, such as ``after 1 ops.keys.destroying:Destroyer.destroy_statements``: around the first call of a coroutine.

    ``folder`` is where the process and the test tell each other where they are.
    """

    def __init__(self, place: str, folder: Path) -> None:
        self._place, self._file = place, folder / "held"
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def environment(self) -> Mapping[str, str]:
        """For the process that is to wait."""
        return {AT: self._place, FILE: str(self._file)}

    @property
    def reached(self) -> bool:
        """Whether the process stands there."""
        return self._file.with_suffix(".reached").exists()

    def go(self) -> None:
        """Let it go on."""
        self._file.with_suffix(".go").touch()

    async def start(self, line: Line, kind: str) -> EmberlogProcess:
        """A worker or projector that will wait there, ready."""
        environment = {**line.environment, **self.environment}
        process = EmberlogProcess(f"held-{kind}-{uuid4().hex[:6]}", [kind], line.folder / "logs", environment, fault=MODULE)
        line.processes.append(process)
        line.go(process)
        await process.ready()
        return process

    async def run(self, line: Line, *arguments: str) -> Process:
        """An ``emberlog`` command that will wait there. It ends when its stdin is closed."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.line.support.launch", "--with", MODULE, *arguments),
            env={**os.environ, **line.environment, **self.environment},
            cwd=ROOT,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(b"{}\n")
        await process.stdin.drain()
        return process


async def _wait() -> None:
    file = Path(os.environ[FILE])
    file.with_suffix(".reached").touch()
    while not file.with_suffix(".go").exists():  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(POLL_S)


def install() -> None:
    """Make this process wait where its environment says."""
    when, number, place = os.environ[AT].split()
    module, _, path = place.partition(":")
    *outer, name = path.split(".")
    holder: Any = functools.reduce(getattr, outer, importlib.import_module(module))
    called, calls = getattr(holder, name), 0

    @functools.wraps(called)
    async def held(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        here = calls == int(number)
        if here and when == "before":
            await _wait()
        answer = await called(*arguments, **named)
        if here and when == "after":
            await _wait()
        return answer

    setattr(holder, name, held)
