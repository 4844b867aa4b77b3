"""Emberlog's own rebuild of all Postgres views, in a process of its own, whose memory is then that of a rebuild alone.

Most views are filled together by ``projections.bulk``. Those that it does not take are built one after the other and record by
record by ``projections.rebuild``, as ``emberlog rebuild`` does it. HNSW indexes are built by both, and their time stands apart.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import psutil

from benchmarks.harness import Failed
from benchmarks.services import Services
from ops.keyring import open_keys
from ops.settings import Settings
from ops.view_settings import view_settings
from ops.wiring import runner_config
from projections import generation, rebuild
from projections.bulk import Build, Filled, KeyStore, fill
from projections.records import Positions
from projections.runner import RunnerConfig
from projections.view import View
from projections.views import build_views

SAMPLED_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Job:
    """What the process is to do; it can be pickled, as views cannot.

    ``schemas`` have the empty tables of the views that are filled together, by view; ``by_record`` are the others.
    """

    settings: Settings
    bootstrap: str
    dsn: str
    schemas: Mapping[str, str]
    by_record: tuple[str, ...]
    workers: int
    spill: Path


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """All views made anew, each in its schema, from the log up to ``until``.

    Seconds leave the HNSW indexes out, which a promotion makes. ``cpu_s`` is the processor time of the process and those that it
    started, without the database's: other work on the machine hardly changes it.
    """

    schemas: Mapping[str, str]
    until: Positions
    bulk_s: float
    by_record_s: Mapping[str, float]
    stages_s: Mapping[str, float]
    cpu_s: float
    rss_mib: float

    @property
    def seconds(self) -> float:
        """Of all views."""
        return self.bulk_s + sum(self.by_record_s.values())


def is_bulk(view: View) -> bool:
    """Whether the view is one of those that are filled together."""
    return bool(getattr(view, "bulk", False))


async def empty(dsn: str, views: Sequence[View], label: str) -> tuple[Build, ...]:
    """Tables of ``views`` that nobody has written to, in schemas of their own."""
    builds = tuple(Build(view, f"{view.name}_{label}") for view in views)
    async with await generation.connect(dsn) as conn, conn.transaction():
        for build in builds:
            await conn.execute(f"DROP SCHEMA IF EXISTS {build.schema} CASCADE".encode())
            await generation.create_schema(conn, build.view, build.schema)
    return builds


async def rebuilt(services: Services, views: Sequence[View], workers: int) -> Rebuilt:
    """Rebuild all ``views`` in a new process. What an earlier call built is gone then. Raises Failed."""
    builds = await empty(services.dsn, [view for view in views if is_bulk(view)], "rebuilt")
    schemas, by_record = {build.view.name: build.schema for build in builds}, tuple(v.name for v in views if not is_bulk(v))
    spill = services.folder / "spill"
    job = Job(services.target.settings, services.bootstrap, services.dsn, schemas, by_record, workers, spill)
    # spawned: a fork would begin with this process' memory
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, run, job)


def run(job: Job) -> Rebuilt:
    """Rebuild in this process. Raises Failed where a view could not be filled."""
    before = _cpu_s()
    with _memory() as most:
        schemas, filled, seconds, by_record_s = asyncio.run(_run(job))
    return Rebuilt(
        schemas=schemas,
        until={tp: end for positions in filled.positions.values() for tp, end in positions.items()},
        bulk_s=seconds,
        by_record_s=by_record_s,
        stages_s={"read": filled.read_s, "fold": filled.fold_s, "index": filled.index_s},
        cpu_s=_cpu_s() - before,
        rss_mib=most["mib"],
    )


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


async def _run(job: Job) -> tuple[dict[str, str], Filled, float, dict[str, float]]:
    views = build_views(view_settings(job.settings))
    builds = [Build(views[name], schema) for name, schema in job.schemas.items()]
    async with open_keys(job.settings, job.dsn) as ring:
        config = runner_config(job.bootstrap, job.dsn, ring)
        began = perf_counter()
        filled = await fill(config, builds, workers=job.workers, spill=job.spill, open_keys=partial(_keys, job.settings, job.dsn))
        seconds = perf_counter() - began
    if filled.left_out:
        raise Failed(f"views were left out: {', '.join(filled.left_out)}")
    schemas, by_record_s = dict(job.schemas), {}
    for name in job.by_record:
        # keys anew: each of these views begins with a cold cache, too
        async with open_keys(job.settings, job.dsn) as ring:
            began = perf_counter()
            schemas[name] = await _by_record(runner_config(job.bootstrap, job.dsn, ring), views[name])
            by_record_s[name] = perf_counter() - began
    return schemas, filled, seconds, by_record_s


async def _by_record(config: RunnerConfig, view: View) -> str:
    report = await rebuild.build(view, config, from_scratch=True)
    assert report.new_generation is not None
    return generation.schema_of(view.name, report.new_generation)


@asynccontextmanager
async def _keys(settings: Settings, dsn: str) -> AsyncIterator[KeyStore]:
    async with open_keys(settings, dsn) as ring:
        yield KeyStore(ring.keys, ring.directory)


@contextmanager
def _memory() -> Iterator[dict[str, float]]:
    """Samples the resident memory in MiB of this process and those that it started, until the block ends."""
    most, done, me = {"mib": 0.0}, threading.Event(), psutil.Process()

    def look() -> None:
        while not done.wait(SAMPLED_EVERY_S):
            size = 0
            for process in (me, *me.children(recursive=True)):
                try:
                    size += process.memory_info().rss
                except psutil.Error:
                    continue  # it ended while we looked
            most["mib"] = max(most["mib"], size / 2**20)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()
