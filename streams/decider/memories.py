"""Adding, warming, revising and forgetting one memory: what extraction and requests have in common."""

from __future__ import annotations

import math

from schemas import ids
from schemas.sealed import Sealed
from schemas.temperature import mentioned
from schemas.types import (
    Entity,
    MemoryAdded,
    MemoryForgotten,
    MemoryReheated,
    MemoryRevised,
    SourceRef,
    ThermalPolicy,
    Triple,
)
from schemas.value import Value
from streams.decider.draft import Draft
from streams.decider.state import MemoryState

HOTTEST = 100.0
"""Degrees that no temperature exceeds."""


class Said(Value, frozen=True):
    """What is to be remembered, wherever it comes from."""

    user_id: Sealed | None
    """None for a revision: its memory knows whose it is."""
    content: Sealed
    fingerprint: str
    salience: float
    policy: ThermalPolicy
    extractor: str
    model: str
    rules: bool
    source: SourceRef | None
    entities: tuple[Entity, ...] = ()
    triples: tuple[Triple, ...] = ()
    slug: Sealed | None = None
    slug_fingerprint: str | None = None
    category: Sealed | None = None
    tags: tuple[Sealed, ...] = ()
    extra: Sealed | None = None
    details_fingerprint: str | None = None


def add(draft: Draft, said: Said, place: int) -> None:
    """A new memory, warm as the policy says."""
    assert said.user_id is not None
    draft.emit(
        MemoryAdded(
            draft.meta(),
            ids.memory_id(draft.owner, draft.cause, place),
            said.user_id,
            said.content,
            said.fingerprint,
            said.salience,
            said.policy.initial,
            said.policy,
            said.extractor,
            said.model,
            said.rules,
            said.source,
            said.slug,
            said.slug_fingerprint,
            said.category,
            said.tags,
            said.extra,
            said.details_fingerprint,
            said.entities,
            said.triples,
        )
    )


def reheat(draft: Draft, memory_id: str, memory: MemoryState, policy: ThermalPolicy, source: SourceRef | None) -> None:
    """A mention. One from imported history does not turn the memory's clock back."""
    before = draft.temperature(memory)
    draft.emit(
        MemoryReheated(
            draft.meta(),
            memory_id,
            before,
            mentioned(before, policy),
            max(memory.warmed_at, draft.now),
            memory.access_count + 1,
            policy,
            source,
        )
    )


def revise(draft: Draft, memory_id: str, memory: MemoryState, said: Said) -> None:
    """Other words for a memory that keeps its id and history. A revision is a mention, too."""
    before = draft.temperature(memory)
    draft.emit(
        MemoryRevised(
            meta=draft.meta(),
            memory_id=memory_id,
            version=memory.version + 1,
            content=said.content,
            fingerprint=said.fingerprint,
            temperature_before=before,
            temperature=mentioned(before, said.policy),
            warmed_at=max(memory.warmed_at, draft.now),
            access_count=memory.access_count + 1,
            policy=said.policy,
            source=said.source,
            slug=said.slug,
            slug_fingerprint=said.slug_fingerprint,
            category=said.category,
            tags=said.tags or None,
            extra=said.extra,
            details_fingerprint=said.details_fingerprint,
            entities=said.entities,
            triples=said.triples,
        )
    )


def forget(draft: Draft, memory_id: str, memory: MemoryState, cut: int, include_source: bool) -> None:
    """The memory goes, and with it the summaries that were made from it."""
    state = draft.state
    summaries = tuple(s for s in memory.summaries if (known := state.summary(s)) is not None and known.live)
    draft.emit(MemoryForgotten(draft.meta(), memory_id, cut, include_source, summaries))


def sound(policy: ThermalPolicy) -> bool:
    """Whether the policy's numbers can be reckoned with."""
    # a comparison with NaN is false, so this refuses it as well
    degrees = 0 <= policy.floor <= policy.maximum <= HOTTEST and 0 <= policy.initial <= policy.maximum
    return degrees and 0 <= policy.reheat <= HOTTEST and -math.inf < policy.half_life_days < math.inf
