"""Ctrl-C and SIGTERM of commands that run a set: one signal stops it in order, never in the middle of starting a service.

with handled():            # around the command: a signal raises Stopped, once
    with shielded():       # around what must not be torn: a signal waits for its end
        ...
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """SIGINT or SIGTERM came."""


class _State:
    depth = 0
    came = False
    raised = False


_state = _State()


def _on_signal(number: int, frame: FrameType | None) -> None:
    _state.came = True
    _raise_if_due()


def _raise_if_due() -> None:
    if _state.came and not _state.raised and _state.depth == 0:
        _state.raised = True  # what comes later finds us stopping already
        raise Stopped


@contextmanager
def handled() -> Iterator[None]:
    """Handle both signals while the block runs.

    By a function, not by ignoring them: children would inherit that, and a broker that ignores SIGTERM cannot be stopped.
    """
    _state.depth, _state.came, _state.raised = 0, False, False
    before = [signal.signal(number, _on_signal) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def shielded() -> Iterator[None]:
    """Let the block end before a signal stops us."""
    _state.depth += 1
    try:
        yield
    finally:
        _state.depth -= 1
    _raise_if_due()
