"""embeddings: the vectors of memories, for recall. Those of messages, on the same topic, are not for it.

It reads two topics whose records meet in any order. From memory.embeddings the newest vector of a key counts: the one made from
the event with the highest sequence, of equals the last. From memory.events it learns what is gone: a forgotten memory's vectors,
and those that an erased owner had up to the erasure. They leave, and one that a slow embedder still delivers stays out for good.

Compaction keeps the last record of a key. Where a stopped embedder wakes up and writes an older vector behind a newer one, and
compaction then removes the newer, a rebuild finds only the older: ``verify`` says so, and embedding that memory anew mends it.
"""

from __future__ import annotations

from uuid import UUID

from projections.folding import FoldingView
from projections.records import Kind, Placed, Source
from projections.rows import Int4, Row, Rows, Wanted, table_of
from projections.vectors import Vector
from projections.view import ViewSettings
from schemas.errors import BrokenRecord
from schemas.ids import is_uuid
from schemas.types import MemoryEmbedding, MemoryForgotten, MessageEmbedding, OwnerErased
from schemas.vectors import unpack

MAX_DIMENSIONS = 16_000
"""pgvector's limit."""


class Embedded(Row, frozen=True):
    """The vector of a memory; ``sequence`` is that of the event whose words it stands for."""

    memory_id: UUID
    head: str
    model: str
    owner: UUID
    dimensions: Int4
    vec: Vector
    sequence: int


class Forgotten(Row, frozen=True):
    """A memory that is gone, since the event of this number."""

    memory_id: UUID
    sequence: int


class Erased(Row, frozen=True):
    """An owner who was erased by the event of this number."""

    owner: UUID
    sequence: int


EMBEDDING = table_of(
    Embedded,
    "memory_embedding",
    key=("memory_id", "head", "model"),
    lookups=("memory_id", "owner"),
    # an owner's vectors lie together after a rebuild: the exact scan reads them all
    indexes=("(owner)",),
    clustered=True,
    # in the row, not aside: the exact scan inside an owner reads every vector of that owner
    tuning=("ALTER TABLE {table} ALTER COLUMN vec SET STORAGE MAIN",),
)
FORGOTTEN = table_of(Forgotten, "forgotten_memory", key=("memory_id",))
ERASED = table_of(Erased, "erased_owner", key=("owner",))

Key = tuple[UUID, str, str]


def embedding_key(memory_id: str, head: str, model: str) -> bytes:
    """Kafka key of a vector: ``memory_id/head/model``."""
    return f"{memory_id}/{head}/{model}".encode()


def parse_key(key: bytes) -> Key:
    """Read a Kafka key. Raises BrokenRecord."""
    try:
        memory_id, head, model = key.decode().split("/", 2)
    except ValueError:  # UnicodeDecodeError is one
        raise BrokenRecord("the key is not memory_id/head/model") from None
    if not is_uuid(memory_id) or "\0" in head or "\0" in model:
        raise BrokenRecord("the key is not memory_id/head/model")
    return UUID(memory_id), head, model


class EmbeddingsView(FoldingView):
    """One row per memory, head and model."""

    name = "embeddings"
    version = 3
    tables = (EMBEDDING, FORGOTTEN, ERASED)

    def __init__(self, settings: ViewSettings) -> None:
        topics = settings.topics
        self.sources = (
            Source(topics.events, topics.partitions, Kind.EVENTS),
            Source(topics.embeddings, topics.partitions, Kind.PLAIN, (MemoryEmbedding,), (MessageEmbedding,), compacted=True),
        )

    def check(self, placed: Placed) -> None:
        """Keys and ids must agree, vectors be what they say."""
        match placed.record:
            case MemoryForgotten(memory_id=memory_id):
                if not is_uuid(memory_id):
                    raise BrokenRecord("memory_id is not a UUID")
            case None:
                parse_key(placed.key or b"")
            case MemoryEmbedding() as record:
                _check_embedding(placed.key, record)

    def wants(self, wanted: Wanted, placed: Placed) -> None:
        """A delivered vector's row, and whether its memory or owner is gone."""
        match placed.record:
            case MemoryForgotten(memory_id=memory_id):
                wanted.key(FORGOTTEN, UUID(memory_id))
            case OwnerErased(meta=meta):
                wanted.key(ERASED, UUID(meta.owner))
                wanted.where(EMBEDDING, "owner", UUID(meta.owner))
            case None:
                wanted.key(EMBEDDING, *parse_key(placed.key or b""))
            case MemoryEmbedding() as record:
                wanted.key(EMBEDDING, UUID(record.memory_id), record.head, record.model)
                wanted.key(FORGOTTEN, UUID(record.memory_id))
                wanted.key(ERASED, UUID(record.owner))

    def fold(self, rows: Rows, placed: Placed) -> None:
        """The newest vector of each key, of what is not gone."""
        match placed.record:
            case MemoryForgotten(memory_id=memory_id, meta=meta):
                rows.put(FORGOTTEN, Forgotten(UUID(memory_id), meta.sequence))
                rows.remove_where(EMBEDDING, "memory_id", UUID(memory_id))
            case OwnerErased(meta=meta):
                rows.put(ERASED, Erased(UUID(meta.owner), meta.sequence))
                for row in rows.where(Embedded, EMBEDDING, "owner", UUID(meta.owner)):
                    # the vector of a memory from after the erasure may be here before the erasure is: it stays
                    if row.sequence < meta.sequence:
                        rows.remove(EMBEDDING, row.memory_id, row.head, row.model)
            case None:
                rows.remove(EMBEDDING, *parse_key(placed.key or b""))
            case MemoryEmbedding() as record:
                _deliver(rows, record)


def _deliver(rows: Rows, record: MemoryEmbedding) -> None:
    memory, owner = UUID(record.memory_id), UUID(record.owner)
    # of a forgotten memory's vector the key is gone, and the tombstone follows
    if record.vector.is_destroyed or rows.get(Forgotten, FORGOTTEN, memory) is not None:
        return
    erased = rows.get(Erased, ERASED, owner)
    if erased is not None and record.sequence <= erased.sequence:
        return
    before = rows.get(Embedded, EMBEDDING, memory, record.head, record.model)
    if before is None or before.sequence <= record.sequence:
        data = Vector.of(unpack(record.vector.raw, record.dimensions))
        rows.put(EMBEDDING, Embedded(memory, record.head, record.model, owner, record.dimensions, data, record.sequence))


def _check_embedding(key: bytes | None, record: MemoryEmbedding) -> None:
    if "\0" in record.head + record.model:
        raise BrokenRecord("head or model holds a NUL byte")
    if not is_uuid(record.memory_id) or not is_uuid(record.owner):
        raise BrokenRecord("memory_id or owner is not a UUID")
    if key != embedding_key(record.memory_id, record.head, record.model):
        raise BrokenRecord("key and record name different vectors")
    if record.vector.is_destroyed:
        return
    if record.dimensions > MAX_DIMENSIONS:
        raise BrokenRecord(f"the vector has more than {MAX_DIMENSIONS} dimensions")
    unpack(record.vector.raw, record.dimensions)
