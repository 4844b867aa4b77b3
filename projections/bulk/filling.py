"""Filling empty generations of many views in one pass over the topics: read and spill, fold bucket by bucket, finish.

A fill that ends too soon, by a kill too, is gone on with by the next one over the same builds, or some of them: from its second
stage on. What it had read lies in its folder then, and the builds say which of its buckets are in them.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from projections.bulk import finishing, manifest, resuming
from projections.bulk.binary import encoder
from projections.bulk.crew import Crew, crew_of
from projections.bulk.finishing import Loaded, finish
from projections.bulk.loading import connect
from projections.bulk.manifest import Manifest
from projections.bulk.plan import FOLD, READ, Build, Done, Filled, KeyStore, OpenKeys, OpenLog, Progress, Work, sources_of
from projections.bulk.reading import PartsLog
from projections.bulk.spill import buckets_for
from projections.folding import FoldingView
from projections.log_reader import KafkaLog
from projections.owners import NO_OWNERS
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

    In the folder ``spill`` one is made for sealed records, and removed at the end; so are those of fills that no build knows any
    more. With more than one of ``workers``, processes share the work and open the key store by ``open_keys`` (not needed
    where ``config`` has none). What a killed fill had read below ``until`` is not read again; else its tables are emptied first.
    It holds that an owner's records touch what is that owner's only, or that the view mends the rest.

    Raises NotEmpty, ValueError, LogTruncated, CatchUpTimeout, KeysUnavailable, outages of broker and database; the builds then
    stay marked as unfinished.
    """
    if workers > 1 and open_keys is None and (config.keys, config.owners) != (NO_KEYS, NO_OWNERS):
        raise ValueError("a key store cannot be sent to other processes: pass open_keys, or use one worker")
    left_out = {build.view.name: reason for build in builds if (reason := unfit(build)) is not None}
    fit = tuple(build for build in builds if build.view.name not in left_out)
    if not fit:
        return Filled({}, left_out, {}, 0.0, 0.0, 0.0, {})
    with connect(config.dsn) as conn:
        begun = _taken_up(conn, config, fit, until, spill, open_log)
        if begun is None:
            begun = _anew(conn, config, fit, until or await _ends(config, fit), spill, open_log)
        resuming.clear(conn, spill)
        with _files(conn, begun.work), crew_of(begun.work, KeyStore(config.keys, config.owners), workers, open_keys) as crew:
            loaded = await _loaded(conn, begun, crew, progress)
            return await _finished(conn, begun.work, loaded, left_out)


def unfit(build: Build) -> str | None:
    """Why a view cannot be filled; None where it can."""
    view = build.view
    if not isinstance(view, FoldingView):
        return "its fold does not work on rows in memory"
    if not view.bulk:
        return "its records cannot be told apart by owner"
    unknown = [table.name for table in view.tables if encoder(table) is None]
    return f"columns of {', '.join(unknown)} have types that cannot be loaded in bulk" if unknown else None


@dataclass(frozen=True, slots=True)
class _Begun:
    """A fill, and what is left to be done of it: where ``read`` is None, everything."""

    work: Work
    read: Done | None
    left: list[int]


def _taken_up(
    conn: psycopg.Connection[Any],
    config: RunnerConfig,
    builds: tuple[Build, ...],
    until: Positions | None,
    spill: Path,
    log: OpenLog,
) -> _Begun | None:
    stand = resuming.stand_of(conn, spill, builds, until)
    if stand is None:
        return None
    found = stand.manifest
    ends = {(topic, partition): at for topic, partition, at in found.until}
    work = Work(_bare(config), builds, ends, tuple(found.topics), stand.folder, found.buckets, found.fill, log, stand.failed)
    return _Begun(work, Done(found.done(), stand.failed), stand.left)


def _bare(config: RunnerConfig) -> RunnerConfig:
    """``config`` for other processes, which open the key store themselves."""
    return replace(config, keys=NO_KEYS, owners=NO_OWNERS)


def _anew(
    conn: psycopg.Connection[Any], config: RunnerConfig, builds: tuple[Build, ...], until: Positions, spill: Path, log: OpenLog
) -> _Begun:
    topics = tuple(sources_of(builds))
    ends = {tp: end for tp, end in until.items() if tp[0] in topics}
    id, buckets = uuid4(), buckets_for(sum(ends.values()))
    work = Work(_bare(config), builds, ends, topics, resuming.folder_of(spill, id), buckets, id, log)
    for build in builds:
        finishing.prepare(conn, build, work.fill)
    # after the builds name it: else another fill would take it for one that nobody knows
    work.folder.mkdir(parents=True, mode=0o700)
    return _Begun(work, None, list(range(buckets)))


async def _loaded(conn: psycopg.Connection[Any], begun: _Begun, crew: Crew, progress: Progress) -> Loaded:
    work, read, began = begun.work, begun.read, time.monotonic()
    if read is None:
        read = await crew.read(lambda done, total: progress(READ, done, total))
        finishing.note_read(conn, work.builds, work.fill)
        Manifest.of(work, read).write(work.folder)
    between = time.monotonic()
    before = work.buckets - len(begun.left)
    progress(FOLD, before, work.buckets)
    folded = await crew.fold(
        begun.left, lambda done, total: progress(FOLD, before + (work.buckets - before) * done // total, work.buckets)
    )
    return Loaded(read, folded, between - began, time.monotonic() - between, begun.read is not None)


async def _finished(conn: psycopg.Connection[Any], work: Work, loaded: Loaded, left_out: Mapping[str, str]) -> Filled:
    """On a thread; who stops it need not wait for an index."""
    whole = asyncio.ensure_future(asyncio.to_thread(finish, conn, work, loaded, left_out))
    try:
        return await asyncio.shield(whole)
    except asyncio.CancelledError:
        conn.cancel_safe()
        await asyncio.wait([whole])
        raise


async def _ends(config: RunnerConfig, builds: Iterable[Build]) -> Positions:
    sources: dict[str, Source] = {source.topic: source for build in builds for source in build.view.sources}
    async with KafkaLog(config.bulk_reader(), list(sources.values())) as reader:
        return await reader.ends()


@contextlib.contextmanager
def _files(conn: psycopg.Connection[Any], work: Work) -> Iterator[None]:
    """Remove the working files in the end, unless another fill can go on from them."""
    spill = work.folder.parent
    try:
        yield
    except BaseException:
        if not (work.folder / manifest.NAME).exists():
            shutil.rmtree(work.folder, ignore_errors=True)
        raise
    else:
        resuming.clear(conn, spill)
    finally:
        with contextlib.suppress(OSError):
            spill.rmdir()  # unless others are in it
