"""Commands about memories: what extraction found, and what somebody asks for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

from schemas.sealed import Sealed
from schemas.types.values import CommandMeta, Downshift, Entity, MessageRef, ThermalPolicy, Triple

FactAction = Literal["add", "reheat", "revise", "forget"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One candidate fact with the messages that say so."""

    text: Sealed
    fingerprint: str
    evidence: tuple[MessageRef, ...]
    salience: float
    action: FactAction = "add"
    target: str | None = None
    entities: tuple[Entity, ...] = ()
    triples: tuple[Triple, ...] = ()


@dataclass(frozen=True, slots=True)
class FactsExtracted:
    """Command: what an extractor found in one turn; its command id is the turn's."""

    meta: CommandMeta
    user_id: Sealed
    agent_id: str
    session_id: Sealed
    source_offset: int
    facts: tuple[Fact, ...]
    failed: int
    skipped_short: int
    extractor: str
    model: str
    prompt_version: str
    prompt_tokens: int
    completion_tokens: int
    rules: bool
    policy: ThermalPolicy


@dataclass(frozen=True, slots=True)
class Remember:
    """Command: keep this statement; where the owner has its slug, the memory of that slug is revised."""

    meta: CommandMeta
    user_id: Sealed
    content: Sealed
    fingerprint: str
    salience: float
    policy: ThermalPolicy
    slug: Sealed | None = None
    slug_fingerprint: str | None = None
    category: Sealed | None = None
    tags: tuple[Sealed, ...] = ()
    extra: Sealed | None = None
    details_fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Reheat:
    """Command: a memory was used or mentioned: it becomes warmer."""

    meta: CommandMeta
    memory_id: str
    policy: ThermalPolicy


@dataclass(frozen=True, slots=True)
class Pin:
    """Command: a memory becomes sacred: it does not cool."""

    meta: CommandMeta
    memory_id: str


@dataclass(frozen=True, slots=True)
class Unpin:
    """Command: a sacred memory cools again from now on."""

    meta: CommandMeta
    memory_id: str


@dataclass(frozen=True, slots=True)
class Revise:
    """Command: a memory gets other words; its id and history stay."""

    meta: CommandMeta
    memory_id: str
    content: Sealed
    fingerprint: str
    policy: ThermalPolicy
    expected_version: int | None = None
    category: Sealed | None = None
    extra: Sealed | None = None
    details_fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """Command: connect two memories of one owner."""

    meta: CommandMeta
    source_id: str
    target_id: str
    kind: str
    weight: float


@dataclass(frozen=True, slots=True)
class Unlink:
    """Command: take a link away."""

    meta: CommandMeta
    source_id: str
    target_id: str
    kind: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Command: forget single memories of one owner."""

    meta: CommandMeta
    memory_ids: tuple[str, ...]
    conversation_end_offset: int
    include_source: bool = False


@dataclass(frozen=True, slots=True)
class ConsolidateDay:
    """Command: what a nightly consolidation made of one day."""

    meta: CommandMeta
    day: date
    summary: Sealed | None
    memory_ids: tuple[str, ...]
    message_ids: tuple[str, ...]
    triples: tuple[Triple, ...]
    downshifts: tuple[Downshift, ...]
    model: str
    prompt_version: str
    prompt_tokens: int
    completion_tokens: int
