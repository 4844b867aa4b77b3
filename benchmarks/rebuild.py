"""How fast all views are made anew from the log: events per second, memory, and beside it the same rows by other ways.

The history is sealed under a real key store and read from a real broker by processes that have no key yet. `copy`: the time ÷
that of raw binary COPY of the same final rows with the same keys and indexes. `temp_merge` and `rowwise`: the rate ÷ that of
consumers that merge each batch from a temporary table, and that upsert row by row (measured over a part of the history). Vectors
are loaded; there is no HNSW index yet, so none is built. Equal digests of the filled and the merged tables are a condition.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from time import perf_counter
from typing import Any

import psutil

from benchmarks import rebuild_history, rebuild_rivals
from benchmarks.harness import AtLeast, AtMost, Failed, Goal, Progress, Report, main
from benchmarks.services import Services, running_services
from ops.keyring import open_keys
from ops.settings import Settings
from ops.view_settings import view_settings
from ops.wiring import runner_config
from projections import generation, tables
from projections.bulk import Build, Filled, fill
from projections.digest import view_digest
from projections.view import View
from projections.views import build_views
from schemas.sealing import Keys

GOALS: dict[str, Goal] = {
    "copy_ratio": AtMost(2.0),
    "temp_merge_ratio": AtLeast(1.0),
    "rowwise_ratio": AtLeast(10.0),
    "rss_mib": AtMost(1024.0),
}
ROW_BY_ROW = 1_000
"""Events that the row-by-row consumer is timed over; its rate does not depend on how many."""
SAMPLED_EVERY_S = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, help="events of the history (default: 20000; --small: 5000)")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the rebuild (default: 1)")
    parser.add_argument("--repeats", type=int, help="rebuilds, of which the median counts (default: 3; --small: 1)")


def measure(args: argparse.Namespace, progress: Progress) -> Report:
    """The rebuild, then the others."""
    events = args.events or (5_000 if args.small else 20_000)
    repeats = args.repeats or (1 if args.small else 3)
    with running_services(progress) as services:
        return asyncio.run(_measure(services, events, args.workers, repeats, progress))


async def _measure(services: Services, events: int, workers: int, repeats: int, progress: Progress) -> Report:
    beside = await rebuild_history.write_history(services, events, progress)
    # those that are built record by record are no matter of the loader
    views = [view for view in build_views(view_settings(services.target.settings)).values() if getattr(view, "bulk", False)]
    runs = []
    for number in range(repeats):
        progress.say(f"rebuild {number + 1}")
        builds = await _empty(services.dsn, views, f"r{number}")
        runs.append((*await _rebuilt(services, builds, workers), builds))
        if runs[-1][1].left_out:
            raise Failed(f"views were left out: {', '.join(runs[-1][1].left_out)}")
    runs.sort(key=lambda run: run[0])
    seconds, filled, _, builds = runs[len(runs) // 2]
    progress.say("raw COPY of the same rows")
    raw = sorted([await asyncio.to_thread(rebuild_rivals.raw_copy, services.dsn, builds) for _ in range(repeats)])
    raw_s, rows = raw[len(raw) // 2]
    merged_s = await _merged(services, views, builds, filled, progress)
    rowwise_s, part = await _row_by_row(services, views, events, beside, progress)
    ratios = {
        "copy": seconds / raw_s,
        "temp_merge": merged_s / seconds,
        "rowwise": (events / seconds) / (part / rowwise_s),
    }
    missing = [] if importlib.util.find_spec("eventsourcing") else ["eventsourcing: the library is not among the dependencies"]
    return Report(
        sizes={
            "events": events, "vectors": beside, "dimensions": rebuild_history.DIMENSIONS, "rows": rows, "workers": workers,
            "repeats": repeats, "views": [view.name for view in views], "mix": dict(rebuild_history.SHARES),
        },
        figures={
            "events_per_s": events / seconds,
            "seconds": seconds,
            "rss_mib": max(run[2] for run in runs),
            **{f"{name}_ratio": value for name, value in ratios.items()},
            "stages_s": {"read": filled.read_s, "fold": filled.fold_s, "index": filled.index_s},
            "others_s": {"raw_copy": raw_s, "temp_merge": merged_s, "rowwise": rowwise_s * events / part},
            "spread_s": {"lowest": runs[0][0], "highest": runs[-1][0], "raw_lowest": raw[0][0], "raw_highest": raw[-1][0]},
            "hnsw_s": {},
            "not_measured": missing,
        },
        ratios=ratios,
        goals=GOALS,
    )  # fmt: skip


async def _empty(dsn: str, views: Sequence[View], label: str) -> list[Build]:
    builds = [Build(view, f"{view.name}_{label}") for view in views]
    async with await generation.connect(dsn) as conn, conn.transaction():
        for build in builds:
            await generation.create_schema(conn, build.view, build.schema)
    return builds


async def _rebuilt(services: Services, builds: Sequence[Build], workers: int) -> tuple[float, Filled, float]:
    """Seconds, what was filled, and the most memory in MiB of this process and those that it started for it."""
    settings, dsn = services.target.settings, services.dsn
    async with open_keys(settings, dsn) as ring:
        config = runner_config(services.bootstrap, dsn, ring)
        with _memory() as most:
            began = perf_counter()
            filled = await fill(
                config, builds, workers=workers, spill=Path(services.folder) / "spill", open_keys=partial(_keys, settings, dsn)
            )
            seconds = perf_counter() - began
    return seconds, filled, most["mib"]


@asynccontextmanager
async def _keys(settings: Settings, dsn: str) -> AsyncIterator[Keys]:
    async with open_keys(settings, dsn) as ring:
        yield ring.keys


@contextmanager
def _memory() -> Iterator[dict[str, float]]:
    """Samples the resident memory until the block ends."""
    most, done, me = {"mib": 0.0}, threading.Event(), psutil.Process()

    def look() -> None:
        while not done.wait(SAMPLED_EVERY_S):
            size = me.memory_info().rss
            for child in active_children():
                try:
                    size += psutil.Process(child.pid).memory_info().rss
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


async def _merged(services: Services, views: Sequence[View], filled: Sequence[Build], what: Filled, progress: Progress) -> float:
    """Seconds of the consumer that merges. Raises Failed where its rows are others."""
    progress.say("COPY to a temporary table and merge")
    builds = await _empty(services.dsn, views, "merged")
    until = {tp: end for positions in what.positions.values() for tp, end in positions.items()}
    async with open_keys(services.target.settings, services.dsn) as ring:
        config = runner_config(services.bootstrap, services.dsn, ring)
        seconds = await rebuild_rivals.temp_merge(config, builds, until)
    async with await generation.connect(services.dsn) as conn:
        for ours, theirs in zip(filled, builds, strict=True):
            one, other = [await view_digest(conn, build.view, build.schema) for build in (ours, theirs)]
            if one != other:
                raise Failed(f"{ours.view.name}: the rows differ in {', '.join(one.differing(other))}")
    return seconds


async def _row_by_row(
    services: Services, views: Sequence[View], events: int, beside: int, progress: Progress
) -> tuple[float, int]:
    """Seconds and events of the consumer that upserts row by row."""
    progress.say("row by row")
    part = min(events, ROW_BY_ROW)
    topics = services.topics
    records: Mapping[str, Any] = {topics.events: part, topics.embeddings: part * beside // events}
    builds = await _empty(services.dsn, views, "rowwise")
    async with open_keys(services.target.settings, services.dsn) as ring, await generation.connect(services.dsn) as conn:
        for build in builds:
            for statement in tables.create_indexes(build.view, build.schema, cluster=False):
                await conn.execute(statement.encode())
        config = runner_config(services.bootstrap, services.dsn, ring)
        return await rebuild_rivals.row_by_row(config, builds, records), part


if __name__ == "__main__":
    sys.exit(main("rebuild", __doc__, add_arguments, measure))
