"""Ctrl-C and SIGTERM of commands that run a set: noted when they come, acted on at the points that ask.

with handled():            # around the command
    check()                # raises Stopped, once, if a signal has come
    run(coroutine)         # as asyncio.run; a signal cancels it, and Stopped is raised
    ...

Nothing is raised from the signal handler itself. It may run inside any code, also where Python drops exceptions (a weak
reference's callback while a module is imported, a ``__del__``): a stop raised there is lost, and the set runs on for ever.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """SIGINT or SIGTERM came."""


class _State:
    came = False
    raised = False
    wake: Callable[[], object] | None = None


_state = _State()


def _on_signal(number: int, frame: FrameType | None) -> None:
    _state.came = True
    if _state.wake is not None:
        _state.wake()


@contextmanager
def handled() -> Iterator[None]:
    """Handle both signals while the block runs.

    By a function, not by ignoring them: children would inherit that, and a broker that ignores SIGTERM cannot be stopped.
    """
    _state.came, _state.raised, _state.wake = False, False, None
    before = [signal.signal(number, _on_signal) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


def check() -> None:
    """Raise Stopped if a signal has come; what comes later finds us stopping already."""
    if _state.came and not _state.raised:
        _state.raised = True
        raise Stopped


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` in an event loop of its own. A signal cancels it, which lets it clean up, and Stopped is raised."""
    try:
        return asyncio.run(_cancelled_by_signal(work))
    except asyncio.CancelledError:
        check()
        raise


async def _cancelled_by_signal(work: Coroutine[Any, Any, T]) -> T:
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    _state.wake = lambda: loop.call_soon_threadsafe(task.cancel)
    if _state.came:
        task.cancel()
    try:
        return await task
    finally:
        _state.wake = None
