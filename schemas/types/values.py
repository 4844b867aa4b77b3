"""What the records share: metadata of commands and events, sources, policies."""

from __future__ import annotations

from datetime import datetime

from schemas.sealed import Sealed
from schemas.value import Value


class ThermalPolicy(Value, frozen=True):
    """How warmth behaves: degrees 0-100, half-life in days. Values that a decision used stand in its events."""

    initial: float = 75.0
    reheat: float = 5.0
    maximum: float = 100.0
    floor: float = 20.0
    half_life_days: float = 30.0


class CommandMeta(Value, frozen=True):
    """What every command carries. An id is decided once: a command that comes again changes nothing."""

    command_id: str
    owner: str
    occurred_at: datetime
    actor: str
    approval_required: bool = False
    approval_id: str | None = None


class EventMeta(Value, frozen=True):
    """What every memory event carries."""

    owner: str
    sequence: int
    cause: int
    decider_version: int
    occurred_at: datetime
    command_id: str


class MessageRef(Value, frozen=True):
    """A message as evidence."""

    message_id: str
    producer_id: Sealed | None = None


class SourceRef(Value, frozen=True):
    """Where a decision came from, and the counts of that turn."""

    turn_id: str
    session_id: Sealed
    agent_id: str
    messages: tuple[MessageRef, ...]
    source_offset: int
    facts_in_turn: int
    failed_in_turn: int


class Entity(Value, frozen=True):
    """Something that a fact names."""

    name: Sealed
    kind: str


class Triple(Value, frozen=True):
    """A statement that a fact makes."""

    subject: Sealed
    predicate: Sealed
    object: Sealed


class ToolCall(Value, frozen=True):
    """One call of a tool during a turn."""

    name: str
    arguments: Sealed | None = None
    result: Sealed | None = None


class Downshift(Value, frozen=True):
    """A memory that moves to a cooler tier."""

    memory_id: str
    tier: str
    dropped_heads: tuple[str, ...]


class StoreOutcome(Value, frozen=True):
    """What one store did with what was to be destroyed."""

    store: str
    removed: int
    pending_until: datetime | None = None
