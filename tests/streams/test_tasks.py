"""Ending tasks."""

from __future__ import annotations

import asyncio

from streams import tasks


async def test_a_task_whose_cancellation_gets_lost_in_a_failing_task_group_ends_all_the_same() -> None:
    begun = asyncio.Event()
    rounds = 0

    async def fails_when_cancelled() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise OSError("the connection broke at the same moment") from None

    async def stubborn() -> None:
        nonlocal rounds
        while rounds < 3:
            rounds += 1
            begun.set()
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(fails_when_cancelled())
            except* OSError:
                pass  # begins again, as a runner does after an outage

    task = asyncio.create_task(stubborn())
    await begun.wait()
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await tasks.end(task)
    assert task.done()


async def test_ending_what_is_done_or_failed_is_harmless() -> None:
    async def fails() -> None:
        raise ValueError

    task = asyncio.create_task(fails())
    await asyncio.wait({task})
    await tasks.end(task)
