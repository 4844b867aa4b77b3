"""``decide(state, command, cause) -> events``: every command leaves an event, and nothing that a command says makes it raise."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from schemas import ids
from schemas.temperature import mentioned, temperature_at
from schemas.types import (
    Command,
    CommandNoted,
    CommandRejected,
    EventMeta,
    Fact,
    FactsExtracted,
    Forget,
    MemoryAdded,
    MemoryEvent,
    MemoryForgotten,
    MemoryReheated,
    SourceRef,
)
from streams.decider.evolve import evolve
from streams.decider.state import OwnerState

DECIDER_VERSION = 1


def decide(state: OwnerState, command: Command, cause: int) -> tuple[MemoryEvent, ...]:
    """The events of ``command``, whose offset in its memory.commands partition is ``cause``, for an owner in ``state``."""
    draft = _Draft(state, command.owner, cause, _time_of(command))
    match command:
        case FactsExtracted():
            _facts_extracted(draft, command)
        case Forget():
            _forget(draft, command)
    return tuple(draft.events)


def _time_of(command: Command) -> datetime:
    return command.occurred_at if isinstance(command, FactsExtracted) else command.requested_at


@dataclass(slots=True)
class _Draft:
    """The state while one command is decided, with the events so far folded in."""

    state: OwnerState
    owner: str
    cause: int
    occurred_at: datetime
    events: list[MemoryEvent]

    def __init__(self, state: OwnerState, owner: str, cause: int, occurred_at: datetime) -> None:
        self.state, self.owner, self.cause, self.occurred_at = state, owner, cause, occurred_at
        self.events = []

    def meta(self) -> EventMeta:
        return EventMeta(self.owner, self.state.last_sequence + 1, self.cause, DECIDER_VERSION, self.occurred_at)

    def emit(self, event: MemoryEvent) -> None:
        self.events.append(event)
        self.state = evolve(self.state, event)


def _facts_extracted(draft: _Draft, command: FactsExtracted) -> None:
    source = _source(command, evidence=())
    if command.turn_id in draft.state.turns:
        # the first extraction on the log counts, so a retried model call or a turn published twice changes nothing
        draft.emit(CommandNoted(draft.meta(), "FactsExtracted", "the turn was decided before", source))
        return
    seen: set[str] = set()
    held = 0
    for place, fact in enumerate(command.facts):
        if fact.fingerprint in seen:
            continue  # one turn mentions one fact once, however often the extractor lists it
        seen.add(fact.fingerprint)
        if _is_held(draft.state, fact, command.source_offset):
            held += 1
            continue
        known = draft.state.by_fingerprint.get(fact.fingerprint)
        draft.emit(_reheat(draft, command, fact, known) if known else _add(draft, command, fact, place))
    if not draft.events:
        reason = f"{held} facts held back by a forget" if held else "the turn held no facts"
        draft.emit(CommandNoted(draft.meta(), "FactsExtracted", reason, source))


def _is_held(state: OwnerState, fact: Fact, source_offset: int) -> bool:
    """Whether a forget holds ``fact`` back: its words from before the forget, or any words from a forgotten memory's messages."""
    if source_offset < state.held_fingerprints.get(fact.fingerprint, 0):
        return True
    return any(message in state.held_messages for message in fact.evidence)


def _source(command: FactsExtracted, evidence: tuple[str, ...]) -> SourceRef:
    return SourceRef(
        turn_id=command.turn_id,
        session_id=command.session_id,
        agent_id=command.agent_id,
        message_ids=evidence,
        source_offset=command.source_offset,
        facts_in_turn=len(command.facts),
        failed_in_turn=command.failed,
    )


def _add(draft: _Draft, command: FactsExtracted, fact: Fact, place: int) -> MemoryAdded:
    return MemoryAdded(
        meta=draft.meta(),
        memory_id=ids.memory_id(draft.owner, draft.cause, place),
        user_id=command.user_id,
        content=fact.text,
        fingerprint=fact.fingerprint,
        salience=fact.salience,
        temperature=command.policy.initial,
        policy=command.policy,
        source=_source(command, fact.evidence),
        extractor=command.extractor,
        model=command.model,
        rules=command.rules,
    )


def _reheat(draft: _Draft, command: FactsExtracted, fact: Fact, memory_id: str) -> MemoryReheated:
    memory = draft.state.memories[memory_id]
    before = temperature_at(memory.temperature, memory.warmed_at, draft.occurred_at, memory.policy)
    return MemoryReheated(
        meta=draft.meta(),
        memory_id=memory_id,
        temperature_before=before,
        temperature=mentioned(before, command.policy),
        # a mention from imported history does not turn the clock of a memory back
        warmed_at=max(memory.warmed_at, draft.occurred_at),
        access_count=memory.access_count + 1,
        policy=command.policy,
        source=_source(command, fact.evidence),
    )


def _forget(draft: _Draft, command: Forget) -> None:
    unknown = before = 0
    for memory_id in dict.fromkeys(command.memory_ids):
        memory = draft.state.memories.get(memory_id)
        if memory is not None:
            kept = memory.message_ids
            draft.emit(MemoryForgotten(draft.meta(), memory_id, command.conversation_end_offset, kept))
        elif memory_id in draft.state.forgotten:
            before += 1
        else:
            unknown += 1
    if unknown or not command.memory_ids:
        reason = f"{unknown} of {len(command.memory_ids)} memories are unknown" if unknown else "no memory was named"
        draft.emit(CommandRejected(draft.meta(), "Forget", reason))
    elif not draft.events:
        draft.emit(CommandNoted(draft.meta(), "Forget", f"{before} memories were forgotten before"))
