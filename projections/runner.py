"""The runner of one view: reads its topics, folds, commits, for as long as it is left to.

    runner = ProjectionRunner(view, RunnerConfig(bootstrap, dsn))
    await runner.run(stop)              # returns when ``stop`` is set; raises PartitionsTaken, Fenced, LogTruncated

Several runners share a view, each with partitions of its own. A batch is what one look at the broker gives: ``max_records`` at
most, and no record waits for others longer than ``fetch_max_wait_ms``, so batches are large behind and small at the end.

Broker or database away: it pauses with growing backoff and goes on from its checkpoint. A promoted rebuild: it goes on with the
new generation. Tables of another version of the fold: it waits for their rebuild. Another runner of the same partitions: the
newcomer raises PartitionsTaken; if the database lost the first one's lock, the first raises Fenced and has written nothing since.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import structlog
from psycopg import AsyncConnection

from projections import generation, metrics
from projections.applier import Applier
from projections.errors import CatchUpTimeout, NotInstalled, OtherFold, PartitionsTaken, Promoted, is_outage
from projections.holding import hold
from projections.log_reader import BROKER_AWAY, KafkaLog, ReaderConfig, is_cancelled
from projections.owners import NO_OWNERS, Owners
from projections.progress import STALLED_S, Progress
from projections.records import Positions, TopicPartition
from projections.view import View
from schemas.sealing import NO_KEYS, Keys

log = structlog.get_logger(__name__)

OWNERSHIP_CHECK_S = 2.0
"""How often an idle runner looks whether the generation is still live and its own, and database and broker are there."""
TAKEOVER_S = 5.0
"""How long a newcomer tries to get its partitions: the connection of a killed runner goes a moment after it."""
REFUSED_PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class RunnerConfig:
    """Addresses and pace of the read side. ``dsn`` is a libpq address; times in seconds unless named otherwise."""

    bootstrap: str
    dsn: str
    max_records: int = 2_000
    fetch_max_wait_ms: int = 20
    poll_ms: int = 250
    backoff_first_s: float = 0.05
    backoff_max_s: float = 5.0
    owner_cache: int = 50_000
    stalled_s: float = STALLED_S
    keys: Keys = field(default=NO_KEYS, repr=False)
    owners: Owners = field(default=NO_OWNERS, repr=False)

    def reader(self) -> ReaderConfig:
        """How the runner reads its topics."""
        return ReaderConfig(self.bootstrap, self.fetch_max_wait_ms, poll_ms=self.poll_ms, max_records=self.max_records)

    def applier(self, view: View, schema: str, conn: AsyncConnection[Any], **how: Any) -> Applier:
        """A writer of one generation; ``how`` is for ``Applier``."""
        return Applier(view, schema, conn, owner_cache=self.owner_cache, keys=self.keys, owners=self.owners, **how)

    def bulk_reader(self) -> ReaderConfig:
        """How a rebuild reads: large fetches."""
        return replace(self.reader(), max_records=20_000, partition_bytes=8 * 1_048_576)


class ProjectionRunner:
    """Keeps the live generation of one view, or some ``partitions`` of it, up to its topics."""

    def __init__(self, view: View, config: RunnerConfig, partitions: Collection[int] | None = None) -> None:
        self.view = view
        every = range(max(source.partitions for source in view.sources))
        self.partitions = frozenset(every if partitions is None else partitions)
        self.applied: Positions = {}
        """Next offset of each partition, as committed."""
        self.generation: int | None = None
        self.progress = Progress(view, self.partitions)
        self._config = config
        self._id: UUID = uuid4()
        self._refused_at: float | None = None
        self.outdated = False
        """Whether it waits for a rebuild, as its tables are of another version of the fold."""
        self._moved = asyncio.Condition()

    async def run(self, stop: asyncio.Event) -> None:
        """Fold until ``stop`` is set. Raises PartitionsTaken, Fenced, LogTruncated; outages only pause it."""
        self.progress.starts(self._config.stalled_s)
        try:
            await self._run(stop)
        except BaseException as error:
            self.progress.stands_still("ended", type(error).__name__)
            raise
        self.progress.stands_still("ended", "it was stopped")

    async def _run(self, stop: asyncio.Event) -> None:
        pause = _Backoff(self._config.backoff_first_s, self._config.backoff_max_s)
        while not stop.is_set():
            try:
                async with self._session() as (applier, reader):
                    await self._follow(applier, reader, stop, pause)
            except Promoted:
                log.info("another generation is live, going on with it", view=self.view.name)
            except PartitionsTaken as error:
                await self._refused(error, stop)
            except OtherFold as error:
                await self._outdated(error, stop)
            except asyncio.CancelledError as error:
                if is_cancelled():
                    raise
                await self._paused(error, pause, stop)
            except (*BROKER_AWAY, psycopg.Error, NotInstalled, TimeoutError) as error:
                if isinstance(error, psycopg.Error) and not is_outage(error):
                    raise
                await self._paused(error, pause, stop)

    async def catch_up_to(self, target: Mapping[TopicPartition, int], timeout_s: float = 60.0) -> None:
        """Wait until the running runner has committed everything below ``target``. Raises CatchUpTimeout."""

        def there() -> bool:
            return all(self.applied.get(tp, -1) >= end for tp, end in target.items())

        try:
            async with self._moved:
                await asyncio.wait_for(self._moved.wait_for(there), timeout_s)
        except TimeoutError:
            raise CatchUpTimeout(f"view {self.view.name} did not reach its target within {timeout_s:g} s") from None

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[tuple[Applier, KafkaLog]]:
        """One connection each to database and broker, partitions held, positions loaded, reading from there."""
        async with await generation.connect(self._config.dsn) as conn:
            await hold(conn, self.view.name, self.partitions, self._id)
            self._refused_at = None
            live = await generation.live(conn, self.view.name)
            if live.fold_version != self.view.version:
                raise OtherFold(
                    f"the tables of view {self.view.name} are of version {live.fold_version} of its fold and this program has "
                    f"version {self.view.version}: run `emberlog rebuild {self.view.name}`"
                )
            applier = self._config.applier(
                self.view, live.schema, conn, runner=self._id, clears_kept=True, partitions=self.partitions
            )
            await applier.claim()
            self.generation, self.outdated = live.number, False
            async with KafkaLog(self._config.reader(), self.view.sources, self.partitions) as reader:
                await reader.seek(applier.positions)
                self.progress.begins(applier.positions, reader.known_ends())
                await self._publish(applier)
                yield applier, reader

    async def _follow(self, applier: Applier, reader: KafkaLog, stop: asyncio.Event, pause: _Backoff) -> None:
        progress, checked = self.progress, time.monotonic()
        while not stop.is_set():
            records = await reader.next()
            if records:
                progress.took(reader.times, reader.known_ends())
                await applier.apply(records)
                await self._publish(applier)
                checked = time.monotonic()
            elif time.monotonic() - checked > OWNERSHIP_CHECK_S:
                await applier.still_ours()
                await reader.look()
                await applier.settle(await reader.passed())
                await self._publish(applier)
                checked = time.monotonic()
            pause.reset()
            progress.applied(applier.positions, reader.times, reader.known_ends())

    async def _publish(self, applier: Applier) -> None:
        async with self._moved:
            self.applied = dict(applier.positions)
            self._moved.notify_all()

    async def _refused(self, error: PartitionsTaken, stop: asyncio.Event) -> None:
        """Wait a moment for a killed runner's connection to go; raise ``error`` once that took too long."""
        now = time.monotonic()
        self._refused_at = self._refused_at or now
        if now - self._refused_at > TAKEOVER_S:
            raise error
        self.progress.stands_still("waiting", "another runner has its partitions")
        await _sleep(stop, REFUSED_PAUSE_S * random.uniform(0.5, 1.5))  # noqa: S311

    async def _outdated(self, error: OtherFold, stop: asyncio.Event) -> None:
        """Wait for the rebuild that the operator has to ask for: the other views, and what rebuilds need, go on meanwhile."""
        if not self.outdated:
            log.error("the tables are of another version of the fold", view=self.view.name, what_to_do=str(error))
            self.outdated = True
        self.progress.stands_still("waiting", str(error))
        await _sleep(stop, OWNERSHIP_CHECK_S)

    async def _paused(self, error: BaseException, pause: _Backoff, stop: asyncio.Event) -> None:
        cause = "database" if isinstance(error, psycopg.Error | NotInstalled) else "broker"
        metrics.OUTAGES.labels(self.view.name, cause).inc()
        self.progress.stands_still("paused", f"the {cause} does not answer ({type(error).__name__})")
        seconds = pause.next()
        log.warning("paused", view=self.view.name, cause=cause, error=type(error).__name__, seconds=round(seconds, 3))
        await _sleep(stop, seconds)


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    """Until ``stop`` is set, at most ``seconds``."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


class _Backoff:
    """Pauses that double up to a limit, with jitter so that all views do not come back at the same moment."""

    def __init__(self, first_s: float, max_s: float) -> None:
        self._first, self._max = first_s, max_s
        self._next = first_s

    def next(self) -> float:
        seconds = self._next * random.uniform(0.7, 1.0)  # noqa: S311
        self._next = min(self._next * 2, self._max)
        return seconds

    def reset(self) -> None:
        self._next = self._first
