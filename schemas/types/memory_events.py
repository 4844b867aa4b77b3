"""Events about memories, and the two that say that a command changed nothing."""

from __future__ import annotations

from datetime import date, datetime

from schemas.sealed import Sealed
from schemas.types.values import Entity, EventMeta, SourceRef, ThermalPolicy, Triple
from schemas.value import Value


class MemoryAdded(Value, frozen=True):
    """Event: a new memory."""

    meta: EventMeta
    memory_id: str
    user_id: Sealed
    content: Sealed
    fingerprint: str
    salience: float
    temperature: float
    policy: ThermalPolicy
    extractor: str
    model: str
    rules: bool
    source: SourceRef | None = None
    slug: Sealed | None = None
    slug_fingerprint: str | None = None
    category: Sealed | None = None
    tags: tuple[Sealed, ...] = ()
    extra: Sealed | None = None
    details_fingerprint: str | None = None
    entities: tuple[Entity, ...] = ()
    triples: tuple[Triple, ...] = ()


class MemoryReheated(Value, frozen=True):
    """Event: a known memory was mentioned again; it has temperature degrees at warmed_at."""

    meta: EventMeta
    memory_id: str
    temperature_before: float
    temperature: float
    warmed_at: datetime
    access_count: int
    policy: ThermalPolicy
    source: SourceRef | None = None


class MemoryRevised(Value, frozen=True):
    """Event: a memory has other words; id and history stay. A revision is a mention, too."""

    meta: EventMeta
    memory_id: str
    version: int
    content: Sealed
    fingerprint: str
    temperature_before: float
    temperature: float
    warmed_at: datetime
    access_count: int
    policy: ThermalPolicy
    source: SourceRef | None = None
    slug: Sealed | None = None
    slug_fingerprint: str | None = None
    category: Sealed | None = None
    tags: tuple[Sealed, ...] | None = None
    extra: Sealed | None = None
    details_fingerprint: str | None = None
    entities: tuple[Entity, ...] = ()
    triples: tuple[Triple, ...] = ()


class MemoryPinned(Value, frozen=True):
    """Event: a memory is sacred: it keeps temperature degrees."""

    meta: EventMeta
    memory_id: str
    temperature: float
    warmed_at: datetime


class MemoryUnpinned(Value, frozen=True):
    """Event: a memory cools again: it has temperature degrees at warmed_at."""

    meta: EventMeta
    memory_id: str
    temperature: float
    warmed_at: datetime


class MemoriesLinked(Value, frozen=True):
    """Event: two memories are connected; a link that exists has this weight now."""

    meta: EventMeta
    source_id: str
    target_id: str
    kind: str
    weight: float


class MemoriesUnlinked(Value, frozen=True):
    """Event: a link is gone."""

    meta: EventMeta
    source_id: str
    target_id: str
    kind: str
    weight: float


class MemoryDownshifted(Value, frozen=True):
    """Event: a memory moved to a cooler tier."""

    meta: EventMeta
    memory_id: str
    tier_before: str
    tier: str
    dropped_heads: tuple[str, ...]


class MemoryForgotten(Value, frozen=True):
    """Event: a memory leaves every store, with its links and with the summaries that were made from it."""

    meta: EventMeta
    memory_id: str
    conversation_end_offset: int
    include_source: bool
    summary_ids: tuple[str, ...]


class DaySummarised(Value, frozen=True):
    """Event: a day's summary; a day that is summarised again has a new revision of it."""

    meta: EventMeta
    summary_id: str
    day: date
    revision: int
    content: Sealed
    memory_ids: tuple[str, ...]
    message_ids: tuple[str, ...]
    triples: tuple[Triple, ...]
    model: str
    prompt_version: str


class CommandNoted(Value, frozen=True):
    """Event: a command changed nothing, and why."""

    meta: EventMeta
    command_type: str
    reason: str
    source: SourceRef | None = None


class CommandRejected(Value, frozen=True):
    """Event: a command, or a part of it, could not be carried out, and why."""

    meta: EventMeta
    command_type: str
    reason: str
    source: SourceRef | None = None
