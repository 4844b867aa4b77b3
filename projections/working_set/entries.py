"""What the working set holds of an owner, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

from schemas.types import ThermalPolicy

MESSAGES = 50
"""The newest messages that are kept, by time."""
MEMORIES = 100
"""Memories that are kept: sacred ones before others, then those that were touched last."""
FOCUS = 50
"""Members of the focus buffer."""

Touched = Literal["memory", "message"]


class HeldMessage(msgspec.Struct, frozen=True, gc=False):
    """A message. ``text`` is None once it was forgotten; it keeps its place, so that no older one moves up."""

    message_id: str
    turn_id: str
    role: str
    text: str | None
    at: datetime
    offset: int
    """Of its turn on the partition; ``place`` is its place in the turn."""
    place: int


class HeldMemory(msgspec.Struct, frozen=True, gc=False):
    """A live memory: ``temperature`` degrees at ``warmed_at``; today's follows by schemas.temperature.

    ``text`` is None for one that was mentioned again after it had left the working set: the archive has its words.
    """

    memory_id: str
    text: str | None
    temperature: float
    warmed_at: datetime
    access_count: int
    version: int | None
    sacred: bool
    policy: ThermalPolicy
    salience: float | None
    touched_at: datetime
    """Time of the last event about it, and that event's ``sequence``."""
    sequence: int


class Named(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A message that a memory was learnt from; ``offset`` is that of the turn."""

    message_id: str
    offset: int


@dataclass(frozen=True, slots=True)
class Focused:
    """What was touched, and when (event time)."""

    kind: Touched
    id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Recent:
    """An owner's working set. Messages are oldest first; memories and focus begin with what was touched last."""

    turns: tuple[HeldMessage, ...]
    memories: tuple[HeldMemory, ...]
    focus: tuple[Focused, ...]
