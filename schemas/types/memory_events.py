"""Events about memories, and the two that say that a command changed nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from schemas.sealed import Sealed
from schemas.types.values import Entity, EventMeta, SourceRef, ThermalPolicy, Triple


@dataclass(frozen=True, slots=True)
class MemoryAdded:
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


@dataclass(frozen=True, slots=True)
class MemoryReheated:
    """Event: a known memory was mentioned again; it has temperature degrees at warmed_at."""

    meta: EventMeta
    memory_id: str
    temperature_before: float
    temperature: float
    warmed_at: datetime
    access_count: int
    policy: ThermalPolicy
    source: SourceRef | None = None


@dataclass(frozen=True, slots=True)
class MemoryRevised:
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


@dataclass(frozen=True, slots=True)
class MemoryPinned:
    """Event: a memory is sacred: it keeps temperature degrees."""

    meta: EventMeta
    memory_id: str
    temperature: float
    warmed_at: datetime


@dataclass(frozen=True, slots=True)
class MemoryUnpinned:
    """Event: a memory cools again: it has temperature degrees at warmed_at."""

    meta: EventMeta
    memory_id: str
    temperature: float
    warmed_at: datetime


@dataclass(frozen=True, slots=True)
class MemoriesLinked:
    """Event: two memories are connected; a link that exists has this weight now."""

    meta: EventMeta
    source_id: str
    target_id: str
    kind: str
    weight: float


@dataclass(frozen=True, slots=True)
class MemoriesUnlinked:
    """Event: a link is gone."""

    meta: EventMeta
    source_id: str
    target_id: str
    kind: str
    weight: float


@dataclass(frozen=True, slots=True)
class MemoryDownshifted:
    """Event: a memory moved to a cooler tier."""

    meta: EventMeta
    memory_id: str
    tier_before: str
    tier: str
    dropped_heads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MemoryForgotten:
    """Event: a memory leaves every store, with its links and with the summaries that were made from it."""

    meta: EventMeta
    memory_id: str
    conversation_end_offset: int
    include_source: bool
    summary_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DaySummarised:
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


@dataclass(frozen=True, slots=True)
class CommandNoted:
    """Event: a command changed nothing, and why."""

    meta: EventMeta
    command_type: str
    reason: str
    source: SourceRef | None = None


@dataclass(frozen=True, slots=True)
class CommandRejected:
    """Event: a command, or a part of it, could not be carried out, and why."""

    meta: EventMeta
    command_type: str
    reason: str
    source: SourceRef | None = None
