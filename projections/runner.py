"""The runner of one view: reads its topics, folds, commits, for as long as it is left to.

    runner = ProjectionRunner(view, RunnerConfig(bootstrap, dsn))
    await runner.run(stop)              # returns when ``stop`` is set; raises Fenced, LogTruncated, OtherFold

Broker or database away: it pauses with growing backoff and goes on from its checkpoint. A promoted rebuild: it goes on with the
new generation. Another runner of the same view: this one raises Fenced and has written nothing since.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import structlog
from psycopg import AsyncConnection

from projections import generation, metrics
from projections.applier import Applier
from projections.errors import CatchUpTimeout, NotInstalled, OtherFold, Promoted, is_outage
from projections.log_reader import BROKER_AWAY, KafkaLog, ReaderConfig, is_cancelled
from projections.owners import NO_OWNERS, Owners
from projections.records import Positions, TopicPartition
from projections.view import View
from schemas.sealing import NO_KEYS, Keys

log = structlog.get_logger(__name__)

OWNERSHIP_CHECK_S = 2.0
"""How often an idle runner looks whether the generation is still live and its own, and the database there."""


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
    keys: Keys = field(default=NO_KEYS, repr=False)
    owners: Owners = field(default=NO_OWNERS, repr=False)

    def reader(self) -> ReaderConfig:
        """How the runner reads its topics."""
        return ReaderConfig(self.bootstrap, self.fetch_max_wait_ms, self.poll_ms, self.max_records)

    def applier(self, view: View, schema: str, conn: AsyncConnection[Any], **how: Any) -> Applier:
        """A writer of one generation; ``how`` is for ``Applier``."""
        return Applier(view, schema, conn, owner_cache=self.owner_cache, keys=self.keys, owners=self.owners, **how)

    def bulk_reader(self) -> ReaderConfig:
        """How a rebuild reads: large fetches."""
        return replace(self.reader(), max_records=20_000, partition_bytes=8 * 1_048_576)


class ProjectionRunner:
    """Keeps the live generation of one view up to its topics."""

    def __init__(self, view: View, config: RunnerConfig) -> None:
        self.view = view
        self.applied: Positions = {}
        """Next offset of each partition, as committed."""
        self.generation: int | None = None
        self._config = config
        self._id: UUID = uuid4()
        self._claimed: set[int] = set()
        self._moved = asyncio.Condition()

    async def run(self, stop: asyncio.Event) -> None:
        """Fold until ``stop`` is set. Raises Fenced, LogTruncated, OtherFold; outages only pause it."""
        pause = _Backoff(self._config.backoff_first_s, self._config.backoff_max_s)
        while not stop.is_set():
            try:
                async with self._session() as (applier, reader):
                    await self._follow(applier, reader, stop, pause)
            except Promoted:
                log.info("another generation is live, going on with it", view=self.view.name)
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
        """One connection each to database and broker, positions loaded, reading from there."""
        async with await generation.connect(self._config.dsn) as conn:
            live = await generation.live(conn, self.view.name)
            if live.fold_version != self.view.version:
                raise OtherFold(
                    f"the tables of view {self.view.name} are of version {live.fold_version} of its fold and this program has "
                    f"version {self.view.version}: run `emberlog rebuild {self.view.name}`"
                )
            applier = self._config.applier(self.view, live.schema, conn, runner=self._id, clears_kept=True)
            # claimed once: coming back from an outage to a checkpoint that another runner took must end in Fenced
            await (applier.load() if live.number in self._claimed else applier.claim())
            self._claimed.add(live.number)
            self.generation = live.number
            async with KafkaLog(self._config.reader(), self.view.sources) as reader:
                await reader.seek(applier.positions)
                await self._publish(applier)
                yield applier, reader

    async def _follow(self, applier: Applier, reader: KafkaLog, stop: asyncio.Event, pause: _Backoff) -> None:
        lag, checked = metrics.LAG.labels(self.view.name), time.monotonic()
        while not stop.is_set():
            records = await reader.next()
            if records:
                await applier.apply(records)
                await self._publish(applier)
                checked = time.monotonic()
            elif time.monotonic() - checked > OWNERSHIP_CHECK_S:
                await applier.still_ours()
                checked = time.monotonic()
            pause.reset()
            lag.set(reader.lag())

    async def _publish(self, applier: Applier) -> None:
        async with self._moved:
            self.applied = dict(applier.positions)
            self._moved.notify_all()

    async def _paused(self, error: BaseException, pause: _Backoff, stop: asyncio.Event) -> None:
        cause = "database" if isinstance(error, psycopg.Error | NotInstalled) else "broker"
        metrics.OUTAGES.labels(self.view.name, cause).inc()
        seconds = pause.next()
        log.warning("paused", view=self.view.name, cause=cause, error=type(error).__name__, seconds=round(seconds, 3))
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
