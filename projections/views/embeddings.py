"""embeddings: the vectors of memories, for recall.

It reads two topics whose records meet in any order. From memory.embeddings the newest vector of a key counts: the one made from
the event with the highest sequence, of equals the last. From memory.events it learns what is gone: a forgotten memory's vectors,
and those that an erased owner had up to the erasure. They leave, and one that a slow embedder still delivers stays out for good.

Compaction keeps the last record of a key. Where a stopped embedder wakes up and writes an older vector behind a newer one, and
compaction then removes the newer, a rebuild finds only the older: ``verify`` says so, and embedding that memory anew mends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from projections.records import Kind, Placed, Source
from projections.vectors import Vector
from projections.view import Column, Row, Table, Target, ViewSettings
from schemas.errors import BrokenRecord
from schemas.ids import is_uuid
from schemas.types import MemoryEmbedding, MemoryForgotten, OwnerErased

MAX_DIMENSIONS = 16_000
"""pgvector's limit."""

EMBEDDING = Table(
    "memory_embedding",
    (
        Column("memory_id", "uuid"),
        Column("head", "text"),
        Column("model", "text"),
        Column("owner", "uuid"),
        Column("dimensions", "int4"),
        Column("vec", "vector"),
        Column("sequence", "int8"),
    ),
    ("memory_id", "head", "model"),
    # an owner's vectors lie together after a rebuild: the exact scan reads them all
    indexes=("(owner)",),
    clustered=True,
    # in the row, not aside: the exact scan inside an owner reads every vector of that owner
    tuning=("ALTER TABLE {table} ALTER COLUMN vec SET STORAGE MAIN",),
    newest_by="sequence",
)
FORGOTTEN = Table("forgotten_memory", (Column("memory_id", "uuid"), Column("sequence", "int8")), ("memory_id",))
ERASED = Table("erased_owner", (Column("owner", "uuid"), Column("sequence", "int8")), ("owner",))

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


@dataclass(frozen=True, slots=True)
class _Vector:
    """A vector that was delivered; ``sequence`` is that of the event whose words it stands for."""

    memory_id: UUID
    owner: UUID
    sequence: int
    row: Row


class EmbeddingsView:
    """One row per memory, head and model."""

    name = "embeddings"
    version = 2
    tables = (EMBEDDING, FORGOTTEN, ERASED)

    def __init__(self, settings: ViewSettings) -> None:
        topics = settings.topics
        self.sources = (
            Source(topics.events, topics.partitions, Kind.EVENTS),
            Source(topics.embeddings, topics.partitions, Kind.PLAIN, (MemoryEmbedding,), compacted=True),
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

    async def apply(self, target: Target, batch: Sequence[Placed]) -> None:
        """Fold a batch: what is gone first, then the newest vector of each key."""
        delivered: list[tuple[Key, _Vector | None]] = []
        forgotten: dict[UUID, int] = {}
        erased: dict[UUID, int] = {}
        for placed in batch:
            match placed.record:
                case MemoryForgotten(memory_id=memory_id, meta=meta):
                    forgotten[UUID(memory_id)] = meta.sequence
                case OwnerErased(meta=meta):
                    erased[UUID(meta.owner)] = meta.sequence
                case None:
                    delivered.append((parse_key(placed.key or b""), None))
                case MemoryEmbedding() as record:
                    # of a forgotten memory's vector the key is gone, and the tombstone follows
                    made = None if record.vector.is_destroyed else _vector(record)
                    delivered.append(((UUID(record.memory_id), record.head, record.model), made))
        await self._forget(target, forgotten)
        await self._erase(target, erased)
        await self._deliver(target, delivered)

    async def _forget(self, target: Target, forgotten: dict[UUID, int]) -> None:
        if not forgotten:
            return
        await target.run(FORGOTTEN.upsert(target.schema), list(forgotten.items()))
        await target.conn.execute(f"DELETE FROM {target.name(EMBEDDING)} WHERE memory_id = ANY(%s)", (list(forgotten),))

    async def _erase(self, target: Target, erased: dict[UUID, int]) -> None:
        # the vector of a memory from after the erasure may be here before the erasure is: it stays
        await target.run(ERASED.upsert(target.schema), list(erased.items()))
        await target.run(f"DELETE FROM {target.name(EMBEDDING)} WHERE owner = %s AND sequence < %s", list(erased.items()))

    async def _deliver(self, target: Target, delivered: Sequence[tuple[Key, _Vector | None]]) -> None:
        vectors = [vector for _, vector in delivered if vector is not None]
        forgotten = await self._known(target, FORGOTTEN, "memory_id", {v.memory_id for v in vectors})
        erased = await self._known(target, ERASED, "owner", {v.owner for v in vectors})
        newest: dict[Key, _Vector] = {}
        deleted: dict[Key, None] = {}
        for key, vector in delivered:
            if vector is None:
                newest.pop(key, None)
                deleted[key] = None
            elif vector.memory_id not in forgotten and vector.sequence > erased.get(vector.owner, -1):
                before = newest.get(key)
                newest[key] = before if before is not None and before.sequence > vector.sequence else vector
        delete = f"DELETE FROM {target.name(EMBEDDING)} WHERE memory_id = %s AND head = %s AND model = %s"
        await target.run(delete, list(deleted))
        await target.upsert(EMBEDDING, [vector.row for vector in newest.values()])

    async def _known(self, target: Target, table: Table, column: str, ids: set[UUID]) -> dict[UUID, int]:
        """Which of ``ids`` are gone, with the sequence of the event that says so."""
        if not ids:
            return {}
        query = f"SELECT {column}, sequence FROM {target.name(table)} WHERE {column} = ANY(%s)"
        return dict(await (await target.conn.execute(query, (list(ids),))).fetchall())


def _vector(record: MemoryEmbedding) -> _Vector:
    memory, owner = UUID(record.memory_id), UUID(record.owner)
    data = Vector(record.vector.raw)
    row: Row = [memory, record.head, record.model, owner, record.dimensions, data, record.sequence]
    return _Vector(memory, owner, record.sequence, row)


def _check_embedding(key: bytes | None, record: MemoryEmbedding) -> None:
    if "\0" in record.head + record.model:
        raise BrokenRecord("head or model holds a NUL byte")
    if not is_uuid(record.memory_id) or not is_uuid(record.owner):
        raise BrokenRecord("memory_id or owner is not a UUID")
    if key != embedding_key(record.memory_id, record.head, record.model):
        raise BrokenRecord("key and record name different vectors")
    if record.vector.is_destroyed:
        return
    if not 0 < record.dimensions <= MAX_DIMENSIONS or len(record.vector.raw) != 4 * record.dimensions:
        raise BrokenRecord("the vector has another length than its dimensions say")
    if not Vector(record.vector.raw).finite:
        raise BrokenRecord("the vector holds a value that is not finite")
