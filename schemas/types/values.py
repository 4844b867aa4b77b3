"""What the records share: metadata of commands and events, sources, policies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from schemas.sealed import Sealed


@dataclass(frozen=True, slots=True)
class ThermalPolicy:
    """How warmth behaves: degrees 0-100, half-life in days. Values that a decision used stand in its events."""

    initial: float = 75.0
    reheat: float = 5.0
    maximum: float = 100.0
    floor: float = 20.0
    half_life_days: float = 30.0


@dataclass(frozen=True, slots=True)
class CommandMeta:
    """What every command carries. An id is decided once: a command that comes again changes nothing."""

    command_id: str
    owner: str
    occurred_at: datetime
    actor: str
    approval_required: bool = False
    approval_id: str | None = None


@dataclass(frozen=True, slots=True)
class EventMeta:
    """What every memory event carries."""

    owner: str
    sequence: int
    cause: int
    decider_version: int
    occurred_at: datetime
    command_id: str


@dataclass(frozen=True, slots=True)
class MessageRef:
    """A message as evidence."""

    message_id: str
    producer_id: Sealed | None = None


@dataclass(frozen=True, slots=True)
class SourceRef:
    """Where a decision came from, and the counts of that turn."""

    turn_id: str
    session_id: Sealed
    agent_id: str
    messages: tuple[MessageRef, ...]
    source_offset: int
    facts_in_turn: int
    failed_in_turn: int


@dataclass(frozen=True, slots=True)
class Entity:
    """Something that a fact names."""

    name: Sealed
    kind: str


@dataclass(frozen=True, slots=True)
class Triple:
    """A statement that a fact makes."""

    subject: Sealed
    predicate: Sealed
    object: Sealed


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool during a turn."""

    name: str
    arguments: Sealed | None = None
    result: Sealed | None = None


@dataclass(frozen=True, slots=True)
class Downshift:
    """A memory that moves to a cooler tier."""

    memory_id: str
    tier: str
    dropped_heads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoreOutcome:
    """What one store did with what was to be destroyed."""

    store: str
    removed: int
    pending_until: datetime | None = None
