"""When each owner's turn reached each stage, on one clock: ``time.perf_counter`` of this process.

Topics are read by librdkafka in a thread of its own, because its fetches wait for nobody: a client that polls would add its own
pauses to what it measures. The two stages in the database are seen by one cheap query, asked again every millisecond or two while
something is awaited.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import psycopg
from confluent_kafka import Consumer, TopicPartition

from schemas.topics import Topics

ADMITTED, EXTRACTED, DECIDED, EMBEDDED = "admitted", "extracted", "decided", "embedded"
PROJECTED, RECALLABLE = "projected", "recallable"
STAGES = (ADMITTED, EXTRACTED, DECIDED, EMBEDDED, PROJECTED, RECALLABLE)
POLL_S = 0.0015
_COUNTS = {DECIDED: b"emberlog.MemoryAdded.v1", EMBEDDED: b"emberlog.MemoryEmbedding.v1"}
"""By stage with several types on its topic: the one that counts. Vectors of messages do not."""

Seen = dict[str, dict[str, float]]
"""Time by stage and owner reference."""


class TopicArrivals:
    """Reads the four topics from their ends on; ``seen`` fills with the first arrival of each owner on each."""

    def __init__(self, bootstrap: str, topics: Topics, seen: Seen) -> None:
        self._seen = seen
        self._stage_of = {
            topics.conversation: ADMITTED,
            topics.commands: EXTRACTED,
            topics.events: DECIDED,
            topics.embeddings: EMBEDDED,
        }
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "emberlog-benchmark",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 100,
                "fetch.error.backoff.ms": 5,
            }
        )
        self._places = [TopicPartition(name, p) for name in self._stage_of for p in range(topics.partitions)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="arrivals", daemon=True)

    def __enter__(self) -> Self:
        for place in self._places:
            place.offset = self._consumer.get_watermark_offsets(place, timeout=10.0)[1]
        self._consumer.assign(self._places)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _read(self) -> None:
        while not self._stop.is_set():
            message = self._consumer.poll(0.2)
            if message is None or message.error() is not None:
                continue
            now = time.perf_counter()
            stage = self._stage_of[message.topic()]
            owner = owner_of(stage, message.headers() or ())
            if owner is not None:
                self._seen[stage].setdefault(owner, now)


def owner_of(stage: str, record: Iterable[tuple[str, bytes]]) -> str | None:
    """The owner whose turn a record with these headers brings to ``stage``; None for one that does not count."""
    headers = dict(record)
    if stage in _COUNTS and headers.get("ce_type") != _COUNTS[stage]:
        return None
    subject = headers.get("ce_subject")
    return None if subject is None else subject.decode()


class RowArrivals:
    """Watches for the owners' rows: in the archive (projected), and with a vector as well (recallable)."""

    _QUERY = (
        "SELECT a.owner::text, EXISTS (SELECT 1 FROM memory_embedding e WHERE e.owner = a.owner AND e.trace_id = a.id)"
        " FROM thermal_memory_archive a WHERE a.owner = ANY(%s::uuid[])"
    )

    def __init__(self, conn: psycopg.AsyncConnection[Any], seen: Seen) -> None:
        self._conn, self._seen = conn, seen
        self._waiting: set[str] = set()

    def expect(self, owner: str) -> None:
        """Wait for this owner's rows from now on."""
        self._waiting.add(owner)

    async def watch(self, finished: Callable[[], bool]) -> None:
        """Look until ``finished()`` says so."""
        projected, recallable = self._seen[PROJECTED], self._seen[RECALLABLE]
        while not finished():
            if self._waiting:
                cursor = await self._conn.execute(self._QUERY, (list(self._waiting),), prepare=True)
                rows = await cursor.fetchall()
                now = time.perf_counter()
                for owner, has_vector in rows:
                    projected.setdefault(owner, now)
                    if has_vector:
                        recallable.setdefault(owner, now)
                        self._waiting.discard(owner)
            await asyncio.sleep(POLL_S)
