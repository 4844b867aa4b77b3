"""How fast all Postgres views are made anew from the log: events per second, memory, and beside it the same rows by other ways.

The history is sealed under a real key store and read from a real broker by processes that have no key yet. Vectors are loaded;
the HNSW index of the hot tier comes with a promotion, so its time stands apart (`hnsw_s`) and is in no ratio. `copy`: the time
÷ that of raw binary COPY of the same final rows with the same keys and indexes. `temp_merge`, `rowwise` and `eventsourcing`:
the rate ÷ that of consumers that merge each batch from a temporary table, that upsert row by row, and that the `eventsourcing`
library runs; the last two are timed over a part of the history. `growth`: the time ÷ that for the first tenth of the events.
Equal rows are a condition. ``current`` stands on a topic: it is rebuilt by itself and in no other figure than `current_s`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks import rebuild_history, rebuild_rivals
from benchmarks.harness import AtLeast, AtMost, Failed, Goal, Progress, Report, main
from benchmarks.rebuild_eventsourcing import projected
from benchmarks.rebuild_history import History
from benchmarks.rebuild_hnsw import hot_indexes
from benchmarks.rebuild_ours import Rebuilt, empty, rebuilt
from benchmarks.rebuild_part import read_part
from benchmarks.rebuild_rivals import Raw
from benchmarks.services import Services, running_services
from ops.keyring import open_keys
from ops.view_settings import view_settings
from ops.wiring import runner_config
from projections import generation
from projections.bulk import Build
from projections.digest import digested, table_digest, view_digest
from projections.records import Positions
from projections.tables import SERVICE_TABLES
from projections.view import View
from projections.views import build_views

GOALS: dict[str, Goal] = {
    "copy_ratio": AtMost(2.0),
    "temp_merge_ratio": AtLeast(1.0),
    "rowwise_ratio": AtLeast(10.0),
    "eventsourcing_ratio": AtLeast(10.0),
    "growth_ratio": AtMost(11.0),
    "rss_mib": AtMost(1024.0),
}
PART = 1_000
"""Events that the consumers are timed over that take one at a time; their rate does not depend on how many."""
SMALL_PART = 200
ON_A_TOPIC = "current"
"""The view whose store is no table."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, help="events of the history (default: 20000; --small: 2000)")
    parser.add_argument(
        "--part", type=int, help=f"of these for consumers that take one at a time (default: {PART}; --small: {SMALL_PART})"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that share the rebuild (default: 1)")
    parser.add_argument("--repeats", type=int, help="rebuilds, of which the median counts (default: 3; --small: 1)")


def measure(args: argparse.Namespace, progress: Progress) -> Report:
    """The rebuild, then the others."""
    events = args.events or (2_000 if args.small else 20_000)
    part = min(events, args.part or (SMALL_PART if args.small else PART))
    repeats = args.repeats or (1 if args.small else 3)
    with running_services(progress) as services:
        views = build_views(view_settings(services.target.settings))
        current = views.pop(ON_A_TOPIC)
        bench = _Benchmark(services, list(views.values()), current, progress, args.workers, repeats)
        return asyncio.run(bench.measured(events, part))


@dataclass(frozen=True, slots=True)
class Others:
    """Seconds of the consumers: of (b) for the whole history, of (c) and (d) for so many events of it."""

    merged_s: float
    part: int
    eventsourcing_s: float
    rowwise_s: float


@dataclass(frozen=True, slots=True)
class _Benchmark:
    services: Services
    views: Sequence[View]
    current: View
    progress: Progress
    workers: int
    repeats: int

    async def measured(self, events: int, part: int) -> Report:
        history = await History.begin(self.services, events)
        await history.grow(events // 10, self.progress)
        tenth, tenth_events = await self._rebuilds(), history.events
        await history.grow(events, self.progress)
        runs = await self._rebuilds()
        ours = [Build(view, runs[-1].schemas[view.name]) for view in self.views]
        self.progress.say("raw COPY of the same rows")
        raws = [await asyncio.to_thread(rebuild_rivals.raw_copy, self.services.dsn, ours) for _ in runs]
        others = await self._others(ours, runs[-1].until, part)
        self.progress.say("HNSW indexes")
        hnsw = await hot_indexes(self.services.dsn, ours)
        self.progress.say("the topic of current memories")
        apart = await rebuilt(self.services, [self.current], self.workers)
        sizes = {
            "events": history.events, "vectors": history.beside, "dimensions": rebuild_history.DIMENSIONS, "rows": raws[0].rows,
            "part": others.part, "workers": self.workers, "repeats": self.repeats, "views": [view.name for view in self.views],
            "mix": dict(rebuild_history.SHARES),
        }  # fmt: skip
        before = {"events": tenth_events, "seconds": _seconds(tenth), "rss_mib": max(run.rss_mib for run in tenth)}
        return report_of(sizes, runs, before, raws, others, {"hnsw_s": hnsw, "current_s": apart.seconds})

    async def _rebuilds(self) -> list[Rebuilt]:
        runs = []
        for number in range(self.repeats):
            self.progress.say(f"rebuild {number + 1}")
            runs.append(await rebuilt(self.services, self.views, self.workers))
        return runs

    async def _others(self, ours: Sequence[Build], until: Positions, events: int) -> Others:
        """Time the consumers. Raises Failed where their rows are others."""
        dsn = self.services.dsn
        async with open_keys(self.services.target.settings, dsn) as ring:
            config = runner_config(self.services.bootstrap, dsn, ring)
            self.progress.say("COPY to a temporary table and merge")
            merged = await empty(dsn, self.views, "merged")
            merged_s = await rebuild_rivals.temp_merge(config, merged, until)
            await self._must_equal(ours, merged)
            part = await read_part(config, self.views, self.services.topics, events)
            expected = await empty(dsn, self.views, "part")
            await rebuild_rivals.temp_merge(config, expected, part.until)
            self.progress.say("row by row")
            rowwise = await self._indexed(self.views, "rowwise")
            rowwise_s = await rebuild_rivals.row_by_row(config, rowwise, part)
            await self._must_equal_in_part(expected, rowwise)
        self.progress.say("the eventsourcing library's projection runner")
        library = await self._indexed(self.views, "library")
        eventsourcing_s = await projected(dsn, library, part)
        await self._must_equal_in_part(expected, library)
        return Others(merged_s, part.events, eventsourcing_s, rowwise_s)

    async def _indexed(self, views: Sequence[View], label: str) -> tuple[Build, ...]:
        builds = await empty(self.services.dsn, views, label)
        async with await generation.connect(self.services.dsn) as conn:
            for build in builds:
                await rebuild_rivals.index(conn, build)
        return builds

    async def _must_equal(self, ours: Sequence[Build], theirs: Sequence[Build]) -> None:
        async with await generation.connect(self.services.dsn) as conn:
            for build, other in zip(ours, theirs, strict=True):
                one, two = [await view_digest(conn, each.view, each.schema) for each in (build, other)]
                if one != two:
                    raise Failed(f"{build.view.name}: the rows differ in {', '.join(one.differing(two))}")

    async def _must_equal_in_part(self, expected: Sequence[Build], theirs: Sequence[Build]) -> None:
        """The views' own tables: these consumers judge no slices, so they note no owners' positions."""
        schemas = {build.view.name: build.schema for build in expected}
        async with await generation.connect(self.services.dsn) as conn, conn.transaction():
            for build in theirs:
                for table in digested(build.view):
                    if table in SERVICE_TABLES:
                        continue
                    one = await table_digest(conn, schemas[build.view.name], table)
                    if one != await table_digest(conn, build.schema, table):
                        raise Failed(f"{build.schema}: the rows of {table.name} differ")


def _seconds(runs: Sequence[Rebuilt]) -> float:
    return median(run.seconds for run in runs)


def report_of(
    sizes: Mapping[str, Any],
    runs: Sequence[Rebuilt],
    tenth: Mapping[str, float],
    raws: Sequence[Raw],
    others: Others,
    apart: Mapping[str, Any],
) -> Report:
    """Medians, and ratios of them. ``tenth`` is about the first tenth of them. Rates are of events; their vectors come along."""
    events, seconds = sizes["events"], _seconds(runs)
    run = sorted(runs, key=lambda each: each.seconds)[len(runs) // 2]
    raw = sorted(raws, key=lambda each: each.total)[len(raws) // 2]
    ratios = {
        "copy": seconds / raw.total,
        "temp_merge": others.merged_s / seconds,
        "rowwise": (events / seconds) / (others.part / others.rowwise_s),
        "eventsourcing": (events / seconds) / (others.part / others.eventsourcing_s),
        "growth": seconds / tenth["seconds"],
    }
    figures = {
        "events_per_s": events / seconds,
        "seconds": seconds,
        "cpu_us_per_event": 1e6 * run.cpu_s / events,
        "rss_mib": max(each.rss_mib for each in runs),
        **{f"{name}_ratio": value for name, value in ratios.items()},
        "stages_s": run.stages_s,
        "tenth": tenth,
        "others_s": {"raw_copy": raw.total, "temp_merge": others.merged_s},
        "others_events_per_s": {
            "temp_merge": events / others.merged_s,
            "rowwise": others.part / others.rowwise_s,
            "eventsourcing": others.part / others.eventsourcing_s,
        },
        "spread_s": {
            "lowest": min(each.seconds for each in runs), "highest": max(each.seconds for each in runs),
            "raw_lowest": min(each.total for each in raws), "raw_highest": max(each.total for each in raws),
        },
        **apart,
    }  # fmt: skip
    return Report(sizes, figures, ratios, GOALS)


if __name__ == "__main__":
    sys.exit(main("rebuild", __doc__, add_arguments, measure))
