"""What a nightly consolidation made of a day: its summary, and memories that move to a cooler tier."""

from __future__ import annotations

from schemas import ids
from schemas.types import ConsolidateDay, DaySummarised, MemoryDownshifted
from streams.decider.draft import Draft
from streams.decider.state import TIERS


def consolidate_day(draft: Draft, command: ConsolidateDay) -> None:
    """A summary that was made from something forgotten meanwhile is rejected: it would bring it back."""
    state = draft.state
    if command.summary is not None:
        gone = sum(state.memory(m) is None for m in command.memory_ids)
        held = sum(map(state.holds_message, command.message_ids))
        if gone or held:
            return draft.reject(f"the summary was made from {gone} memories and {held} messages that are forgotten or unknown")
        _summarise(draft, command)
    wrong = 0
    for shift in command.downshifts:
        memory = draft.state.memory(shift.memory_id)
        if memory is None or shift.tier not in TIERS:
            wrong += 1
        elif memory.tier != shift.tier or shift.dropped_heads:
            draft.emit(MemoryDownshifted(draft.meta(), shift.memory_id, memory.tier, shift.tier, shift.dropped_heads))
    if wrong:
        draft.reject(f"{wrong} downshifts name an unknown memory or tier")
    elif not draft.events:
        draft.note("the day brought nothing")
    return None


def _summarise(draft: Draft, command: ConsolidateDay) -> None:
    assert command.summary is not None
    summary_id = ids.summary_id(draft.owner, command.day.isoformat())
    before = draft.state.summary(summary_id)
    draft.emit(
        DaySummarised(
            meta=draft.meta(),
            summary_id=summary_id,
            day=command.day,
            revision=before.revision + 1 if before else 1,
            content=command.summary,
            memory_ids=command.memory_ids,
            message_ids=command.message_ids,
            triples=command.triples,
            model=command.model,
            prompt_version=command.prompt_version,
        )
    )
