"""Rebuild and verify: fold a view from offset 0 into tables of its own and compare them with the live ones at equal positions.

    report = await verify(view, config)              # into a scratch schema that is dropped; the live view is not touched
    report = await rebuild(view, config)             # a new generation, promoted when the digests are equal

Readers and the running runner go on all the while. The runner notices a promotion at its next compare-and-set.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg.errors import LockNotAvailable

from projections import checkpoint, generation, tables
from projections.applier import Applier
from projections.digest import ViewDigest, view_digest
from projections.errors import CatchUpTimeout, DigestMismatch, RebuildRunning
from projections.generation import Generation
from projections.log_reader import KafkaLog
from projections.records import Positions
from projections.runner import RunnerConfig
from projections.view import View

Progress = Callable[[int, int], None]
"""Called with offsets read and offsets to read."""

STALLED_S = 30.0
"""A log that gives nothing for so long although there should be more: CatchUpTimeout."""
COMPACTED_TRIES = 5


@dataclass(frozen=True, slots=True)
class Report:
    """What a rebuild or verify found. ``positions`` are where both digests were taken; ``live_generation`` is that of before."""

    view: str
    live_generation: int
    new_generation: int | None
    positions: Positions
    live: ViewDigest
    rebuilt: ViewDigest
    compared: bool
    promoted: bool
    records: int
    skipped: int
    seconds: float
    opening_seconds: float
    """Of these on opening sealed values, keys fetched and unwrapped."""

    @property
    def equal(self) -> bool:
        """True where live and rebuilt tables hold the same rows."""
        return self.live.digest == self.rebuilt.digest

    @property
    def differing(self) -> list[str]:
        """Tables that differ."""
        return self.live.differing(self.rebuilt)


async def verify(view: View, config: RunnerConfig, *, progress: Progress | None = None) -> Report:
    """Rebuild into a scratch schema, compare, drop it. Never changes the live tables; look at ``report.equal``.

    Raises RebuildRunning, LogTruncated, NotInstalled, CatchUpTimeout.
    """
    async with _exclusive(view, config) as conn:
        schema = generation.scratch_of(view.name)
        await _drop_schema(conn, schema)
        try:
            async with conn.transaction():
                await generation.create_schema(conn, view, schema)
            async with _Build(view, config, conn, schema, progress) as build:
                return await build.compare(None)
        finally:
            with contextlib.suppress(LockNotAvailable):
                await _drop_schema(conn, schema)


async def rebuild(view: View, config: RunnerConfig, *, force: bool = False, progress: Progress | None = None) -> Report:
    """Rebuild into a new generation and promote it; the generation before is kept, older ones are dropped.

    Raises DigestMismatch, with the live tables left as they are, where the tables differ, unless ``force``: only for live tables
    that are known to be wrong. Tables of another version of the fold are not compared, they are meant to differ.
    Raises also RebuildRunning, LogTruncated, NotInstalled, CatchUpTimeout.
    """
    async with _exclusive(view, config) as conn:
        await generation.drop_unfinished(conn, view.name)
        async with conn.transaction():
            new = await generation.create(conn, view)
        try:
            async with _Build(view, config, conn, new.schema, progress) as build:
                report = await build.compare(new)
                if report.compared and not report.equal and not force:
                    raise DigestMismatch(
                        f"the rebuilt {view.name} differs from the live one in {', '.join(report.differing)} at equal positions; "
                        "the live tables were left alone. If they were tampered with or damaged, promote the rebuild with force"
                    )
                await build.promote(new)
        except BaseException:
            await generation.drop(conn, view.name, new.number)
            raise
        await generation.drop_old(conn, view.name)
        return report


@contextlib.asynccontextmanager
async def _exclusive(view: View, config: RunnerConfig) -> AsyncIterator[AsyncConnection[Any]]:
    """A connection that holds the view's rebuild lock."""
    async with await generation.connect(config.dsn) as conn, generation.rebuild_lock(conn, view.name) as ours:
        if not ours:
            raise RebuildRunning(f"somebody rebuilds or verifies view {view.name} already: wait until that is done")
        yield conn


async def _drop_schema(conn: AsyncConnection[Any], schema: str) -> None:
    await conn.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


