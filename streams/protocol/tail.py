"""The log as the decider reads it back: slices, its own recognised by their bytes.

Most of what a decider reads is what it has just written. A record whose key, value and headers are those that were sent says to
every reader what was sent: decoding it could only give the events that are at hand. All others are decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from aiokafka import ConsumerRecord

from schemas import envelope
from schemas.slices import SLICE_ID, Slice, SliceAssembler
from streams.protocol.batch import Written
from streams.protocol.lane import Append


@dataclass(slots=True)
class _Sent:
    append: Append
    records: Sequence[Written]
    read: list[ConsumerRecord] = field(default_factory=list)


class LogTail:
    """``expect`` each append before it is sent; ``feed`` every record of the partition, in offset order."""

    def __init__(self) -> None:
        self._assembler = SliceAssembler()
        self._sent: dict[bytes, _Sent] = {}
        self._own: _Sent | None = None

    @property
    def complete(self) -> bool:
        """True between slices: only there a position may be saved."""
        return self._own is None and self._assembler.complete

    def expect(self, append: Append, records: Sequence[Written]) -> None:
        """``append`` is about to be written as ``records``."""
        self._sent[append.append_id.encode()] = _Sent(append, records)

    def feed(self, record: ConsumerRecord) -> Slice | None:
        """The slice that ``record`` completes, or None. Raises ContractError for a foreign record."""
        own = self._own
        if own is None and self._assembler.complete:
            # within another slice the assembler must see it, as every reader does: that slice is broken then
            own = self._sent.get(_append_id(record))
        if own is None:
            return self._assemble(record)
        if _is(record, own.records[len(own.read)]):
            self._own = own
            own.read.append(record)
            return self._recognised(own, record.offset) if len(own.read) == len(own.records) else None
        self._own = None
        for earlier in own.read:  # not what was sent after all: read like anybody's
            self._assemble(earlier)
        own.read.clear()
        return self._assemble(record)

    def _recognised(self, own: _Sent, offset: int) -> Slice:
        append = own.append
        self._own = None
        del self._sent[append.append_id.encode()]
        return Slice(append.owner, append.append_id, append.first, append.events, offset + 1)

    def _assemble(self, record: ConsumerRecord) -> Slice | None:
        return self._assembler.feed(record.offset, envelope.as_map(record.headers), record.value or b"")


def _append_id(record: ConsumerRecord) -> bytes:
    for name, value in reversed(record.headers):
        if name == SLICE_ID:
            return value or b""
    return b""


def _is(record: ConsumerRecord, written: Written) -> bool:
    return record.value == written.value and record.key == written.key and list(record.headers) == written.headers
