"""embeddings: the vectors of memories, for recall.

It reads two topics whose records meet in any order. From memory.embeddings each record replaces the row of its key, as
compaction keeps the last record of a key: a rule by sequence would make a rebuild from the compacted topic differ from the live
table. From memory.events it learns what is forgotten: such a memory's vectors go, and one that a slow embedder still delivers
stays out for good.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from projections.records import Kind, Placed, Source, refuse_nul
from projections.vectors import Vector
from projections.view import Column, Row, Table, Target, ViewSettings
from schemas.errors import BrokenRecord
from schemas.ids import is_uuid
from schemas.types import MemoryEmbedding, MemoryForgotten

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
)
FORGOTTEN = Table("forgotten_memory", (Column("memory_id", "uuid"), Column("sequence", "int8")), ("memory_id",))

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


class EmbeddingsView:
    """One row per memory, head and model."""

    name = "embeddings"
    version = 1
    tables = (EMBEDDING, FORGOTTEN)

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
        """Fold a batch: the last record of each key, without what is forgotten."""
        last: dict[Key, Row | None] = {}
        forgotten: dict[UUID, int] = {}
        for placed in batch:
            match placed.record:
                case MemoryForgotten(memory_id=memory_id, meta=meta):
                    forgotten[UUID(memory_id)] = meta.sequence
                case None:
                    last[parse_key(placed.key or b"")] = None
                case MemoryEmbedding() as record:
                    last[UUID(record.memory_id), record.head, record.model] = _row(record)
        await self._forget(target, forgotten)
        await self._replace(target, last)

    async def _forget(self, target: Target, forgotten: dict[UUID, int]) -> None:
        if not forgotten:
            return
        await target.run(FORGOTTEN.upsert(target.schema), list(forgotten.items()))
        await target.conn.execute(f"DELETE FROM {target.name(EMBEDDING)} WHERE memory_id = ANY(%s)", (list(forgotten),))

    async def _replace(self, target: Target, last: dict[Key, Row | None]) -> None:
        if not last:
            return
        cursor = await target.conn.execute(
            f"SELECT memory_id FROM {target.name(FORGOTTEN)} WHERE memory_id = ANY(%s)", (list({key[0] for key in last}),)
        )
        gone = {row[0] for row in await cursor.fetchall()}
        delete = f"DELETE FROM {target.name(EMBEDDING)} WHERE memory_id = %s AND head = %s AND model = %s"
        await target.run(delete, [key for key, row in last.items() if row is None])
        await target.upsert(EMBEDDING, [row for key, row in last.items() if row is not None and key[0] not in gone])


def _row(record: MemoryEmbedding) -> Row:
    return [
        UUID(record.memory_id),
        record.head,
        record.model,
        UUID(record.owner),
        record.dimensions,
        Vector(record.vector),
        record.sequence,
    ]


def _check_embedding(key: bytes | None, record: MemoryEmbedding) -> None:
    refuse_nul(record)
    if not is_uuid(record.memory_id) or not is_uuid(record.owner):
        raise BrokenRecord("memory_id or owner is not a UUID")
    if key != embedding_key(record.memory_id, record.head, record.model):
        raise BrokenRecord("key and record name different vectors")
    if not 0 < record.dimensions <= MAX_DIMENSIONS or len(record.vector) != 4 * record.dimensions:
        raise BrokenRecord("the vector has another length than its dimensions say")
    if not Vector(record.vector).finite:
        raise BrokenRecord("the vector holds a value that is not finite")
