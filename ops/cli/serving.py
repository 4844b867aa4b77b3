"""The frame of a long-running process: stop signals, the parent's end, the ready file."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)
ORPHAN_GRACE_S = 20.0


def serve(
    work: Callable[[asyncio.Event, Callable[[], None]], Awaitable[None]], ready_file: Path | None, with_parent: bool
) -> None:
    """Run ``work(stop, on_ready)`` until SIGINT, SIGTERM or, ``with_parent``, the end of stdin sets ``stop``."""

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        if with_parent:
            _watch_parent(loop, stop)

        def on_ready() -> None:
            log.info("ready", pid=os.getpid())
            if ready_file is not None:
                ready_file.parent.mkdir(parents=True, exist_ok=True)
                ready_file.touch()

        try:
            await work(stop, on_ready)
        finally:
            if ready_file is not None:
                ready_file.unlink(missing_ok=True)  # noqa: ASYNC240 - one local call at the end

    asyncio.run(run())


def _watch_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Set ``stop`` when stdin ends, that is when the parent is gone; leave by force if the loop does not manage in time."""

    def watch() -> None:
        # not by sys.stdin: a thread that waits there holds its lock, on which the interpreter's end would die
        while os.read(sys.stdin.fileno(), 1024):
            pass
        try:
            loop.call_soon_threadsafe(stop.set)
        except RuntimeError:
            return  # the loop has ended already
        threading.Event().wait(ORPHAN_GRACE_S)
        os._exit(70)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
