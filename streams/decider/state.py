"""What the decider knows of one owner: the fold of the owner's accepted events and nothing else.

The maps are persistent (``immutables.Map``): a changed state shares all that did not change with the state before, so an owner
with many memories costs no more per event than one with few, and a decision that is thrown away costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from immutables import Map

from schemas.types import ThermalPolicy


@dataclass(frozen=True, slots=True)
class MemoryState:
    """A live memory: ``temperature`` is that at ``warmed_at``; ``message_ids`` are all messages that were evidence for it."""

    memory_id: str
    fingerprint: str
    temperature: float
    warmed_at: datetime
    access_count: int
    policy: ThermalPolicy
    message_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OwnerState:
    """One owner. ``last_sequence`` and ``last_cause`` are those of the last accepted event (0 and -1 before the first)."""

    last_sequence: int = 0
    last_cause: int = -1
    memories: Map[str, MemoryState] = field(default_factory=Map)
    by_fingerprint: Map[str, str] = field(default_factory=Map)
    turns: Map[str, int] = field(default_factory=Map)
    """Turn ids that were decided, with the offset of the command that decided each."""
    forgotten: Map[str, int] = field(default_factory=Map)
    """Forgotten memory ids, with the conversation offset below which turns cannot bring them back."""
    held_fingerprints: Map[str, int] = field(default_factory=Map)
    """Fingerprints of forgotten memories, with that offset."""
    held_messages: Map[str, int] = field(default_factory=Map)
    """Source messages of forgotten memories: they add no new memory, however worded."""


EMPTY = OwnerState()
