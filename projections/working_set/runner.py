"""The runner of the working set: reads the log, folds, commits, and makes everything anew where Redis has lost it.

    runner = WorkingSetRunner(WorkingSetConfig(bootstrap, url, topics, keys))
    await runner.run(stop)              # returns when ``stop`` is set; raises Fenced

Broker, Redis or key store away: it pauses with growing backoff. Nothing that Redis does ends it, other than another runner.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from uuid import uuid4

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from projections import metrics
from projections.errors import CatchUpTimeout, LogTruncated
from projections.log_reader import BROKER_AWAY, KafkaLog, ReaderConfig, is_cancelled
from projections.records import Positions, TopicPartition
from projections.runner import _Backoff
from projections.working_set import aof
from projections.working_set.applier import NAME, Applier, Crowded, Folder, partitions_of, sources_of
from projections.working_set.store import Owner, StateLost, Store, building_ends, building_text, connect, prefix_of
from schemas.errors import KeysUnavailable
from schemas.sealing import NO_KEYS, Keys
from schemas.topics import Topics

log = structlog.get_logger(__name__)

REWRITE_EVERY_S = 10.0
"""The append-only file is written anew at most so often, however much is forgotten."""
LOOK_S = 1.0
"""How often a runner looks after owners to fill again, and whether the working set is still its own."""


@dataclass(frozen=True, slots=True)
class WorkingSetConfig:
    """Addresses and pace. ``url`` is a Redis address and may hold a password, ``ttl_s`` how long a focus buffer lives."""

    bootstrap: str
    url: str = field(repr=False)
    topics: Topics
    keys: Keys = field(default=NO_KEYS, repr=False)
    ttl_s: int = 172_800
    max_records: int = 2_000
    poll_ms: int = 250
    backoff_first_s: float = 0.05
    backoff_max_s: float = 5.0
    rewrite_every_s: float = REWRITE_EVERY_S

    def reader(self) -> ReaderConfig:
        """How the topics are read: in small portions, as each is a transaction, and takes memory of Redis while it is sent."""
        return ReaderConfig(self.bootstrap, poll_ms=self.poll_ms, max_records=self.max_records)


class WorkingSetRunner:
    """Keeps the working set up to its topics."""

    def __init__(self, config: WorkingSetConfig) -> None:
        self.applied: Positions = {}
        """Next offset of each partition, as committed; empty while it is made anew."""
        self._config = config
        self._sources = sources_of(config.topics)
        self._id, self._epoch = str(uuid4()), 0
        self._moved = asyncio.Condition()
        self._rewritten_at = -REWRITE_EVERY_S

    async def run(self, stop: asyncio.Event) -> None:
        """Fold until ``stop`` is set. Raises Fenced, and LogTruncated where the topics have lost their beginning."""
        pause = _Backoff(self._config.backoff_first_s, self._config.backoff_max_s)
        while not stop.is_set():
            try:
                async with self._session() as (store, applier):
                    await self._build(store, applier, stop)
                    if not stop.is_set():
                        await self._follow(store, applier, stop, pause)
            except StateLost:
                log.warning("the working set is not as it was left: going on from what is there", view=NAME)
                await self._paused("lost", None, pause, stop)
            except asyncio.CancelledError as error:
                if is_cancelled():
                    raise
                await self._paused("broker", error, pause, stop)
            except RedisError as error:
                await self._paused("redis", error, pause, stop)
            except (Crowded, KeysUnavailable) as error:
                await self._paused("keys" if isinstance(error, KeysUnavailable) else "redis", error, pause, stop)
            except (*BROKER_AWAY, TimeoutError) as error:
                await self._paused("broker", error, pause, stop)

    async def catch_up_to(self, target: Mapping[TopicPartition, int], timeout_s: float = 60.0) -> None:
        """Wait until the running runner has committed everything below ``target``. Raises CatchUpTimeout."""

        def there() -> bool:
            return all(self.applied.get(tp, -1) >= end for tp, end in target.items())

        try:
            async with self._moved:
                await asyncio.wait_for(self._moved.wait_for(there), timeout_s)
        except TimeoutError:
            raise CatchUpTimeout(f"the working set did not reach its target within {timeout_s:g} s") from None

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[tuple[Store, Applier]]:
        """One connection to Redis, the working set claimed (once: later another runner's claim must end in Fenced)."""
        config = self._config
        redis: Redis = connect(config.url)
        try:
            store = Store(redis, prefix_of(config.topics.prefix), config.ttl_s, self._id, self._epoch)
            await (store.resume() if self._epoch else store.claim())
            self._epoch = store.epoch
            yield store, Applier(store, config.topics, config.keys, await store.positions(partitions_of(self._sources)))
        finally:
            with contextlib.suppress(RedisError, OSError):
                await redis.aclose()

    async def _build(self, store: Store, applier: Applier, stop: asyncio.Event) -> None:
        """Read the log up to where it ended when that began, one topic after the other, unless that was done before."""
        text = await store.get("building")
        if not text:
            return
        await self._publish({})
        if text == "anew":
            await store.wipe()
            async with KafkaLog(self._config.reader(), self._sources) as reader:
                text = building_text(await reader.ends())
            await store.set("building", text)
        begun, target = time.monotonic(), building_ends(text)
        for source in self._sources:
            async with KafkaLog(self._config.reader(), [source]) as reader:
                await self._seek(store, applier, reader)
                while any(applier.positions[tp] < target.get(tp, 0) for tp in partitions_of([source])):
                    if stop.is_set():
                        return
                    await applier.apply(await reader.next())
        # what was there before stands in the file still
        await store.set("rewrite", "made anew")
        await store.set("building", "")
        log.info("the working set was made from the log", view=NAME, seconds=round(time.monotonic() - begun, 3))

    async def _seek(self, store: Store, applier: Applier, reader: KafkaLog) -> None:
        try:
            await reader.seek(applier.positions)
        except LogTruncated:
            if not any(applier.positions.values()):
                raise
            # Redis stands past the end of this log, or before its beginning: it has followed another one
            await store.drop()
            raise StateLost from None

    async def _follow(self, store: Store, applier: Applier, stop: asyncio.Event, pause: _Backoff) -> None:
        looked = 0.0
        async with KafkaLog(self._config.reader(), self._sources) as reader:
            await self._seek(store, applier, reader)
            await self._publish(applier.positions)
            token = await store.get("rewrite")
            while not stop.is_set():
                records = await reader.next()
                if records:
                    if await applier.apply(records):
                        token = await store.get("rewrite")
                    await self._publish(applier.positions)
                if token:
                    token = await self._rewrite(store, token)
                if time.monotonic() - looked > LOOK_S:
                    await store.still_ours()
                    if wanted := await store.wanted():
                        await self._refill(store, applier, wanted, stop)
                    looked = time.monotonic()
                pause.reset()
                ends = reader.known_ends()
                for (topic, partition), offset in applier.positions.items():
                    metrics.LAG.labels(NAME, topic, partition).set(max(0, ends[topic, partition] - offset))

    async def _rewrite(self, store: Store, token: str) -> str:
        """Have the append-only file written anew after a forgetting; what is still to be done, empty once it is."""
        if token == "running":  # noqa: S105 - a state
            ended = await aof.ended(store.redis)
            if ended:
                await store.set("rewrite", "")
                log.info("the append-only file was written anew", view=NAME)
            return "running" if ended is None else "" if ended else await store.get("rewrite")
        if time.monotonic() - self._rewritten_at < self._config.rewrite_every_s:
            return token
        try:
            begun = await aof.begin(store.redis)
        except RedisError as error:
            log.warning("the append-only file is not written anew: it may hold what was forgotten", error=type(error).__name__)
            begun = False
        self._rewritten_at = time.monotonic()
        return "running" if begun else token

    async def _refill(self, store: Store, applier: Applier, wanted: Collection[str], stop: asyncio.Event) -> None:
        """Fold evicted owners again, from the beginning of the log up to where the working set stands."""
        found = await store.owners(wanted)
        missing = {reference for reference, owner in found.items() if owner.windows is None and owner.fate != "erased"}
        if not missing:
            return
        config, target = self._config, applier.positions
        folder, owners = Folder(config.topics, config.keys, missing), {reference: Owner.read(None, {}) for reference in missing}
        read: Positions = dict.fromkeys(target, 0)
        for source in self._sources:
            async with KafkaLog(config.reader(), [source]) as reader:
                await reader.seek(read)
                while any(offset < target[tp] for tp, offset in (await reader.positions()).items()):
                    if stop.is_set():
                        return
                    intake = await folder.take(await reader.next_below(target))
                    read |= intake.borders
                    folder.fold(intake, owners, read)
        await store.commit(owners, {})
        log.info("evicted owners were filled again", view=NAME, owners=len(owners))

    async def _publish(self, positions: Positions) -> None:
        async with self._moved:
            self.applied = dict(positions)
            self._moved.notify_all()

    async def _paused(self, cause: str, error: BaseException | None, pause: _Backoff, stop: asyncio.Event) -> None:
        metrics.OUTAGES.labels(NAME, cause).inc()
        seconds = pause.next()
        if error is not None:
            log.warning("paused", view=NAME, cause=cause, error=type(error).__name__, seconds=round(seconds, 3))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)
