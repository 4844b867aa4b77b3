"""Reading topics from given positions: plain aiokafka with manual assignment; Kafka's own committed offsets play no part."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from projections.errors import LogTruncated, TopicMissing
from projections.records import LogRecord, Positions, Source, TopicPartition

IDLE_POLLS = 4
"""After so many polls without a record the topics count as quiet."""
LOOK_S = 5.0
"""A broker that does not answer for so long while nothing is read is away."""


@dataclass(frozen=True, slots=True)
class ReaderConfig:
    """How topics are read; times in milliseconds.

    ``fetch_max_wait_ms`` bounds how long records of one partition can wait behind an idle fetch of the others: aiokafka sends
    such a one where a partition's records were not taken within a tenth of a second. While the topics are quiet a fetch may stay
    open for ``idle_wait_ms``, and still answers with the first record at once: asking fifty times a second for eight views costs
    a sixth of a core for nothing.
    """

    bootstrap: str
    fetch_max_wait_ms: int = 20
    idle_wait_ms: int = 250
    poll_ms: int = 250
    max_records: int = 2_000
    partition_bytes: int = 1_048_576
    request_timeout_ms: int = 10_000


class KafkaLog:
    """Records of a view's topics in the order of each partition.

    async with KafkaLog(config, view.sources) as reader:
        await reader.seek(positions)         # LogTruncated where the log no longer has them
        records = await reader.next()        # up to max_records, an empty list after poll_ms
    """

    def __init__(self, config: ReaderConfig, sources: Sequence[Source], partitions: Collection[int] | None = None) -> None:
        """Without ``partitions`` it reads all of them."""
        self.times: dict[TopicPartition, tuple[int, int]] = {}
        """When the first and the last record that ``next`` gave last were written, in milliseconds since 1970, by partition."""
        self._config = config
        self._sources = sources
        self._consumer: Any = None
        self._empty = 0
        self._ends: dict[Any, int] = {}
        self._tps = [
            KafkaPartition(s.topic, p) for s in sources for p in range(s.partitions) if partitions is None or p in partitions
        ]

    async def __aenter__(self) -> KafkaLog:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._config.bootstrap,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_uncommitted",
            fetch_max_wait_ms=self._config.fetch_max_wait_ms,
            max_partition_fetch_bytes=self._config.partition_bytes,
            request_timeout_ms=self._config.request_timeout_ms,
            retry_backoff_ms=50,
        )
        try:
            await consumer.start()
            await self._must_exist(consumer)
            consumer.assign(self._tps)
        except BaseException:
            await consumer.stop()
            raise
        self._consumer = consumer
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            await self._consumer.stop()
        except asyncio.CancelledError:
            # aiokafka lets one out of its own tasks when the broker goes away while it stops
            if is_cancelled():
                raise

    async def _must_exist(self, consumer: Any) -> None:
        have = await consumer.topics()
        for source in self._sources:
            if source.topic not in have:
                raise TopicMissing(f"topic {source.topic} does not exist: create the topics first")

    async def ends(self) -> Positions:
        """End offsets: one past the last record of each partition."""
        return self._read(await self._offsets(self._consumer.end_offsets))

    async def written_since(self, moment: datetime) -> Positions:
        """By partition the first offset whose record was written at ``moment`` or later; the end where there is none."""
        found = await self._consumer.offsets_for_times(dict.fromkeys(self._tps, int(moment.timestamp() * 1000)))
        ends = await self._offsets(self._consumer.end_offsets)
        return self._read({tp: end if found.get(tp) is None else found[tp].offset for tp, end in ends.items()})

    async def seek(self, positions: Positions) -> None:
        """Read on from ``positions``. Raises LogTruncated where a topic has lost what is still to be read."""
        begins, ends = await self._offsets(self._consumer.beginning_offsets), await self._offsets(self._consumer.end_offsets)
        compacted = {s.topic for s in self._sources if s.compacted}
        for tp in self._tps:
            at, begin, end = positions[tp.topic, tp.partition], begins[tp], ends[tp]
            if at < begin and tp.topic not in compacted:
                raise LogTruncated(
                    f"{tp.topic}/{tp.partition} begins at offset {begin} but the view has read only up to {at}: "
                    "restore the topic from its backup; this topic must keep its records for ever"
                )
            if at > end:
                raise LogTruncated(
                    f"{tp.topic}/{tp.partition} ends at offset {end} but the view has read up to {at}: the topic was "
                    "recreated or restored from an older backup; rebuild the view once the topic is right"
                )
            self._ends[tp] = end
            self._consumer.seek(tp, max(at, begin))

    async def _offsets(self, ask: Any, timeout_s: float | None = None) -> dict[Any, int]:
        try:
            return dict(await asyncio.wait_for(ask(self._tps), timeout_s or self._config.request_timeout_ms / 1000))
        except TimeoutError:
            raise TopicMissing("the broker does not know some partitions of the view's topics, or does not answer") from None

    async def next(self) -> list[LogRecord]:
        """The next records, oldest first within each partition; empty when none came within ``poll_ms``."""
        try:
            found = await self._consumer.getmany(timeout_ms=self._config.poll_ms, max_records=self._config.max_records)
        except OffsetOutOfRangeError:
            raise LogTruncated(
                "the log no longer holds the view's next records: restore the topic, then rebuild the view"
            ) from None
        self._be_patient(bool(found))
        self.times = {(tp.topic, tp.partition): (batch[0].timestamp, batch[-1].timestamp) for tp, batch in found.items()}
        return [record for records in found.values() for record in records]

    def _be_patient(self, is_moving: bool) -> None:
        """Have fetches stay open for longer where nothing comes, and for as short as configured where something does."""
        self._empty = 0 if is_moving else self._empty + 1
        wait = self._config.idle_wait_ms if self._empty >= IDLE_POLLS else self._config.fetch_max_wait_ms
        # aiokafka takes it at construction alone, and reads it for each fetch
        self._consumer._fetcher._fetch_max_wait_ms = max(wait, self._config.fetch_max_wait_ms)

    async def next_below(self, target: Positions) -> list[LogRecord]:
        """Like ``next``, but only records below ``target``: where a partition gets there, it is put back and paused."""
        done = [tp for tp in self._tps if await self._consumer.position(tp) >= target[tp.topic, tp.partition]]
        if done:
            self._consumer.pause(*done)
        self._consumer.resume(*[tp for tp in self._tps if tp not in done])
        records = await self.next()
        kept = [r for r in records if r.offset < target[r.topic, r.partition]]
        for tp in {KafkaPartition(r.topic, r.partition) for r in records if r.offset >= target[r.topic, r.partition]}:
            self._consumer.seek(tp, target[tp.topic, tp.partition])
        return kept

    async def positions(self) -> Positions:
        """Where reading stands: beyond offsets that hold no record any more."""
        return {(tp.topic, tp.partition): await self._consumer.position(tp) for tp in self._tps}

    async def look(self) -> None:
        """Ask the broker for the ends, as reading alone never tells that it is away. Raises TopicMissing."""
        self._ends = await self._offsets(self._consumer.end_offsets, LOOK_S)

    async def passed(self) -> Positions:
        """Where reading of compacted topics stands: their last records may be gone, and nothing comes before that end."""
        compacted = {s.topic for s in self._sources if s.compacted}
        return {(tp.topic, tp.partition): await self._consumer.position(tp) for tp in self._tps if tp.topic in compacted}

    def known_ends(self) -> Positions:
        """End offsets as far as the broker has told them."""
        return {(tp.topic, tp.partition): max(self._consumer.highwater(tp) or 0, self._ends.get(tp, 0)) for tp in self._tps}

    @staticmethod
    def _read(offsets: dict[Any, int]) -> Positions:
        return {(tp.topic, tp.partition): offset for tp, offset in offsets.items()}


def is_cancelled() -> bool:
    """Whether the running task itself was cancelled, told apart from a CancelledError that a client lets out of its own tasks."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


BROKER_AWAY = (KafkaError, ConnectionError, TopicMissing, OSError)
"""Errors that pass by themselves once broker and topics are there."""
