"""The projector: the runners of the views, and what works beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Mapping, Sequence
from typing import Any, Protocol

import structlog

from ops.heartbeat import OnBeat, beating
from ops.keyring import keys_dsn, open_keys
from ops.keys import check_key
from ops.receipts import Receipts
from ops.settings import Settings
from ops.tombstones import replayed
from ops.view_settings import view_settings
from ops.wiring import ERASING, OnReady, redis_url, registered_schemas, runner_config, working_set_config
from projections.current_publisher import CurrentPublisher
from projections.hot_renewal import renewals
from projections.runner import ProjectionRunner, RunnerConfig
from projections.sqlite.follower import SqliteFollower
from projections.views import build_views
from projections.views.capture import CaptureView
from projections.working_set import NAME as WORKING_SET
from projections.working_set import WorkingSetRunner

log = structlog.get_logger(__name__)


class Beside(Protocol):
    """Work that goes with the runners and has no partition of its own."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set."""


async def run_projector(
    settings: Settings,
    bootstrap: str,
    dsn: str,
    names: Collection[str],
    stop: asyncio.Event,
    on_ready: OnReady,
    *,
    partitions: Collection[int] | None = None,
    on_beat: OnBeat | None = None,
) -> None:
    """Run a runner per named view, ``ERASING`` too, until ``stop`` is set; where one fails, all stop and its error is raised.

    Each has ``partitions`` of its view, all by default. ``on_beat`` is told every few seconds how they are.
    """
    async with registered_schemas(settings):
        config = view_settings(settings)
        await check_key(dsn, "audit", config.audit_key)
        async with open_keys(settings, dsn) as ring:
            views = build_views(config, [name for name in names if name not in (ERASING, WORKING_SET)])
            stalled_s = settings.stalled_s
            runners = [
                ProjectionRunner(view, runner_config(bootstrap, dsn, ring, stalled_s), partitions) for view in views.values()
            ]
            keys, first = keys_dsn(settings, dsn), list[ProjectionRunner]()
            beside: dict[str, Beside] = {}
            if ERASING in names:
                erasing = RunnerConfig(bootstrap=bootstrap, dsn=keys, stalled_s=stalled_s)
                first.append(ProjectionRunner(ring.erasing(settings.topics), erasing, partitions))
            # of the processes that share it, one is enough
            if ERASING in names and (partitions is None or 0 in partitions):
                days = settings.backup_retention_days
                beside["receipts"] = Receipts(bootstrap, dsn, keys, settings.topics, days, redis_url(settings))
            if "current" in views and (partitions is None or 0 in partitions):
                running = runner_config(bootstrap, dsn, ring, stalled_s)
                beside["publisher of current memories"] = CurrentPublisher(views["current"], settings.topics, running)
            if settings.capture_sqlite is not None and CaptureView.name in views and (partitions is None or 0 in partitions):
                reading = runner_config(bootstrap, dsn, ring, stalled_s).reader()
                beside["capture in SQLite"] = SqliteFollower(CaptureView(config), settings.capture_sqlite, reading, ring.keys)
            if partitions is None or 0 in partitions:
                beside |= {f"vector index of {name}": renewal for name, renewal in renewals(views, dsn).items()}
            working_set = working_set_config(settings, bootstrap, ring) if WORKING_SET in names else None
            if working_set is not None and (partitions is None or 0 in partitions):
                beside[WORKING_SET] = WorkingSetRunner(working_set)
            log.info("projector starts", views=[runner.view.name for runner in (*first, *runners)])
            destroyed = replayed(bootstrap, keys, settings.topics)
            async with beating([*first, *runners], stalled_s, on_beat):
                await _run_all(first, runners, destroyed, stop, on_ready, beside)


async def _run_all(
    first: Sequence[ProjectionRunner],
    runners: Sequence[ProjectionRunner],
    destroyed: Coroutine[Any, Any, None],
    stop: asyncio.Event,
    on_ready: OnReady,
    beside: Mapping[str, Beside],
) -> None:
    """Run ``first``, and the other ``runners`` once ``destroyed`` is done."""
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(destroyed)
        stopped = group.create_task(stop.wait())
        running = [group.create_task(runner.run(stop), name=runner.view.name) for runner in first]
        await asyncio.wait([waiting, stopped, *running], return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
        elif not stop.is_set():
            running += [group.create_task(runner.run(stop), name=runner.view.name) for runner in runners]
        running += [group.create_task(work.run(stop), name=name) for name, work in beside.items()]
        ready = group.create_task(_until_placed((*first, *runners), on_ready))
        await asyncio.wait([stopped, *running], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        stopped.cancel()
        for runner in running:
            if runner.done() and not stop.is_set() and (runner.cancelled() or runner.exception() is None):
                raise RuntimeError(f"{runner.get_name()} ended by itself")


async def _until_placed(runners: Sequence[ProjectionRunner], on_ready: OnReady) -> None:
    """Call ``on_ready`` once every runner has taken over its checkpoint and reads, or waits for a rebuild."""
    while not all(runner.applied or runner.outdated for runner in runners):  # noqa: ASYNC110 - the runners offer no event for it
        await asyncio.sleep(0.01)
    on_ready()
