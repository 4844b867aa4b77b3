"""The one rule by which every reader of memory.events, the decider too, accepts events.

A slice is what one append wrote for one owner: events with contiguous sequences, contiguous in one record batch. Consumers
cannot see batch borders, so every event's headers say its slice: ``sliceid`` (an id of the append), ``slicefirst`` and
``slicesize``. Per owner: first = last + 1 accepts the whole slice, first <= last drops the whole slice, first > last + 1 is a
gap: a true alarm.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from schemas import envelope
from schemas.codec import decode
from schemas.errors import BadEnvelope, BrokenRecord
from schemas.types import EVENTS, MemoryEvent

MAX_EVENTS = 500
"""Events of one slice at most. A command that would lead to more is split by whoever issues it."""
SLICE_ID, SLICE_FIRST, SLICE_SIZE = "sliceid", "slicefirst", "slicesize"


class Verdict(enum.Enum):
    """What a reader does with a slice."""

    ACCEPT = "accept"
    DROP = "drop"
    GAP = "gap"


def verdict(first: int, last: int) -> Verdict:
    """The rule: ``first`` sequence of the slice against the owner's ``last`` accepted one (0 where there is none)."""
    if first == last + 1:
        return Verdict.ACCEPT
    return Verdict.DROP if first <= last else Verdict.GAP


@dataclass(frozen=True, slots=True)
class Slice:
    """One owner's events of one append; ``end_offset`` is the offset behind its last record."""

    owner: str
    append_id: str
    first: int
    events: tuple[MemoryEvent, ...]
    end_offset: int

    @property
    def last_cause(self) -> int:
        """Offset of the last command whose events are in it."""
        return self.events[-1].meta.cause


@dataclass(slots=True)
class _Open:
    append_id: str
    owner: str
    first: int
    size: int
    events: list[MemoryEvent]


class SliceAssembler:
    """Puts the records of one partition, fed in offset order, together into slices.

    A checkpoint is sound only where ``complete`` is true, at the border between slices.
    """

    def __init__(self) -> None:
        self._open: _Open | None = None
        self.broken = 0
        """Slices that ended before their size: a reader that began in the middle of one, or a writer's fault."""

    @property
    def complete(self) -> bool:
        """True when no slice is open."""
        return self._open is None

    def feed(self, offset: int, headers: Mapping[str, bytes], value: bytes) -> Slice | None:
        """Take one record; the slice it completes, or None. Raises BadEnvelope or BrokenRecord for a foreign record."""
        append_id = envelope.text(headers, SLICE_ID)
        first, size = envelope.number(headers, SLICE_FIRST), envelope.number(headers, SLICE_SIZE)
        event = decode(value)
        if not isinstance(event, EVENTS):
            raise BrokenRecord(f"a {type(event).__name__} is no memory event")
        meta = event.meta
        if size < 1 or not first <= meta.sequence < first + size:
            raise BadEnvelope("the slice does not hold its event's sequence")
        if self._open and (self._open.append_id, self._open.owner) != (append_id, meta.owner):
            self.broken += 1
            self._open = None
        if self._open is None:
            self._open = _Open(append_id, meta.owner, first, size, [])
        if meta.sequence != first + len(self._open.events):
            self.broken += 1
            self._open = None
            return None
        self._open.events.append(event)
        if len(self._open.events) < size:
            return None
        done, self._open = self._open, None
        return Slice(done.owner, done.append_id, done.first, tuple(done.events), offset + 1)