class _Build:
    """One generation being filled beside the live one."""

    def __init__(
        self, view: View, config: RunnerConfig, conn: AsyncConnection[Any], schema: str, progress: Progress | None
    ) -> None:
        self._view, self._config, self._conn, self._schema = view, config, conn, schema
        self._progress = progress
        self._began = time.monotonic()
        self._stack = contextlib.AsyncExitStack()
        self._applier: Applier
        self._reader: KafkaLog
        self._live: Generation
        self._indexed = False

    async def __aenter__(self) -> _Build:
        async with self._stack:
            self._live = await generation.live(self._conn, self._view.name)
            writer = await self._stack.enter_async_context(await generation.connect(self._config.dsn))
            self._applier = self._config.applier(self._view, self._schema, writer)
            await self._applier.claim()
            self._reader = await self._stack.enter_async_context(KafkaLog(self._config.bulk_reader(), self._view.sources))
            await self._reader.seek(self._applier.positions)
            self._stack = self._stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def compare(self, new: Generation | None) -> Report:
        """Bring the build to where the live tables stood at one moment, and compare both at that moment's positions."""
        for _ in range(COMPACTED_TRIES):
            positions, live = await self._frozen_live()
            await self._read_to(positions)
            await self._index()
            rebuilt = await view_digest(self._conn, self._view, self._schema)
            # further on they may agree: a compacted topic may have lost records below these positions to newer ones above, and
            # what a forgetting above them destroyed could still be read when the live tables took it in
            if live.digest in (rebuilt.digest, "") or not await self._more(positions):
                break
            await asyncio.sleep(self._config.poll_ms / 1000)
        return Report(
            view=self._view.name,
            live_generation=self._live.number,
            new_generation=None if new is None else new.number,
            positions=positions,
            live=live,
            rebuilt=rebuilt,
            compared=self._live.fold_version == self._view.version,
            promoted=new is not None,
            records=self._applier.applied,
            skipped=await self._skipped(),
            seconds=time.monotonic() - self._began,
            opening_seconds=self._applier.opening_s,
        )

    async def promote(self, new: Generation) -> None:
        """Switch generations in one transaction: live writer held back, build brought to its exact position, names re-pointed."""
        for _ in range(generation.PROMOTE_ATTEMPTS):
            # most of the way without holding anybody up
            await self._read_to(await checkpoint.positions(self._conn, self._live.schema))
            try:
                async with self._conn.transaction():
                    await self._conn.execute("SET LOCAL synchronous_commit = on")
                    await self._conn.execute(f"LOCK TABLE {self._live.schema}.checkpoint IN SHARE ROW EXCLUSIVE MODE")
                    await self._conn.execute(f"UPDATE {self._live.schema}.checkpoint SET retired = true")
                    await self._read_to(await checkpoint.positions(self._conn, self._live.schema))
                    await generation.lock_published(self._conn, self._view)
                    await generation.switch(self._conn, self._view, new)
                return
            except LockNotAvailable:
                await asyncio.sleep(0.05)
        raise CatchUpTimeout(f"readers of view {self._view.name} never let its names go: end long transactions and try again")

    async def _frozen_live(self) -> tuple[Positions, ViewDigest]:
        async with self._conn.transaction():
            await self._conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            positions = await checkpoint.positions(self._conn, self._live.schema)
            if self._live.fold_version != self._view.version:  # the tables may be quite others
                return positions, ViewDigest("", {})
            return positions, await view_digest(self._conn, self._view, self._live.schema)

    async def _read_to(self, target: Positions) -> None:
        """Fold everything below ``target`` and nothing at or above it."""
        applier, last_move = self._applier, time.monotonic()
        start = sum(applier.positions.values())
        total = sum(target.values()) - start
        while True:
            at = await self._reader.positions()
            if all(at[tp] >= end for tp, end in target.items()):
                break
            records = await self._reader.next_below(target)
            if records:
                await applier.apply(records)
                last_move = time.monotonic()
                if self._progress is not None:
                    self._progress(sum(applier.positions.values()) - start, total)
            elif await self._reader.positions() != at:
                last_move = time.monotonic()
            elif time.monotonic() - last_move > STALLED_S:
                raise CatchUpTimeout(f"the log gave nothing for {STALLED_S:g} s before the live view's position was reached")
        await applier.settle(target)

    async def _index(self) -> None:
        if not self._indexed:
            async with self._conn.transaction():
                for statement in tables.create_indexes(self._view, self._schema):
                    await self._conn.execute(statement)
            for table in self._view.tables:
                await self._conn.execute(f"ANALYZE {self._schema}.{table.name}")
            self._indexed = True

    async def _more(self, positions: Positions) -> bool:
        ends = await self._reader.ends()
        return any(ends[tp] > at for tp, at in positions.items())

    async def _skipped(self) -> int:
        cursor = await self._conn.execute(f"SELECT count(*) FROM {self._schema}.view_problem")
        row = await cursor.fetchone()
        return 0 if row is None else int(row[0])
