"""Commands about memories: what extraction found, and what somebody asks for."""

from __future__ import annotations

from datetime import date
from typing import Literal

from schemas.sealed import Sealed
from schemas.types.values import CommandMeta, Downshift, Entity, MessageRef, ThermalPolicy, Triple
from schemas.value import Value

FactAction = Literal["add", "reheat", "revise", "forget"]


class Fact(Value, frozen=True):
    """One candidate fact with the messages that say so."""

    text: Sealed
    fingerprint: str
    evidence: tuple[MessageRef, ...]
    salience: float
    action: FactAction = "add"
    target: str | None = None
    entities: tuple[Entity, ...] = ()
    triples: tuple[Triple, ...] = ()


class FactsExtracted(Value, frozen=True):
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


class Remember(Value, frozen=True):
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


class Reheat(Value, frozen=True):
    """Command: a memory was used or mentioned: it becomes warmer."""

    meta: CommandMeta
    memory_id: str
    policy: ThermalPolicy


class Pin(Value, frozen=True):
    """Command: a memory becomes sacred: it does not cool."""

    meta: CommandMeta
    memory_id: str


class Unpin(Value, frozen=True):
    """Command: a sacred memory cools again from now on."""

    meta: CommandMeta
    memory_id: str


class Revise(Value, frozen=True):
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


class Link(Value, frozen=True):
    """Command: connect two memories of one owner."""

    meta: CommandMeta
    source_id: str
    target_id: str
    kind: str
    weight: float


class Unlink(Value, frozen=True):
    """Command: take a link away."""

    meta: CommandMeta
    source_id: str
    target_id: str
    kind: str


class Forget(Value, frozen=True):
    """Command: forget single memories of one owner."""

    meta: CommandMeta
    memory_ids: tuple[str, ...]
    conversation_end_offset: int
    include_source: bool = False


class ConsolidateDay(Value, frozen=True):
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
