"""How much memory a command of this process takes, with the processes that it starts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psutil

EVERY_S = 0.5


@dataclass(slots=True)
class Peak:
    """The most resident memory that was seen at once, in MiB."""

    mib: float = 0.0


@asynccontextmanager
async def peak_of(command: str) -> AsyncIterator[Peak]:
    """Watches the children of this process that run ``emberlog COMMAND …``."""
    peak = Peak()

    async def watch() -> None:
        while True:
            peak.mib = max(peak.mib, await asyncio.to_thread(_resident, command) / 2**20)
            await asyncio.sleep(EVERY_S)

    task = asyncio.create_task(watch())
    try:
        yield peak
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _resident(command: str) -> int:
    total = 0
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if command in child.cmdline():
                total += sum(process.memory_info().rss for process in (child, *child.children(recursive=True)))
    return total
