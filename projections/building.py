"""One generation being filled beside the live one: read, compared, and made ready or live at the live one's exact position.

    async with exclusive(view, config) as conn, Build(view, config, conn, new.schema) as build:
        report = await build.compare(new)
        await build.leave(new, "ready")                  # or build.promote(new)

A build that is killed stands in state ``building``, rows and checkpoint in step: who goes on reads from its checkpoint.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.errors import LockNotAvailable

from projections import checkpoint, generation, hot_tier, tables
from projections.applier import Applier
from projections.bulk import Filled
from projections.digest import ViewDigest, view_digest
from projections.errors import CatchUpTimeout, RebuildRunning, WrongState
from projections.generation import Generation
from projections.log_reader import KafkaLog
from projections.records import Positions
from projections.runner import RunnerConfig
from projections.vectors import fitting
from projections.view import View

Progress = Callable[[int, int], None]
"""Called with offsets read and offsets to read."""

STALLED_S = 30.0
"""A log that gives nothing for so long although there should be more: CatchUpTimeout."""
COMPACTED_TRIES = 5
LOCK_PATIENCE_S = 5.0
"""How long the rebuild lock is waited for: the server may notice a little late that who had it was killed."""
LEFT = ("building", "ready", "kept")
"""States in which somebody may leave a generation and somebody else take it up."""
NOT_COMPARED = ViewDigest("", {})


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
    resumed: bool
    """Whether it went on with what another one had begun."""
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


@contextlib.asynccontextmanager
async def exclusive(view: View, config: RunnerConfig) -> AsyncIterator[AsyncConnection[Any]]:
    """A connection that holds the view's rebuild lock. Raises RebuildRunning where somebody else keeps it."""
    async with await generation.connect(config.dsn) as conn:
        await generation.upgrade(conn)
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while True:
            async with generation.rebuild_lock(conn, view.name) as ours:
                if ours:
                    yield conn
                    return
            if time.monotonic() > deadline:
                raise RebuildRunning(
                    f"somebody rebuilds, promotes, verifies or reindexes view {view.name} already: wait until that is done"
                )
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def held_back(conn: AsyncConnection[Any], live: Generation) -> AsyncIterator[None]:
    """A transaction in which the live writer is between two of its own.

    States change in one such only: a forgetting then meets each generation either as unfinished, which comes to it by itself, or
    as ready or kept, to which the live writer applies it.
    """
    async with conn.transaction():
        await conn.execute("SET LOCAL synchronous_commit = on")
        await conn.execute(f"LOCK TABLE {live.schema}.checkpoint IN SHARE ROW EXCLUSIVE MODE")
        yield


async def taken_up(conn: AsyncConnection[Any], found: Generation) -> Generation:
    """A generation that was left at some time, in state ``building`` again.

    One that was live, or is older than the live one, gets a new number: a number is live once at most. So a runner that missed
    two switches finds its generation gone and looks which is live; else it would take the old name for its own.

    Raises WrongState where a forgetting has dropped it since it was found.
    """
    live = await generation.live(conn, found.view)
    async with held_back(conn, live):
        if found not in await generation.in_state(conn, found.view, *LEFT):
            raise WrongState(
                f"generation {found.number} of view {found.view} has just been dropped, as it could not forget what is to be "
                f"forgotten: build one with `emberlog rebuild {found.view}`"
            )
        again = found if found.number > live.number else await generation.renumber(conn, found)
        await generation.mark(conn, again, "building")
    return again


