"""``evolve(state, event) -> state``: how an accepted event changes what is known of its owner."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from schemas.types import (
    CommandNoted,
    MemoryAdded,
    MemoryEvent,
    MemoryForgotten,
    MemoryReheated,
)
from streams.decider.state import MemoryState, OwnerState


def evolve(state: OwnerState, event: MemoryEvent) -> OwnerState:
    """The state after ``event``. Whether the event is accepted is the reader's question (``schemas.slices``), not this one's."""
    match event:
        case MemoryAdded():
            state = _added(state, event)
        case MemoryReheated():
            state = _reheated(state, event)
        case MemoryForgotten():
            state = _forgotten(state, event)
        case _:
            pass
    source = getattr(event, "source", None) if isinstance(event, MemoryAdded | MemoryReheated | CommandNoted) else None
    turns = state.turns if source is None else state.turns.set(source.turn_id, event.meta.cause)
    return replace(
        state,
        turns=turns,
        last_sequence=event.meta.sequence,
        last_cause=max(state.last_cause, event.meta.cause),
    )


def fold(state: OwnerState, events: Iterable[MemoryEvent]) -> OwnerState:
    """``evolve`` over several events, in order."""
    for event in events:
        state = evolve(state, event)
    return state


def _added(state: OwnerState, event: MemoryAdded) -> OwnerState:
    memory = MemoryState(
        memory_id=event.memory_id,
        fingerprint=event.fingerprint,
        temperature=event.temperature,
        warmed_at=event.meta.occurred_at,
        access_count=1,
        policy=event.policy,
        message_ids=event.source.message_ids,
    )
    return replace(
        state,
        memories=state.memories.set(event.memory_id, memory),
        by_fingerprint=state.by_fingerprint.set(event.fingerprint, event.memory_id),
    )


def _reheated(state: OwnerState, event: MemoryReheated) -> OwnerState:
    known = state.memories[event.memory_id]
    seen = set(known.message_ids)
    memory = replace(
        known,
        temperature=event.temperature,
        warmed_at=event.warmed_at,
        access_count=event.access_count,
        policy=event.policy,
        message_ids=known.message_ids + tuple(m for m in event.source.message_ids if m not in seen),
    )
    return replace(state, memories=state.memories.set(event.memory_id, memory))


def _forgotten(state: OwnerState, event: MemoryForgotten) -> OwnerState:
    memory = state.memories[event.memory_id]
    cut = max(event.conversation_end_offset, state.held_fingerprints.get(memory.fingerprint, 0))
    held = state.held_messages.mutate()
    for message in memory.message_ids:
        held[message] = cut
    return replace(
        state,
        memories=state.memories.delete(event.memory_id),
        by_fingerprint=state.by_fingerprint.delete(memory.fingerprint),
        forgotten=state.forgotten.set(event.memory_id, event.conversation_end_offset),
        held_fingerprints=state.held_fingerprints.set(memory.fingerprint, cut),
        held_messages=held.finish(),
    )
