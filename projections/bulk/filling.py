"""Filling empty generations of many views in one pass over the topics: read and spill, fold bucket by bucket, finish."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from projections.bulk import finishing
from projections.bulk.binary import encoder
from projections.bulk.crew import crew_of
from projections.bulk.finishing import Loaded, finish
from projections.bulk.loading import connect
from projections.bulk.plan import FOLD, READ, Build, Filled, OpenKeys, OpenLog, Progress, Work
from projections.bulk.reading import PartsLog
from projections.bulk.spill import buckets_for
from projections.folding import FoldingView
from projections.log_reader import KafkaLog
from projections.records import Positions, Source
from projections.runner import RunnerConfig
from schemas.sealing import NO_KEYS


async def fill(
    config: RunnerConfig,
    builds: Sequence[Build],
    until: Positions | None = None,
    *,
    workers: int = 1,
    spill: Path,
    progress: Progress = lambda stage, done, total: None,
    open_keys: OpenKeys | None = None,
    open_log: OpenLog = PartsLog,
) -> Filled:
    """Bring ``builds`` from nothing to ``until``, next offsets by topic and partition (default: the ends of the topics now).

    ``spill`` is a folder that is made, used for sealed records and removed. With more than one of ``workers``, processes share
    the work and open the keys by ``open_keys`` (not needed where ``config`` has none). A fill that was killed is begun anew over
    the same builds: its tables are emptied first. It holds that an owner's records name what is that owner's only.

    Raises NotEmpty, ValueError, LogTruncated, CatchUpTimeout, KeysUnavailable, outages of broker and database; the builds then
    stay marked as unfinished.
    """
    if workers > 1 and open_keys is None and config.keys is not NO_KEYS:
        raise ValueError("keys cannot be sent to other processes: pass open_keys, or use one worker")
    left_out = {build.view.name: reason for build in builds if (reason := unfit(build)) is not None}
    fit = tuple(build for build in builds if build.view.name not in left_out)
    if not fit:
        return Filled({}, left_out, {}, 0.0, 0.0, 0.0, {})
    topics = {source.topic for build in fit for source in build.view.sources}
    ends = {tp: end for tp, end in (until or await _ends(config, fit)).items() if tp[0] in topics}
    work = Work(replace(config, keys=NO_KEYS), fit, ends, spill, buckets_for(sum(ends.values())), uuid4(), open_log)
    with connect(config.dsn) as conn, _folder(spill):
        for build in fit:
            finishing.prepare(conn, build, work.fill)
        with crew_of(work, config.keys, workers, open_keys) as crew:
            began = time.monotonic()
            read = await crew.read(lambda done, total: progress(READ, done, total))
            between = time.monotonic()
            folded = await crew.fold(lambda done, total: progress(FOLD, done, total))
            loaded = Loaded(read, folded, between - began, time.monotonic() - between)
        return await asyncio.to_thread(finish, conn, work, loaded, left_out)


def unfit(build: Build) -> str | None:
    """Why a view cannot be filled; None where it can."""
    view = build.view
    if not isinstance(view, FoldingView):
        return "its fold does not work on rows in memory"
    if not view.bulk:
        return "its records cannot be told apart by owner"
    unknown = [table.name for table in view.tables if encoder(table) is None]
    return f"columns of {', '.join(unknown)} have types that cannot be loaded in bulk" if unknown else None


async def _ends(config: RunnerConfig, builds: Iterable[Build]) -> Positions:
    sources: dict[str, Source] = {source.topic: source for build in builds for source in build.view.sources}
    async with KafkaLog(config.bulk_reader(), list(sources.values())) as reader:
        return await reader.ends()


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[None]:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True, mode=0o700)
    try:
        yield
    finally:
        shutil.rmtree(path, ignore_errors=True)