class Build:
    """The generation in ``schema``, being filled record by record; ``filled`` says what was done in bulk before."""

    def __init__(
        self,
        view: View,
        config: RunnerConfig,
        conn: AsyncConnection[Any],
        schema: str,
        progress: Progress | None = None,
        filled: Filled | None = None,
    ) -> None:
        self._view, self._config, self._conn, self._schema = view, config, conn, schema
        self._progress, self._filled = progress, filled
        self._began = time.monotonic()
        self._stack = contextlib.AsyncExitStack()
        self._applier: Applier
        self._reader: KafkaLog
        self._live: Generation
        self._loaded = 0 if filled is None else filled.records.get(view.name, 0)
        self._resumed = False
        self._indexed = False

    async def __aenter__(self) -> Build:
        async with self._stack:
            self._live = await generation.live(self._conn, self._view.name)
            self._reader = await self._stack.enter_async_context(KafkaLog(self._config.bulk_reader(), self._view.sources))
            self._resumed = await self._goes_on()
            writer = await self._stack.enter_async_context(await generation.connect(self._config.dsn))
            self._applier = self._config.applier(self._view, self._schema, writer)
            await self._applier.claim()
            await self._reader.seek(self._applier.positions)
            self._stack = self._stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def _goes_on(self) -> bool:
        """Whether another one had begun."""
        if self._filled is not None:
            return self._filled.resumed and self._view.name in self._filled.positions
        return any((await checkpoint.positions(self._conn, self._schema)).values())

    async def compare(self, new: Generation | None) -> Report:
        """Bring the build to where the live tables stood at one moment, and compare both at that moment's positions.

        Where the live ones have read nothing yet, after their database was lost say, a new generation goes to the end of the
        topics, and there is nothing to compare with. Tables of another version of the fold are not compared either.
        """
        for _ in range(COMPACTED_TRIES):
            positions, live = await self._frozen_live()
            is_lost = new is not None and not any(positions.values())
            await self._read_to(await self._reader.ends() if is_lost else positions)
            await self._index()
            rebuilt = await view_digest(self._conn, self._view, self._schema)
            is_level = all(self._applier.positions[tp] == at for tp, at in positions.items())
            # further on they may agree: a compacted topic may have lost records below these positions to newer ones above, and
            # what a forgetting above them destroyed could still be read when the live tables took it in
            if not is_level or live.digest in (rebuilt.digest, "") or not await self._more(positions):
                break
            await asyncio.sleep(self._config.poll_ms / 1000)
        return Report(
            view=self._view.name,
            live_generation=self._live.number,
            new_generation=None if new is None else new.number,
            positions=dict(self._applier.positions),
            live=live if is_level else NOT_COMPARED,
            rebuilt=rebuilt,
            compared=is_level and self._live.fold_version == self._view.version,
            promoted=False,
            resumed=self._resumed,
            records=self._loaded + self._applier.applied,
            skipped=await self._skipped(),
            seconds=time.monotonic() - self._began + self._filling_s(),
            opening_seconds=self._applier.opening_s,
        )

    async def stand_at(self, positions: Positions, *, to_go_on: bool = False) -> int:
        """Fold up to ``positions`` and no further, indexes made; how many records.

        A slice that they cut is passed over for good, unless it is ``to_go_on`` from there.
        """
        await self._read_to(positions, settle=not to_go_on)
        await self._index()
        return self._loaded + self._applier.applied

    async def leave(self, new: Generation, state: str) -> None:
        """Give the build ``state`` at the exact position of the live tables: from there on these forget for it, too."""
        if state == "ready":
            await self._hot()
        async with self._level():
            await generation.mark(self._conn, new, state)

    async def promote(self, new: Generation, otherwise: str) -> int:
        """Make the build live, in one transaction; the records folded in all.

        Raises CatchUpTimeout where readers never let go; the build is left in state ``otherwise``.
        """
        await self._hot()
        for _ in range(generation.PROMOTE_ATTEMPTS):
            try:
                async with self._level():
                    await self._conn.execute(f"UPDATE {self._live.schema}.checkpoint SET retired = true")
                    await generation.lock_published(self._conn, self._view)
                    await generation.switch(self._conn, self._view, new)
                return self._loaded + self._applier.applied
            except LockNotAvailable:
                await asyncio.sleep(0.05)
        await self.leave(new, otherwise)
        raise CatchUpTimeout(f"readers of view {self._view.name} never let its names go: end long transactions and try again")

    @contextlib.asynccontextmanager
    async def _level(self) -> AsyncIterator[None]:
        """A transaction in which the live writer is held back and the build is where it stands."""
        # most of the way without holding anybody up
        await self._read_to(await checkpoint.positions(self._conn, self._live.schema))
        async with held_back(self._conn, self._live):
            await self._read_to(await checkpoint.positions(self._conn, self._live.schema))
            yield

    async def _frozen_live(self) -> tuple[Positions, ViewDigest]:
        async with self._conn.transaction():
            await self._conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            positions = await checkpoint.positions(self._conn, self._live.schema)
            if self._live.fold_version != self._view.version:  # the tables may be quite others
                return positions, NOT_COMPARED
            return positions, await view_digest(self._conn, self._view, self._live.schema)

    async def _read_to(self, target: Positions, *, settle: bool = True) -> None:
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
        if settle:
            await applier.settle(target)

    async def _index(self) -> None:
        """Make the secondary indexes, all of them or none, unless they are there: made by a loader, or before a kill."""
        if self._indexed:
            return
        self._indexed = True
        names = [f"{table.name}_{n}" for table in self._view.tables for n in range(len(table.indexes))]
        cursor = await self._conn.execute(
            "SELECT FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = 'i' AND relname = ANY(%s)",
            (self._schema, names),
        )
        if cursor.rowcount:
            return
        async with self._conn.transaction():
            for statement in await fitting(self._conn, tables.create_indexes(self._view, self._schema)):
                await self._conn.execute(statement)
        for table in self._view.tables:
            await self._conn.execute(f"ANALYZE {self._schema}.{table.name}")

    async def _hot(self) -> None:
        """The hot tier's index as of today, before anybody reads."""
        await hot_tier.renew(self._conn, self._view, self._schema, datetime.now(UTC))

    def _filling_s(self) -> float:
        """Of the whole pass, which other views may have had a part in."""
        return 0.0 if self._filled is None else self._filled.read_s + self._filled.fold_s + self._filled.index_s

    async def _more(self, positions: Positions) -> bool:
        ends = await self._reader.ends()
        return any(ends[tp] > at for tp, at in positions.items())

    async def _skipped(self) -> int:
        cursor = await self._conn.execute(f"SELECT count(*) FROM {self._schema}.view_problem")
        row = await cursor.fetchone()
        return 0 if row is None else int(row[0])
