"""What an extractor found in one turn: each fact adds a memory, warms, revises or forgets one, or is held back by a forget."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from msgspec.structs import replace

from schemas.types import Fact, FactsExtracted, MemoryForgotten, MessageRef, SourceRef
from streams.decider import memories
from streams.decider.draft import Draft
from streams.decider.memories import Said

LAST_OFFSET = 2**63 - 1


def facts_extracted(draft: Draft, command: FactsExtracted) -> None:
    """Decide the facts in the extractor's order. Each mentions its statement once, however often the turn lists it."""
    if command.source_offset < draft.state.erased_below:
        draft.note("the turn is from before the owner's erasure", source_of(command, ()))
        return
    if not memories.sound(command.policy):
        draft.reject("the thermal policy holds impossible numbers", source_of(command, ()))
        return
    if not all(0 <= fact.salience <= 1 for fact in command.facts):
        draft.reject("a salience lies between 0 and 1", source_of(command, ()))
        return
    held = unknown = 0
    for place, fact in _said_once(command.facts):
        outcome = _fact(draft, command, fact, place)
        held += outcome is _Outcome.HELD
        unknown += outcome is _Outcome.UNKNOWN
    if unknown:
        draft.reject(f"{unknown} facts name a memory to forget that is not there", source_of(command, ()))
    elif not draft.events:
        draft.note(f"{held} facts held back by a forget" if held else "the turn held no facts", source_of(command, ()))
    elif all(type(event) is MemoryForgotten for event in draft.events):
        # a forgetting names no turn: whoever waits for the turn's outcome finds it here
        draft.note("the turn asked to forget, and nothing else", source_of(command, ()))


def _said_once(facts: tuple[Fact, ...]) -> Iterable[tuple[int, Fact]]:
    """The facts with their places; one that a turn lists again is one mention, with the messages of both."""
    if len({fact.fingerprint for fact in facts}) == len(facts):
        return enumerate(facts)
    said: dict[tuple[str, ...], tuple[int, Fact]] = {}
    for place, fact in enumerate(facts):
        key = (fact.fingerprint, "forget", fact.target or "") if fact.action == "forget" else (fact.fingerprint,)
        if key in said:
            first_place, first = said[key]
            more = tuple(message for message in fact.evidence if message not in first.evidence)
            said[key] = first_place, replace(first, evidence=first.evidence + more)
        else:
            said[key] = place, fact
    return said.values()


class _Outcome(enum.Enum):
    DECIDED, HELD, UNKNOWN = range(3)


def _fact(draft: Draft, command: FactsExtracted, fact: Fact, place: int) -> _Outcome:
    """Decide one fact."""
    state = draft.state
    if fact.action == "forget":
        target = state.memory(fact.target or "")
        if target is None or fact.target is None:
            return _Outcome.UNKNOWN
        # this turn asks for it: only a later one may teach it anew
        memories.forget(draft, fact.target, target, min(command.source_offset + 1, LAST_OFFSET), include_source=False)
        return _Outcome.DECIDED
    known = state.statement(fact.fingerprint)
    if state.holds_statement(known, command.source_offset):
        return _Outcome.HELD
    if fact.text.is_destroyed:
        return _Outcome.HELD
    for message in fact.evidence:
        if state.holds_message(message.message_id):
            return _Outcome.HELD
    source = source_of(command, fact.evidence)
    # a target that is not there (forgotten meanwhile, or made up by a model) leaves the fact itself: it is decided by its words
    target = state.memory(fact.target) if fact.target is not None and fact.action != "add" else None
    if fact.target is not None and target is not None and fact.action == "reheat":
        memories.reheat(draft, fact.target, target, command.policy, source)
    elif known.memory_ids:
        # already said, by the target or by another: two memories of the same words help nobody
        first = known.memory_ids[0]
        memory = state.memory(first)
        assert memory is not None, "a statement names live memories only"
        memories.reheat(draft, first, memory, command.policy, source)
    elif fact.target is not None and target is not None:
        memories.revise(draft, fact.target, target, _said(command, fact, source))
    else:
        memories.add(draft, _said(command, fact, source), place)
    return _Outcome.DECIDED


def _said(command: FactsExtracted, fact: Fact, source: SourceRef) -> Said:
    return Said(
        command.user_id,
        fact.text,
        fact.fingerprint,
        fact.salience,
        command.policy,
        command.extractor,
        command.model,
        command.rules,
        source,
        fact.entities,
        fact.triples,
    )


def source_of(command: FactsExtracted, evidence: tuple[MessageRef, ...]) -> SourceRef:
    """The turn as the source of a decision."""
    return SourceRef(
        command.meta.command_id,
        command.session_id,
        command.agent_id,
        evidence,
        command.source_offset,
        len(command.facts),
        command.failed,
    )
