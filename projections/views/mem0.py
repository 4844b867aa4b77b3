"""mem0: the live memories in the table that Mem0's own pgvector provider reads, for a stock ``mem0.Memory`` to search.

A row needs words, which come with memory.events, and a vector, which comes with memory.embeddings: a memory whose vector has not
come yet has no row. After a revision the vector of the words before stays until the new one is there. The two topics meet in any
order; the rows in the end are the same.

The newest vector counts, whichever model made it: that of the latest words, of equals the one delivered last. So while a new
embedder's vectors arrive, rows of both stand here, and Mem0 cannot compare vectors of different lengths.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from projections.folding import FoldingView
from projections.records import Kind, Placed, Source, refuse_nul
from projections.rows import Rows, Wanted, uuid_of
from projections.vector_records import check_vector, parse_key
from projections.vectors import Vector
from projections.view import ViewSettings
from projections.views import mem0_rows as make
from projections.views.mem0_rows import (
    ERASED,
    FORGOTTEN,
    MEMORIES,
    SHOWN,
    SPARE,
    UNEMBEDDED,
    Delivered,
    Erased,
    Forgotten,
    Memory,
    Shown,
    Spare,
    Unembedded,
)
from schemas.errors import BrokenRecord
from schemas.ids import is_uuid
from schemas.types import MemoryAdded, MemoryEmbedding, MemoryForgotten, MemoryRevised, MessageEmbedding, OwnerErased
from schemas.vectors import unpack

HEAD = "semantic"
"""The head whose vectors stand for a memory's words as a whole, as the vector of a query does."""


class Mem0View(FoldingView):
    """One row per live memory."""

    name = "mem0"
    version = 1
    tables = (MEMORIES, SHOWN, UNEMBEDDED, SPARE, FORGOTTEN, ERASED)

    def __init__(self, settings: ViewSettings) -> None:
        topics = settings.topics
        self.sources: tuple[Source, ...] = (
            Source(topics.events, topics.partitions, Kind.EVENTS),
            Source(topics.embeddings, topics.partitions, Kind.PLAIN, (MemoryEmbedding,), (MessageEmbedding,), compacted=True),
        )

    def check(self, placed: Placed) -> None:
        """Memory ids are UUIDs, texts are texts that PostgreSQL takes, vectors are what they say."""
        if isinstance(placed.record, MemoryAdded | MemoryRevised):
            refuse_nul(placed.record)
            if not is_uuid(placed.record.memory_id):
                raise BrokenRecord("memory_id is not a UUID")
        elif isinstance(placed.record, MemoryForgotten):
            if not is_uuid(placed.record.memory_id):
                raise BrokenRecord("memory_id is not a UUID")
        elif isinstance(placed.record, MemoryEmbedding):
            check_vector(placed.key, placed.record)
        elif placed.record is None:
            parse_key(placed.key or b"")

    def wants(self, wanted: Wanted, placed: Placed) -> None:
        """The memory, and whether it or its owner is gone; of an erased owner, which memories there are."""
        match placed.record:
            case OwnerErased(meta=meta):
                wanted.key(ERASED, uuid_of(meta.owner))
                for table in (SHOWN, UNEMBEDDED, SPARE):
                    wanted.where(table, "owner", uuid_of(meta.owner))
            case MemoryEmbedding(memory_id=memory_id, owner=owner):
                wanted.key(FORGOTTEN, uuid_of(memory_id))
                wanted.key(ERASED, uuid_of(owner))
            case MemoryForgotten(memory_id=memory_id):
                wanted.key(FORGOTTEN, uuid_of(memory_id))
        memory = _memory_of(placed)
        if memory is not None:
            Memory.want(wanted, memory)

    def wants_next(self, wanted: Wanted, rows: Rows, placed: Placed) -> None:
        """The memories of an erased owner."""
        if isinstance(placed.record, OwnerErased):
            for memory in _memories_of(rows, uuid_of(placed.record.meta.owner)):
                Memory.want(wanted, memory)

    def fold(self, rows: Rows, placed: Placed) -> None:
        """Words, vectors, and what takes them away."""
        memory = _memory_of(placed)
        match placed.record:
            case OwnerErased() as event:
                _erase(rows, event)
            case MemoryForgotten():
                assert memory is not None
                rows.put(FORGOTTEN, Forgotten(memory))
                Memory(memory).save(rows)
            case MemoryEmbedding() as record:
                _deliver(rows, record)
            case _ if memory is not None:
                _change(rows, memory, placed)


def _memory_of(placed: Placed) -> UUID | None:
    """The memory that a record changes, None for one that changes none."""
    match placed.record:
        case None:
            memory, head, _ = parse_key(placed.key or b"")
            return memory if head == HEAD else None
        case MemoryEmbedding(memory_id=memory_id, head=head):
            return uuid_of(memory_id) if head == HEAD else None
        case MemoryAdded(memory_id=memory_id) | MemoryRevised(memory_id=memory_id) | MemoryForgotten(memory_id=memory_id):
            return uuid_of(memory_id)
        case _:
            return None


def _memories_of(rows: Rows, owner: UUID) -> Iterator[UUID]:
    found = [row.memory_id for row in rows.where(Shown, SHOWN, "owner", owner)]
    found += [row.memory_id for row in rows.where(Unembedded, UNEMBEDDED, "owner", owner)]
    found += [row.memory_id for row in rows.where(Spare, SPARE, "owner", owner)]
    yield from dict.fromkeys(found)


def _change(rows: Rows, id: UUID, placed: Placed) -> None:
    memory = Memory.load(rows, id)
    match placed.record:
        case MemoryAdded() as event:
            memory.owner, memory.payload = uuid_of(event.meta.owner), make.added(event)
        case MemoryRevised() as event if memory.payload is not None:
            memory.payload = make.revised(memory.payload, event)
        case None:
            memory.withdraw(parse_key(placed.key or b"")[2])
        case _:
            return  # forgotten before
    memory.save(rows)


def _deliver(rows: Rows, record: MemoryEmbedding) -> None:
    id, owner = uuid_of(record.memory_id), uuid_of(record.owner)
    # of a forgotten memory's vector the key is gone, and the tombstone follows
    if record.head != HEAD or record.vector.is_destroyed or rows.get(Forgotten, FORGOTTEN, id) is not None:
        return
    erased = rows.get(Erased, ERASED, owner)
    if erased is not None and record.sequence <= erased.sequence:
        return
    memory = Memory.load(rows, id)
    memory.owner = owner
    vector = Vector.of(unpack(record.vector.raw, record.dimensions))
    memory.deliver(Delivered(record.model, record.sequence, vector))
    memory.save(rows)


def _erase(rows: Rows, event: OwnerErased) -> None:
    owner, sequence = uuid_of(event.meta.owner), event.meta.sequence
    rows.put(ERASED, Erased(owner, sequence))
    for id in _memories_of(rows, owner):
        memory = Memory.load(rows, id)
        memory.payload = None
        # the vector of a memory from after the erasure may be here before the erasure is: it stays
        memory.vectors = [vector for vector in memory.vectors if vector.sequence > sequence]
        memory.save(rows)
