"""Ending tasks."""

from __future__ import annotations

import asyncio
from typing import Any

AGAIN_S = 1.0


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel ``tasks`` and wait until they are done; what they raise is dropped.

    A cancellation can get lost: a task group of Python 3.11 whose member fails at the same moment raises the failure alone. So it
    is asked for again until it is heard.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_S)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # taken notice of, or asyncio would complain that nobody did
