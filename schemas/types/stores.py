"""Records of the topics beside the log: embeddings, the newest state of each memory, parked work."""

from __future__ import annotations

from datetime import datetime

from msgspec import field

from schemas.sealed import Sealed
from schemas.types.values import ThermalPolicy
from schemas.value import Value


class MemoryEmbedding(Value, frozen=True):
    """The vector of one memory under one model, L2-normalised; float16 or float32, as its length says."""

    memory_id: str
    owner: str
    head: str
    model: str
    dimensions: int
    vector: Sealed
    sequence: int


class MessageEmbedding(Value, frozen=True):
    """The vector of one message under one model, L2-normalised; float16 or float32, as its length says."""

    message_id: str
    owner: str
    head: str
    model: str
    dimensions: int
    vector: Sealed


class MemoryCurrent(Value, frozen=True):
    """Newest state of one memory, for consumers that want no history; a null value is the tombstone of a forgotten one."""

    memory_id: str
    owner: str
    user_id: Sealed
    content: Sealed
    version: int
    salience: float
    temperature: float
    warmed_at: datetime
    policy: ThermalPolicy
    pinned: bool
    tier: str
    access_count: int
    created_at: datetime
    sequence: int
    slug: Sealed | None = None
    category: Sealed | None = None
    tags: tuple[Sealed, ...] = ()
    extra: Sealed | None = None


class WorkParked(Value, frozen=True):
    """Work that could not be done, kept for a person; behind names the parked work it waits behind."""

    parked_id: str
    owner: str | None
    stage: str
    topic: str
    partition: int
    offset: int
    reason: str
    behind: str | None
    attempts: int
    parked_at: datetime
    key: Sealed | None
    value: Sealed | None
    headers: dict[str, Sealed] = field(default_factory=dict)


class ParkedRetryRequested(Value, frozen=True):
    """Somebody asks to try parked work again."""

    parked_id: str
    owner: str | None
    requested_at: datetime


class ParkedResolved(Value, frozen=True):
    """Parked work left the lot."""

    parked_id: str
    owner: str | None
    outcome: str
    resolved_at: datetime
