"""Records of memory.embeddings: their keys, and what every view that takes vectors checks of them."""

from __future__ import annotations

from uuid import UUID

from schemas.errors import BrokenRecord
from schemas.ids import is_uuid
from schemas.types import MemoryEmbedding, MessageEmbedding
from schemas.vectors import unpack

MAX_DIMENSIONS = 16_000
"""pgvector's limit."""

Key = tuple[UUID, str, str]
"""Trace id, head and model."""


def embedding_key(trace_id: str, head: str, model: str) -> bytes:
    """Kafka key of a vector: ``trace_id/head/model``, the id being a memory's or a message's."""
    return f"{trace_id}/{head}/{model}".encode()


def parse_key(key: bytes) -> Key:
    """Read a Kafka key. Raises BrokenRecord."""
    try:
        trace_id, head, model = key.decode().split("/", 2)
    except ValueError:  # UnicodeDecodeError is one
        raise BrokenRecord("the key is not memory_id/head/model") from None
    if not is_uuid(trace_id) or "\0" in head or "\0" in model:
        raise BrokenRecord("the key is not memory_id/head/model")
    return UUID(trace_id), head, model


def id_of(record: MemoryEmbedding | MessageEmbedding) -> str:
    """Of the trace that the vector belongs to."""
    return record.memory_id if isinstance(record, MemoryEmbedding) else record.message_id


def check_vector(key: bytes | None, record: MemoryEmbedding | MessageEmbedding) -> None:
    """Keys and ids must agree, vectors be what they say. Raises BrokenRecord and SealedValue."""
    if "\0" in record.head + record.model:
        raise BrokenRecord("head or model holds a NUL byte")
    if not is_uuid(id_of(record)) or not is_uuid(record.owner):
        raise BrokenRecord("memory_id, message_id or owner is not a UUID")
    if key != embedding_key(id_of(record), record.head, record.model):
        raise BrokenRecord("key and record name different vectors")
    if record.vector.is_destroyed:
        return
    if record.dimensions > MAX_DIMENSIONS:
        raise BrokenRecord(f"the vector has more than {MAX_DIMENSIONS} dimensions")
    unpack(record.vector.raw, record.dimensions)
