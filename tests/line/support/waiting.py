"""Waiting on conditions with deadlines."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

POLL_S = 0.05


async def until(condition: Callable[[], Any | Awaitable[Any]], what: str | Callable[[], str], deadline_s: float = 30.0) -> Any:
    """The condition's first true value. Fails with ``what`` when there is none in ``deadline_s`` seconds."""
    end = time.monotonic() + deadline_s
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s:g} s: {what() if callable(what) else what}")
        await asyncio.sleep(POLL_S)
