"""Between Mem0's worker threads and the event loop.

Mem0's asynchronous class runs its synchronous parts by `asyncio.to_thread`. Whatever such a part needs from
the outside (model, embedding endpoint, projection) is asynchronous here: the thread hands a coroutine to the
loop and waits. When the call ends for any reason, so do its waits, and no thread stays behind in a model call
that nobody waits for.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

SPARE_THREADS = 8
"""Threads beside those of the calls in flight, for the loop's other uses of its default executor."""


class Bridge:
    """Runs coroutines of one call on its loop, from threads."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._pending: set[Future[Any]] = set()
        self._closed = False

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait in this thread. Raises CancelledError once closed."""
        with self._lock:
            if self._closed:
                coroutine.close()
                raise CancelledError
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
            self._pending.add(future)
        try:
            return future.result()
        finally:
            with self._lock:
                self._pending.discard(future)

    def close(self) -> None:
        """Cancel what is waiting, refuse what comes later. Called on the loop when the call ends."""
        with self._lock:
            self._closed = True
            pending = list(self._pending)
        for future in pending:
            future.cancel()


_installed: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, int] = weakref.WeakKeyDictionary()


def make_executor(in_flight: int) -> ThreadPoolExecutor:
    """A pool that `in_flight` Mem0 calls never have to wait for. Threads are made when first needed."""
    if in_flight < 1:
        raise ValueError("in_flight must be 1 or more")
    return ThreadPoolExecutor(in_flight + SPARE_THREADS, thread_name_prefix="emberlog-mem0")


def ensure_executor(in_flight: int) -> None:
    """Make sure that the running loop's default executor is wide enough for `in_flight` calls.

    Mem0 leaves no choice of executor: `asyncio.to_thread` uses the loop's default one, which has 6 threads
    on 2 cores, so that 6 stuck model calls would stop everything. The loop shuts it down when it ends
    (`asyncio.run` does). Extractors call this themselves.
    """
    loop = asyncio.get_running_loop()
    if _installed.get(loop, 0) < in_flight:
        loop.set_default_executor(make_executor(in_flight))
        _installed[loop] = in_flight
