"""Lanes: work runs in parallel across owners and in order within one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from streams import tasks

Job = Callable[[], Awaitable[None]]


class Lanes:
    """Runs jobs serially per key and in parallel across keys.

    At most ``max_waiting`` jobs are held; ``submit`` waits beyond that, which is the back-pressure on whoever reads the topic. A
    job must not raise: one that does ends the lanes through ``on_fatal``.
    """

    def __init__(self, max_waiting: int, on_fatal: Callable[[BaseException], None]) -> None:
        self._lanes: dict[str, deque[Job]] = {}
        self._room = asyncio.Semaphore(max_waiting)
        self._tasks: set[asyncio.Task[None]] = set()
        self._on_fatal = on_fatal

    async def submit(self, key: str, job: Job) -> None:
        """Queue ``job`` behind the other jobs of ``key``."""
        await self._room.acquire()
        lane = self._lanes.get(key)
        if lane is not None:
            lane.append(job)
            return
        self._lanes[key] = deque([job])
        task = asyncio.create_task(self._run(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, key: str) -> None:
        lane = self._lanes[key]
        try:
            while lane:
                await lane[0]()
                lane.popleft()
                self._room.release()
        except Exception as error:
            self._on_fatal(error)
        finally:
            del self._lanes[key]

    async def stop(self) -> None:
        """Cancel everything that runs or waits; unfinished work is delivered again later."""
        await tasks.end(*self._tasks)
