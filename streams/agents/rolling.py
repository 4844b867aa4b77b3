"""Rolling: where nobody writes to the inbox any more, a neutral record closes the last segment, so that it leaves the disk.

The broker deletes by whole segments what was purged, and closes a segment only when a later record comes. A neutral record comes
later and says nothing: no key, no value, one header. Admission passes it over, and it is purged like any other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import structlog
from aiokafka import AIOKafkaProducer, TopicPartition

from schemas.topics import INBOX_SEGMENT_MS
from streams import kafka
from streams.stage import Work

log = structlog.get_logger(__name__)

NEUTRAL_HEADER = "emberlog-roll"
ROLL_AFTER_S = INBOX_SEGMENT_MS / 1000 + 5.0
"""A record closes a segment that is this old by the time stamps of both; the rest is for clocks that differ."""


def is_neutral(work: Work) -> bool:
    """Whether a record of the inbox is there only to close a segment. One that has a value is a turn, whatever its headers."""
    return work.value is None and NEUTRAL_HEADER in work.headers


class Roller:
    """Writes one neutral record to each partition that was purged to its end, once nothing has come for ROLL_AFTER_S.

    Which one it wrote last it knows only itself: after a restart, or under another owner, a quiet partition gets one more.
    """

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._quiet: dict[TopicPartition, tuple[int, float]] = {}
        """By partition the end offset that was seen last, and since when (monotonic clock)."""
        self._rolled: dict[TopicPartition, int] = {}
        """By partition the end offset behind the last neutral record."""
        self._refused: set[TopicPartition] = set()

    async def roll(self, begin: Mapping[TopicPartition, int], end: Mapping[TopicPartition, int]) -> None:
        """Look at the partitions of ``end``, whose first offsets are ``begin``. What cannot be written is tried again later."""
        for tp in end:
            if not self._is_due(tp, begin[tp], end[tp]):
                continue
            try:
                self._rolled[tp] = await self._write(tp) + 1
            except kafka.OUTAGE_ERRORS as error:
                # purging needs other rights than writing, and must not wait for it
                self._quiet[tp] = end[tp], time.monotonic()
                if tp not in self._refused:
                    log.warning("a quiet partition of the inbox stays open", partition=tp.partition, error=type(error).__name__)
                self._refused.add(tp)
            else:
                self._refused.discard(tp)
                log.debug("a neutral record was written to the inbox", partition=tp.partition)

    def _is_due(self, tp: TopicPartition, begin: int, end: int) -> bool:
        before, since = self._quiet.get(tp, (-1, 0.0))
        if before != end:
            self._quiet[tp] = end, time.monotonic()
            return False
        return begin == end > 0 and end != self._rolled.get(tp) and time.monotonic() - since > ROLL_AFTER_S

    async def _write(self, tp: TopicPartition) -> int:
        """Offset of the record. As a batch: the client's plain ``send`` refuses a record that has neither key nor value."""
        batch = self._producer.create_batch()
        batch.append(timestamp=None, key=None, value=None, headers=[(NEUTRAL_HEADER, b"")])
        batch.close()
        sent = await (await self._producer.send_batch(batch, tp.topic, partition=tp.partition))
        return int(sent.offset)
