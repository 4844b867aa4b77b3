"""Undoing an event: the command that takes its effect back, where there is one. History stays: both events are on the log."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from schemas import types
from schemas.types import Command, CommandMeta, MemoryEvent, Sealed


@dataclass(frozen=True, slots=True)
class Impossible:
    """Why an event cannot be undone, and what can be done instead."""

    reason: str
    instead: str = ""


@dataclass(frozen=True, slots=True)
class _Words:
    content: Sealed
    fingerprint: str
    category: Sealed | None
    extra: Sealed | None
    details_fingerprint: str | None


class Before:
    """What stood before an event: the fold of its owner's accepted events up to it, as far as undoing needs it."""

    def __init__(self, events: Iterable[MemoryEvent]) -> None:
        self.words: dict[str, _Words] = {}
        self.links: dict[tuple[str, str, str], float] = {}
        self.policies: dict[str, str] = {}
        self.settings: dict[str, tuple[Sealed, str]] = {}
        for event in events:
            self._take(event)

    def _take(self, event: MemoryEvent) -> None:
        match event:
            case types.MemoryAdded() as e:
                self.words[e.memory_id] = _Words(e.content, e.fingerprint, e.category, e.extra, e.details_fingerprint)
            case types.MemoryRevised() as e:
                old = self.words[e.memory_id]
                self.words[e.memory_id] = _Words(
                    e.content,
                    e.fingerprint,
                    e.category or old.category,
                    e.extra or old.extra,
                    e.details_fingerprint or old.details_fingerprint,
                )
            case types.MemoriesLinked() as e:
                self.links[e.source_id, e.target_id, e.kind] = e.weight
            case types.MemoriesUnlinked() as e:
                self.links.pop((e.source_id, e.target_id, e.kind), None)
            case types.PolicySet() as e:
                self.policies[e.name] = e.value
            case types.SettingSet() as e:
                self.settings[e.name] = (e.value, e.value_fingerprint)
            case types.OwnerErased():
                self.words, self.links, self.policies, self.settings = {}, {}, {}, {}
            case _:
                pass


def compensation(event: MemoryEvent, before: Before, meta: CommandMeta) -> Command | Impossible:
    """The command with ``meta`` that takes ``event`` back to what stood ``before`` it, or why there is none."""
    undo = _COMMANDS.get(type(event))
    return undo(event, before, meta) if undo is not None else _NONE[type(event)]


def _unlink(event: types.MemoriesLinked, before: Before, meta: CommandMeta) -> Command:
    weight = before.links.get((event.source_id, event.target_id, event.kind))
    if weight is not None:
        return types.Link(meta, event.source_id, event.target_id, event.kind, weight)
    return types.Unlink(meta, event.source_id, event.target_id, event.kind)


def _earlier_text(event: types.MemoryRevised, before: Before, meta: CommandMeta) -> Command:
    words = before.words[event.memory_id]
    return types.Revise(
        meta,
        event.memory_id,
        words.content,
        words.fingerprint,
        event.policy,
        # revised again since: undoing this one alone would undo the later one with it
        expected_version=event.version,
        category=words.category,
        extra=words.extra,
        details_fingerprint=words.details_fingerprint,
    )


def _earlier_policy(event: types.PolicySet, before: Before, meta: CommandMeta) -> Command | Impossible:
    value = before.policies.get(event.name)
    return types.SetPolicy(meta, event.name, value) if value is not None else _FIRST_VALUE


def _earlier_setting(event: types.SettingSet, before: Before, meta: CommandMeta) -> Command | Impossible:
    value = before.settings.get(event.name)
    return types.SetSetting(meta, event.name, *value) if value is not None else _FIRST_VALUE


def _begin_again(event: types.AccessEnded, before: Before, meta: CommandMeta) -> Command:
    return types.BeginAccess(meta, str(uuid.uuid4()), event.subject, event.kind, event.session_id)


_COMMANDS: dict[type[MemoryEvent], Callable[[Any, Before, CommandMeta], Command | Impossible]] = {
    types.MemoryPinned: lambda e, _, meta: types.Unpin(meta, e.memory_id),
    types.MemoryUnpinned: lambda e, _, meta: types.Pin(meta, e.memory_id),
    types.MemoriesLinked: _unlink,
    types.MemoriesUnlinked: lambda e, _, meta: types.Link(meta, e.source_id, e.target_id, e.kind, e.weight),
    types.MemoryRevised: _earlier_text,
    types.AccessBegan: lambda e, _, meta: types.EndAccess(meta, e.access_id),
    types.AccessEnded: _begin_again,
    types.PolicySet: _earlier_policy,
    types.SettingSet: _earlier_setting,
}

_FIRST_VALUE = Impossible("it had no value before", "give it the value that it should have")
_DONE_OUTSIDE = Impossible("it is the record of something that happened outside the log")
_DECIDED = Impossible("the first decision on an approval counts", "ask for a new approval")
_UNCHANGED = Impossible("it changed nothing")
_NONE: dict[type[MemoryEvent], Impossible] = {
    types.MemoryAdded: Impossible(
        "a memory that was added can only be forgotten, and that cannot be undone", "emberlog forget MEMORY_ID"
    ),
    types.MemoryReheated: Impossible("a mention cannot be unsaid; the memory cools by itself"),
    types.MemoryForgotten: Impossible(
        "what was forgotten does not come back: its key is destroyed", "a new mention, or emberlog remember, teaches it anew"
    ),
    types.OwnerErased: Impossible("what was erased does not come back: the owner's key is destroyed"),
    types.MemoryDownshifted: Impossible("dropped vectors are not kept", "embed the memory again"),
    types.DaySummarised: Impossible("a summary is replaced, not taken back", "consolidate the day again"),
    types.OwnerAliased: Impossible("an alias may have been used already, so it stays"),
    types.ViewPromoted: Impossible("readers see a generation, not an event", "promote the generation before"),
    types.ApprovalRequested: Impossible("a request ends by a decision or by its expiry", "deny it"),
    **dict.fromkeys((types.ApprovalGranted, types.ApprovalDenied, types.ApprovalExpired), _DECIDED),
    **dict.fromkeys((types.MemoriesExported, types.StoreCleared, types.ReceiptIssued, types.ParkedDropped), _DONE_OUTSIDE),
    **dict.fromkeys((types.CommandNoted, types.CommandRejected), _UNCHANGED),
}


def undoable(kind: type[MemoryEvent]) -> Impossible | bool:
    """Whether events of this type have a command that undoes them: True, or why there is none."""
    return True if kind in _COMMANDS else _NONE[kind]
