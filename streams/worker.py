"""A worker process: the Faust agents with what they share, until told to stop or until something fatal happens."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from streams import collector, kafka
from streams.agents.wiring import Agents
from streams.config import WorkerConfig
from streams.parking.lot import ParkingLot

log = structlog.get_logger(__name__)

STOP_TIMEOUT_S = 10.0


class WorkerFailed(RuntimeError):
    """The worker cannot go on; nothing unfinished was acknowledged, so a restart resumes without loss."""


async def run_worker(config: WorkerConfig, stop: asyncio.Event, on_ready: Callable[[], None] = lambda: None) -> None:
    """Run the agents of ``config`` until ``stop`` is set. ``on_ready`` is called once all have their partitions.

    Raises WorkerFailed where going on would be wrong: another decider took over, or an agent crashed.
    """
    fatal: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    def on_fatal(error: BaseException) -> None:
        log.error("fatal", error=type(error).__name__, at=_where(error))
        if not fatal.done():
            fatal.set_result(error)

    collector.tune()
    producer = kafka.producer(config.bootstrap, "worker")
    await producer.start()
    try:
        async with ParkingLot(config.bootstrap, config.topics, config.keys) as lot:
            agents = Agents(config, lot, producer, on_fatal)
            apps = agents.build()
            watches: list[asyncio.Task[None]] = []
            try:
                await asyncio.gather(*(app.start() for app in apps))
                watches += [asyncio.create_task(_watch(app, on_fatal)) for app in apps]
                await _until_stopped(agents, stop, fatal, on_ready)
            finally:
                for watch in watches:
                    watch.cancel()
                await agents.stop()
                for app in apps:
                    with contextlib.suppress(Exception):
                        async with asyncio.timeout(STOP_TIMEOUT_S):
                            await app.stop()
    finally:
        await producer.stop()
    if fatal.done():
        raise WorkerFailed(f"the worker stopped: {type(fatal.result()).__name__}") from fatal.result()


def _where(error: BaseException) -> list[str]:
    """The frames that led to ``error``, as file and line: an exception's own text may quote content."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames[-6:]]


async def _until_stopped(
    agents: Agents, stop: asyncio.Event, fatal: asyncio.Future[BaseException], on_ready: Callable[[], None]
) -> None:
    stopped: asyncio.Future[bool] = asyncio.create_task(stop.wait())
    ready: asyncio.Future[bool] = asyncio.create_task(agents.ready.wait())
    try:
        ends: list[asyncio.Future[Any]] = [stopped, fatal]
        await asyncio.wait([ready, *ends], return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            on_ready()
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        ready.cancel()


async def _watch(app: Any, on_fatal: Callable[[BaseException], None]) -> None:
    """Report a crash of a Faust application: left alone it would sit there and consume nothing."""
    await app._crashed.wait()
    on_fatal(app.crash_reason or RuntimeError("a Faust application crashed"))
