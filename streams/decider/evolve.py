"""``evolve(state, event) -> state``: how an accepted event changes what is known of its owner."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

from immutables import Map, MapMutation
from msgspec.structs import replace

from schemas import types
from schemas.ids import part_of
from schemas.types import MemoryEvent
from streams.decider.state import (
    DONE,
    FORGOT,
    NOTHING_SAID,
    SUMMARY,
    AccessState,
    ApprovalState,
    Entry,
    Gone,
    Known,
    MemoryState,
    OwnerState,
    Statement,
    SummaryState,
    Versioned,
    link_key,
)

Entries = MapMutation[str, Entry]


class Changing(Known):
    """A state while events are folded into it: what the persistent map shares is copied once for all of them."""

    __slots__ = ("entries", "erased_below", "erased_cause", "forgot_below", "last_cause", "last_sequence", "live")
    entries: Entries

    def __init__(self, state: OwnerState) -> None:
        self.last_sequence, self.last_cause = state.last_sequence, state.last_cause
        self.live, self.erased_below, self.erased_cause = state.live, state.erased_below, state.erased_cause
        self.forgot_below = state.forgot_below
        self.entries = state.entries.mutate()

    def take(self, event: MemoryEvent) -> None:
        """Fold one event in."""
        meta = event.meta
        done = DONE + meta.command_id
        if type(event) is types.OwnerErased:
            self._erase(event)
            self.entries[done] = FORGOT
        elif type(event) is types.MemoryForgotten:
            self.entries[done] = FORGOT
            # so that the request has its receipt, however many commands carried it out
            self.entries[DONE + part_of(meta.command_id).request_id] = FORGOT
            self.forgot_below = max(self.forgot_below, event.conversation_end_offset)
        elif done not in self.entries:
            self.entries[done] = meta.cause
        change = _CHANGES.get(type(event))
        if change is not None:
            self.live += change(self.entries, event)
        self.last_sequence = meta.sequence
        if meta.cause > self.last_cause:
            self.last_cause = meta.cause

    def _erase(self, event: types.OwnerErased) -> None:
        self.live, self.erased_cause = 0, event.meta.cause
        self.erased_below = max(self.erased_below, event.conversation_end_offset)
        left = {key: entry for key, entry in self.entries.finish().items() if key.startswith(DONE)}
        self.entries = Map(left).mutate()

    def done(self) -> OwnerState:
        """The state after all that was taken; nothing can be taken any more."""
        return OwnerState(
            self.last_sequence,
            self.last_cause,
            self.live,
            self.erased_below,
            self.erased_cause,
            self.forgot_below,
            self.entries.finish(),
        )


def evolve(state: OwnerState, event: MemoryEvent) -> OwnerState:
    """The state after ``event``. Whether the event is accepted is the reader's question (``schemas.slices``), not this one's.

    ``state`` must hold every entry that the event touches (``touched``).
    """
    return fold(state, (event,))


def fold(state: OwnerState, events: Iterable[MemoryEvent]) -> OwnerState:
    """``evolve`` over several events, in order."""
    changing = Changing(state)
    for event in events:
        changing.take(event)
    return changing.done()


# -- each change gives by how many the live memories grew


def _added(entries: Entries, event: types.MemoryAdded) -> int:
    meta, memory_id = event.meta, event.memory_id
    entries["m:" + memory_id] = MemoryState(
        event.fingerprint,
        event.temperature,
        meta.occurred_at,
        1,
        event.policy,
        slug_fingerprint=event.slug_fingerprint,
        details_fingerprint=event.details_fingerprint,
    )
    _says(entries, event.fingerprint, memory_id)
    if event.slug_fingerprint is not None:
        entries["s:" + event.slug_fingerprint] = memory_id
    _evidence(entries, event.source, memory_id)
    return 1


def _says(entries: Entries, fingerprint: str, memory_id: str) -> None:
    said = cast(Statement, entries.get("f:" + fingerprint, NOTHING_SAID))
    if memory_id not in said.memory_ids:
        entries["f:" + fingerprint] = replace(said, memory_ids=(*said.memory_ids, memory_id))


def _says_no_more(entries: Entries, fingerprint: str, memory_id: str, forgotten_below: int | None = None) -> None:
    """The memory was revised, or forgotten with this reach."""
    said = cast(Statement, entries.get("f:" + fingerprint, NOTHING_SAID))
    left = tuple(m for m in said.memory_ids if m != memory_id)
    if forgotten_below is not None:
        entries["f:" + fingerprint] = replace(said, memory_ids=left, held_below=max(said.held_below, forgotten_below))
    elif memory_id in said.former:
        entries["f:" + fingerprint] = replace(said, memory_ids=left)
    else:
        entries["f:" + fingerprint] = replace(said, memory_ids=left, former=(*said.former, memory_id))


def _evidence(entries: Entries, source: types.SourceRef | None, memory_id: str) -> None:
    for message in () if source is None else source.messages:
        known = cast("tuple[str, ...]", entries.get("e:" + message.message_id, ()))
        if memory_id not in known:
            entries["e:" + message.message_id] = (*known, memory_id)
            for summary in known:
                if summary.startswith(SUMMARY):
                    _summed_up(entries, memory_id, summary.removeprefix(SUMMARY))


def _summed_up(entries: Entries, memory_id: str, summary_id: str) -> None:
    memory = entries.get("m:" + memory_id)
    if type(memory) is MemoryState and summary_id not in memory.summaries:
        entries["m:" + memory_id] = replace(memory, summaries=(*memory.summaries, summary_id))


def _memory(entries: Entries, memory_id: str) -> MemoryState:
    found = entries["m:" + memory_id]
    assert type(found) is MemoryState, "an accepted event names a live memory"
    return found


def _reheated(entries: Entries, event: types.MemoryReheated) -> int:
    entries["m:" + event.memory_id] = replace(
        _memory(entries, event.memory_id),
        temperature=event.temperature,
        warmed_at=event.warmed_at,
        access_count=event.access_count,
        policy=event.policy,
    )
    _evidence(entries, event.source, event.memory_id)
    return 0


def _revised(entries: Entries, event: types.MemoryRevised) -> int:
    known, memory_id = _memory(entries, event.memory_id), event.memory_id
    entries["m:" + memory_id] = replace(
        known,
        fingerprint=event.fingerprint,
        temperature=event.temperature,
        warmed_at=event.warmed_at,
        access_count=event.access_count,
        policy=event.policy,
        version=event.version,
        slug_fingerprint=known.slug_fingerprint if event.slug_fingerprint is None else event.slug_fingerprint,
        details_fingerprint=known.details_fingerprint if event.details_fingerprint is None else event.details_fingerprint,
    )
    if event.fingerprint != known.fingerprint:
        _says_no_more(entries, known.fingerprint, memory_id)
        _says(entries, event.fingerprint, memory_id)
    if event.slug_fingerprint is not None and event.slug_fingerprint != known.slug_fingerprint:
        if known.slug_fingerprint is not None:
            entries.pop("s:" + known.slug_fingerprint, None)
        entries["s:" + event.slug_fingerprint] = memory_id
    _evidence(entries, event.source, memory_id)
    return 0


def _pinned(entries: Entries, event: types.MemoryPinned | types.MemoryUnpinned) -> int:
    entries["m:" + event.memory_id] = replace(
        _memory(entries, event.memory_id),
        pinned=isinstance(event, types.MemoryPinned),
        temperature=event.temperature,
        warmed_at=event.warmed_at,
    )
    return 0


def _linked(entries: Entries, event: types.MemoriesLinked) -> int:
    entries[link_key(event.source_id, event.target_id, event.kind)] = event.weight
    return 0


def _unlinked(entries: Entries, event: types.MemoriesUnlinked) -> int:
    entries.pop(link_key(event.source_id, event.target_id, event.kind), None)
    return 0


def _downshifted(entries: Entries, event: types.MemoryDownshifted) -> int:
    entries["m:" + event.memory_id] = replace(_memory(entries, event.memory_id), tier=event.tier)
    return 0


def _forgotten(entries: Entries, event: types.MemoryForgotten) -> int:
    memory, cut = _memory(entries, event.memory_id), event.conversation_end_offset
    # its links need no entry taken away: both ends must be live, and a memory that is gone never comes back under its id
    entries["m:" + event.memory_id] = Gone(cut)
    _says_no_more(entries, memory.fingerprint, event.memory_id, forgotten_below=cut)
    if memory.slug_fingerprint is not None:
        entries.pop("s:" + memory.slug_fingerprint, None)
    for summary_id in event.summary_ids:
        summary = entries.get("y:" + summary_id)
        if isinstance(summary, SummaryState):
            entries["y:" + summary_id] = replace(summary, live=False)
    return -1


def _summarised(entries: Entries, event: types.DaySummarised) -> int:
    entries["y:" + event.summary_id] = SummaryState(event.revision, True)
    for memory_id in event.memory_ids:
        _summed_up(entries, memory_id, event.summary_id)
    for message_id in event.message_ids:
        known = cast("tuple[str, ...]", entries.get("e:" + message_id, ()))
        for memory_id in known:
            _summed_up(entries, memory_id, event.summary_id)
        if SUMMARY + event.summary_id not in known:
            # a memory that is extracted from this message later is in the summary as well
            entries["e:" + message_id] = (*known, SUMMARY + event.summary_id)
    return 0


def _access_began(entries: Entries, event: types.AccessBegan) -> int:
    entries["a:" + event.access_id] = AccessState(event.subject, event.kind, True, event.session_id)
    return 0


def _access_ended(entries: Entries, event: types.AccessEnded) -> int:
    entries["a:" + event.access_id] = AccessState(event.subject, event.kind, False)
    return 0


def _aliased(entries: Entries, event: types.OwnerAliased) -> int:
    entries["n:" + event.alias_fingerprint] = 1
    return 0


def _policy_set(entries: Entries, event: types.PolicySet) -> int:
    entries["p:" + event.name] = Versioned(event.value, event.version)
    return 0


def _setting_set(entries: Entries, event: types.SettingSet) -> int:
    entries["t:" + event.name] = Versioned(event.value_fingerprint, event.version)
    return 0


def _approval_requested(entries: Entries, event: types.ApprovalRequested) -> int:
    entries["q:" + event.request_id] = ApprovalState(
        event.operation, event.operation_id, event.requested_by, event.requester_may_decide, event.expires_at
    )
    return 0


def _approval_ended(status: str) -> Callable[[Entries, Any], int]:
    def change(entries: Entries, event: types.ApprovalGranted) -> int:
        known = entries["q:" + event.request_id]
        assert isinstance(known, ApprovalState), "an accepted decision names an approval"
        entries["q:" + event.request_id] = replace(known, status=status)
        return 0

    return change


_CHANGES: dict[type[MemoryEvent], Callable[[Entries, Any], int]] = {
    types.MemoryAdded: _added,
    types.MemoryReheated: _reheated,
    types.MemoryRevised: _revised,
    types.MemoryPinned: _pinned,
    types.MemoryUnpinned: _pinned,
    types.MemoriesLinked: _linked,
    types.MemoriesUnlinked: _unlinked,
    types.MemoryDownshifted: _downshifted,
    types.MemoryForgotten: _forgotten,
    types.DaySummarised: _summarised,
    types.AccessBegan: _access_began,
    types.AccessEnded: _access_ended,
    types.OwnerAliased: _aliased,
    types.PolicySet: _policy_set,
    types.SettingSet: _setting_set,
    types.ApprovalRequested: _approval_requested,
    types.ApprovalGranted: _approval_ended("granted"),
    types.ApprovalDenied: _approval_ended("denied"),
    types.ApprovalExpired: _approval_ended("expired"),
}
