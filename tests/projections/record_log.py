"""Records as a consumer would give them, each at the next offset of its partition."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from schemas import ids
from schemas.codec import encode
from schemas.envelope import headers_for
from schemas.topics import Topics, partition_of
from schemas.types import MemoryEvent, Record

T0 = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Rec:
    """A record as a consumer would give it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


class RecordLog:
    """The records of all topics, in the order in which they were written."""

    def __init__(self, topics: Topics) -> None:
        self.topics = topics
        self.records: list[Rec] = []
        self._offsets: dict[tuple[str, int], int] = defaultdict(int)
        self._clock = T0

    def append(self, owner: str, events: Sequence[MemoryEvent]) -> list[Rec]:
        """One slice of ``owner``; its records."""
        rows = slice_rows(events)
        partition = partition_of(owner, self.topics.partitions)
        return [self.put(self.topics.events, partition, owner.encode(), value, headers) for value, headers in rows]

    def again(self, records: Sequence[Rec]) -> None:
        """The same slice written once more, as a zombie or a retry does."""
        for record in records:
            self.put(record.topic, record.partition, record.key, record.value, record.headers)

    def plain(self, topic: str, owner: str, key: bytes, record: Record | None) -> Rec:
        """A record that stands for itself."""
        headers: list[tuple[str, bytes]] = [("owner", owner.encode())]
        if record is not None:
            headers = headers_for(record, id=str(uuid4()), source="test", subject=owner, time=self._clock)
        value = None if record is None else encode(record)
        return self.put(topic, partition_of(owner, self.topics.partitions), key, value, headers)

    def put(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Sequence[Any] = ()) -> Rec:
        """Any record at the next offset."""
        offset = self._offsets[topic, partition]
        self._offsets[topic, partition] = offset + 1
        record = Rec(topic, partition, offset, key, value, tuple(headers))
        self.records.append(record)
        return record

    def ends(self, *topics: str) -> dict[tuple[str, int], int]:
        """End offset of every partition of ``topics``."""
        return {(t, p): self._offsets[t, p] for t in topics for p in range(self.topics.partitions)}

    def now(self, at: datetime | None = None) -> datetime:
        """``at``, or some minutes after the last time."""
        self._clock = at or self._clock + timedelta(minutes=7)
        return self._clock


def slice_rows(events: Sequence[MemoryEvent], append_id: str | None = None) -> list[tuple[bytes, list[tuple[str, bytes]]]]:
    """Value and headers of each event of one slice."""
    append_id = append_id or str(uuid4())
    rows = []
    for event in events:
        meta = event.meta
        extra: dict[str, str | int] = {
            "sequence": meta.sequence,
            "causationid": meta.cause,
            "sliceid": append_id,
            "slicefirst": events[0].meta.sequence,
            "slicesize": len(events),
        }
        event_id = ids.event_id(meta.owner, meta.sequence)
        rows.append(
            (
                encode(event),
                headers_for(event, id=event_id, source="test", subject=meta.owner, time=meta.occurred_at, extra=extra),
            )
        )
    return rows
