"""What is asked of a whole owner: erasure, who may read, aliases, policies and settings."""

from __future__ import annotations

import orjson

from schemas.types import (
    AccessBegan,
    AccessEnded,
    AliasOwner,
    BeginAccess,
    EndAccess,
    EraseOwner,
    OwnerAliased,
    OwnerErased,
    PolicySet,
    SetPolicy,
    SetSetting,
    SettingSet,
)
from streams.decider.draft import Draft


def erase_owner(draft: Draft, command: EraseOwner) -> None:
    """Always leaves its event: sources that are still under way are held back by it, even where there is no memory yet."""
    if command.conversation_end_offset < 0:
        return draft.reject("a conversation offset is not negative")
    cut = max(command.conversation_end_offset, draft.state.erased_below, draft.state.forgot_below)
    return draft.emit(OwnerErased(draft.meta(), cut, draft.state.live))


def begin_access(draft: Draft, command: BeginAccess) -> None:
    """An access has one beginning; after its end another id is needed."""
    known = draft.state.access(command.access_id)
    if known is None:
        if command.subject == draft.owner:
            return draft.reject("an owner needs no access to its own memories")
        return draft.emit(AccessBegan(draft.meta(), command.access_id, command.subject, command.kind, command.session_id))
    if known.open and known.subject == command.subject:
        return draft.note("the access has begun already")
    return draft.reject("the access has ended" if not known.open else "the access is another's")


def end_access(draft: Draft, command: EndAccess) -> None:
    """An access that ended stays ended."""
    known = draft.state.access(command.access_id)
    if known is None:
        return draft.reject("the access is unknown")
    if not known.open:
        return draft.note("the access has ended already")
    return draft.emit(AccessEnded(draft.meta(), command.access_id, known.subject, known.kind, known.session))


def alias_owner(draft: Draft, command: AliasOwner) -> None:
    """Another id for the same owner."""
    if "n:" + command.alias_fingerprint in draft.state.entries:
        return draft.note("the alias is known already")
    return draft.emit(OwnerAliased(draft.meta(), command.alias, command.alias_fingerprint))


def set_policy(draft: Draft, command: SetPolicy) -> None:
    """A policy's value is JSON."""
    try:
        # not the standard library's: how deep it reads, and which numbers, depends on the process that it runs in
        orjson.loads(command.value)
    except orjson.JSONDecodeError:
        return draft.reject("the policy's value is no JSON")
    known = draft.state.versioned("p:" + command.name)
    if known is not None and known.value == command.value:
        return draft.note("the policy has this value already")
    return draft.emit(PolicySet(draft.meta(), command.name, command.value, known.version + 1 if known else 1))


def set_setting(draft: Draft, command: SetSetting) -> None:
    """A setting's value is sealed, so it is compared by its fingerprint."""
    known = draft.state.versioned("t:" + command.name)
    if known is not None and known.value == command.value_fingerprint:
        return draft.note("the setting has this value already")
    version = known.version + 1 if known else 1
    return draft.emit(SettingSet(draft.meta(), command.name, command.value, command.value_fingerprint, version))
