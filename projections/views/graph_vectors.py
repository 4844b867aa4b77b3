"""Vectors of the graph's traces. One whose trace is not there, or not yet, waits in a table of its own, which recall never reads.

The newest vector of a key counts: the one made from the event with the highest sequence, of equals the last.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import UUID

import numpy as np

from projections.rows import Int4, Row, Rows, Wanted, table_of, uuid_of
from projections.vector_records import Key, check_vector, id_of
from projections.vectors import Vector
from projections.view import HotIndex, Table
from projections.views.graph_rows import ERASED, FORGOTTEN, GONE, HOT, MEMORY, MESSAGE, TRACE, Erased, Forgotten, Gone, Trace
from schemas.errors import BrokenRecord
from schemas.types import MemoryEmbedding, MessageEmbedding
from schemas.vectors import Precision, unpack

LARGEST_HALF = 65_504.0
_KEY = ("trace_id", "head", "model")
# in the row, not aside: the exact scan inside an owner reads every vector of that owner
_INLINE = ("ALTER TABLE {table} ALTER COLUMN vec SET STORAGE MAIN",)


class Kept(Row, frozen=True):
    """The vector of a trace, with its kind, tier and time; ``sequence`` is that of the event whose words it stands for, of a
    message 0."""

    trace_id: UUID
    head: str
    model: str
    owner: UUID
    dimensions: Int4
    vec: Vector
    created_at: datetime
    sequence: int
    kind: str
    tier: str


class Waiting(Row, frozen=True):
    """A vector without a trace; ``kind`` is memory or message, as its record says."""

    trace_id: UUID
    head: str
    model: str
    owner: UUID
    dimensions: Int4
    vec: Vector
    sequence: int
    kind: str


class Vectors:
    """The two tables, of numbers of ``precision``. Those of ``dimensions`` have an HNSW index while they are hot."""

    def __init__(self, precision: Precision, dimensions: int, hot_days: int, index_memory_mb: int) -> None:
        self._half = precision == "fp16"
        hot = HotIndex(dimensions, hot_days, f"tier = '{HOT}'", index_memory_mb)
        self.kept = _kept_table("halfvec" if self._half else "vector", hot)
        self.waiting = _waiting_table("halfvec" if self._half else "vector")

    def check(self, key: bytes | None, record: MemoryEmbedding | MessageEmbedding) -> None:
        """Keys and ids must agree, vectors be what they say. Raises BrokenRecord and SealedValue."""
        check_vector(key, record)
        # of float16 every finite number fits
        if record.vector.is_destroyed or not self._half or len(record.vector.data) == 2 * record.dimensions:
            return
        numbers = unpack(record.vector.raw, record.dimensions)
        if float(np.abs(numbers).max()) > LARGEST_HALF:
            raise BrokenRecord("the vector holds a value that is not finite in fp16")

    def want(self, wanted: Wanted, trace_id: UUID) -> None:
        """The vectors of a trace, wherever they are."""
        for table in (self.kept, self.waiting):
            wanted.where(table, "trace_id", trace_id)

    def want_key(self, wanted: Wanted, key: Key) -> None:
        """The vector of a key, wherever it is."""
        for table in (self.kept, self.waiting):
            wanted.key(table, *key)

    def want_delivery(self, wanted: Wanted, record: MemoryEmbedding | MessageEmbedding) -> None:
        """What ``deliver`` looks at."""
        trace_id = uuid_of(id_of(record))
        self.want_key(wanted, (trace_id, record.head, record.model))
        for table in (TRACE, FORGOTTEN, GONE):
            wanted.key(table, trace_id)
        wanted.key(ERASED, uuid_of(record.owner))

    def want_owner(self, wanted: Wanted, owner: UUID) -> None:
        """What ``erase`` looks at."""
        for table in (self.kept, self.waiting):
            wanted.where(table, "owner", owner)

    def deliver(self, rows: Rows, record: MemoryEmbedding | MessageEmbedding) -> None:
        """Take a vector in, unless a newer one is here or what it stands for is gone."""
        trace_id = uuid_of(id_of(record))
        of_memory = isinstance(record, MemoryEmbedding)
        sequence = record.sequence if isinstance(record, MemoryEmbedding) else 0
        if record.vector.is_destroyed or _is_gone(rows, trace_id, uuid_of(record.owner), sequence, of_memory):
            return
        trace = rows.get(Trace, TRACE, trace_id)
        if trace is not None and trace.owner != uuid_of(record.owner):
            trace = None  # another's trace has no use for it
        if trace is not None and sequence <= trace.dropped.get(record.head, -1):
            return
        key = (trace_id, record.head, record.model)
        before = rows.get(Waiting, self.waiting, *key) if trace is None else rows.get(Kept, self.kept, *key)
        if before is not None and before.sequence > sequence:
            return
        numbers = unpack(record.vector.raw, record.dimensions)
        vec = Vector.of(numbers.astype("<f2") if self._half else numbers)
        kind = MEMORY if of_memory else MESSAGE
        made = Waiting(*key, uuid_of(record.owner), record.dimensions, vec, sequence, kind)
        if trace is None:
            rows.put(self.waiting, made)
        else:
            rows.put(self.kept, _of(trace, made))

    def remove_key(self, rows: Rows, key: Key) -> None:
        """A tombstone."""
        for table in (self.kept, self.waiting):
            rows.remove(table, *key)

    def remove(self, rows: Rows, trace_id: UUID) -> None:
        """All vectors of a trace that is gone."""
        for table in (self.kept, self.waiting):
            rows.remove_where(table, "trace_id", trace_id)

    def keep(self, rows: Rows, trace: Trace) -> None:
        """The trace is there, or has changed: its vectors have its kind and tier, and none of a head that was dropped."""
        for waiting in rows.where(Waiting, self.waiting, "trace_id", trace.id):
            if waiting.owner != trace.owner:
                continue
            rows.remove(self.waiting, waiting.trace_id, waiting.head, waiting.model)
            rows.put(self.kept, _of(trace, waiting))
        for row in rows.where(Kept, self.kept, "trace_id", trace.id):
            if row.sequence <= trace.dropped.get(row.head, -1):
                rows.remove(self.kept, row.trace_id, row.head, row.model)
            elif row.tier != trace.tier:
                rows.put(self.kept, _of(trace, _without(row)))

    def hold(self, rows: Rows, trace_id: UUID) -> None:
        """The message is no trace any more: its vectors wait."""
        for row in rows.where(Kept, self.kept, "trace_id", trace_id):
            rows.remove(self.kept, row.trace_id, row.head, row.model)
            rows.put(self.waiting, _without(row))

    def erase(self, rows: Rows, owner: UUID, sequence: int) -> None:
        """All of an erased owner but those of memories from after the erasure, which may be here before it is: they wait."""
        for row in rows.where(Kept, self.kept, "owner", owner):
            rows.remove(self.kept, row.trace_id, row.head, row.model)
            if row.kind != MESSAGE and row.sequence > sequence:
                rows.put(self.waiting, _without(row))
        for waiting in rows.where(Waiting, self.waiting, "owner", owner):
            if waiting.kind == MESSAGE or waiting.sequence <= sequence:
                rows.remove(self.waiting, waiting.trace_id, waiting.head, waiting.model)


def _kept_table(type: str, hot: HotIndex) -> Table:
    made = table_of(
        Kept,
        "memory_embedding",
        key=_KEY,
        lookups=("trace_id", "owner"),
        # an owner's vectors lie together after a rebuild: the exact scan reads them all
        indexes=("(owner, kind)",),
        clustered=True,
        tuning=_INLINE,
    )
    return replace(_with_type(made, type), hot=hot)


def _waiting_table(type: str) -> Table:
    made = table_of(Waiting, "waiting_embedding", key=_KEY, lookups=("trace_id", "owner"), indexes=("(owner)",), tuning=_INLINE)
    return _with_type(made, type)


def _with_type(table: Table, type: str) -> Table:
    columns = tuple(replace(column, type=type) if column.name == "vec" else column for column in table.columns)
    return replace(table, columns=columns)


def _is_gone(rows: Rows, trace_id: UUID, owner: UUID, sequence: int, of_memory: bool) -> bool:
    if rows.get(Forgotten, FORGOTTEN, trace_id) is not None or rows.get(Gone, GONE, trace_id) is not None:
        return True
    erased = rows.get(Erased, ERASED, owner)
    return erased is not None and not (of_memory and sequence > erased.sequence)


def _of(trace: Trace, row: Waiting) -> Kept:
    known = (row.trace_id, row.head, row.model, row.owner, row.dimensions, row.vec)
    return Kept(*known, trace.created_at, row.sequence, trace.kind, trace.tier)


def _without(row: Kept) -> Waiting:
    kind = MESSAGE if row.kind == MESSAGE else MEMORY
    return Waiting(row.trace_id, row.head, row.model, row.owner, row.dimensions, row.vec, row.sequence, kind)
