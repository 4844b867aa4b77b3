"""What somebody asks of single memories: remember, reheat, pin, revise, link, forget."""

from __future__ import annotations

import math
import re

from schemas.types import (
    Forget,
    Link,
    MemoriesLinked,
    MemoriesUnlinked,
    MemoryPinned,
    MemoryUnpinned,
    Pin,
    Reheat,
    Remember,
    Revise,
    Sealed,
    Unlink,
    Unpin,
)
from streams.decider import memories
from streams.decider.draft import Draft
from streams.decider.memories import Said
from streams.decider.state import MemoryState

BY_REQUEST = "request"
WORDS_GONE = "its words were destroyed before it was decided"
LINK_KIND = re.compile(r"[a-z][a-z0-9_-]{0,39}")


def remember(draft: Draft, command: Remember) -> None:
    """A slug that exists is revised, never doubled; the same statement is a mention."""
    state = draft.state
    if (command.slug is None) != (command.slug_fingerprint is None):
        return draft.reject("a slug and its fingerprint come together")
    if command.content.is_destroyed:
        return draft.reject(WORDS_GONE)
    if _lack_a_fingerprint(command, *command.tags):
        return draft.reject("details and their fingerprint come together")
    if not memories.sound(command.policy) or not 0 <= command.salience <= 1:
        return draft.reject("salience or thermal policy hold impossible numbers")
    said = _said(command)
    named = state.of_slug(command.slug_fingerprint) if command.slug_fingerprint is not None else None
    for memory_id in (named,) if named is not None else state.statement(command.fingerprint).memory_ids:
        memory = state.memory(memory_id)
        assert memory is not None, "slugs and statements name live memories only"
        if named is None and command.slug_fingerprint is not None and memory.slug_fingerprint is not None:
            continue  # the same words under another slug: a memory of its own
        if memory.fingerprint == command.fingerprint and _says_nothing_new(memory, command):
            return memories.reheat(draft, memory_id, memory, command.policy, None)
        return memories.revise(draft, memory_id, memory, said)
    return memories.add(draft, said, 0)


def _says_nothing_new(memory: MemoryState, command: Remember) -> bool:
    details = command.details_fingerprint is None or command.details_fingerprint == memory.details_fingerprint
    return details and command.slug_fingerprint in (None, memory.slug_fingerprint)


def _lack_a_fingerprint(command: Remember | Revise, *more: Sealed) -> bool:
    """Whether details came without what tells them from the known ones: they would be dropped, and nobody would notice."""
    given = any(detail is not None for detail in (command.category, command.extra, *more))
    return given and command.details_fingerprint is None


def _said(command: Remember) -> Said:
    return Said(
        command.user_id,
        command.content,
        command.fingerprint,
        command.salience,
        command.policy,
        BY_REQUEST,
        "",
        False,
        None,
        slug=command.slug,
        slug_fingerprint=command.slug_fingerprint,
        category=command.category,
        tags=command.tags,
        extra=command.extra,
        details_fingerprint=command.details_fingerprint,
    )


def reheat(draft: Draft, command: Reheat) -> None:
    """A use of the memory counts as a mention."""
    memory = draft.state.memory(command.memory_id)
    if memory is None:
        return draft.reject(draft.unknown(command.memory_id))
    if not memories.sound(command.policy):
        return draft.reject("the thermal policy holds impossible numbers")
    return memories.reheat(draft, command.memory_id, memory, command.policy, None)


def pin(draft: Draft, command: Pin) -> None:
    """The memory keeps the temperature that it has."""
    memory = draft.state.memory(command.memory_id)
    if memory is None:
        return draft.reject(draft.unknown(command.memory_id))
    if memory.pinned:
        return draft.note("the memory is sacred already")
    warmed_at = max(memory.warmed_at, draft.now)
    return draft.emit(MemoryPinned(draft.meta(), command.memory_id, draft.temperature(memory), warmed_at))


def unpin(draft: Draft, command: Unpin) -> None:
    """The memory cools from now on: the time as a sacred one does not count."""
    memory = draft.state.memory(command.memory_id)
    if memory is None:
        return draft.reject(draft.unknown(command.memory_id))
    if not memory.pinned:
        return draft.note("the memory is not sacred")
    warmed_at = max(memory.warmed_at, draft.now)
    return draft.emit(MemoryUnpinned(draft.meta(), command.memory_id, memory.temperature, warmed_at))


def revise(draft: Draft, command: Revise) -> None:
    """Other words, unless somebody else changed the memory since the request was made."""
    memory = draft.state.memory(command.memory_id)
    if memory is None:
        return draft.reject(draft.unknown(command.memory_id))
    if not memories.sound(command.policy):
        return draft.reject("the thermal policy holds impossible numbers")
    if command.content.is_destroyed:
        return draft.reject(WORDS_GONE)
    if _lack_a_fingerprint(command):
        return draft.reject("details and their fingerprint come together")
    if command.expected_version not in (None, memory.version):
        return draft.reject(f"the memory is at version {memory.version}, not at {command.expected_version}")
    details = command.details_fingerprint
    if command.fingerprint == memory.fingerprint and details in (None, memory.details_fingerprint):
        return draft.note("the memory says so already")
    said = Said(
        None,
        command.content,
        command.fingerprint,
        0.0,
        command.policy,
        BY_REQUEST,
        "",
        False,
        None,
        category=command.category,
        extra=command.extra,
        details_fingerprint=details,
    )
    return memories.revise(draft, command.memory_id, memory, said)


def link(draft: Draft, command: Link) -> None:
    """A link between two live memories; one that exists gets the new weight."""
    if command.source_id == command.target_id:
        return draft.reject("a memory cannot be linked to itself")
    if not (math.isfinite(command.weight) and 0 <= command.weight <= 1):
        return draft.reject("a weight lies between 0 and 1")
    # it stands in clear on the log for ever, so it must not tell a story
    if LINK_KIND.fullmatch(command.kind) is None:
        return draft.reject("a link's kind is one word of at most 40 lower-case letters, digits, - and _")
    for memory_id in (command.source_id, command.target_id):
        if draft.state.memory(memory_id) is None:
            return draft.reject(draft.unknown(memory_id))
    if draft.state.link(command.source_id, command.target_id, command.kind) == command.weight:
        return draft.note("the link exists already")
    return draft.emit(MemoriesLinked(draft.meta(), command.source_id, command.target_id, command.kind, command.weight))


def unlink(draft: Draft, command: Unlink) -> None:
    """Take a link away; links of forgotten memories went with them."""
    weight = draft.state.link(command.source_id, command.target_id, command.kind)
    live = draft.state.memory(command.source_id) and draft.state.memory(command.target_id)
    if weight is None or not live:
        return draft.reject("there is no such link")
    return draft.emit(MemoriesUnlinked(draft.meta(), command.source_id, command.target_id, command.kind, weight))


def forget(draft: Draft, command: Forget) -> None:
    """Each named memory goes; what was forgotten before is no error, what never was is one."""
    if command.conversation_end_offset < 0:
        return draft.reject("a conversation offset is not negative")
    unknown = before = 0
    for memory_id in dict.fromkeys(command.memory_ids):
        memory = draft.state.memory(memory_id)
        if memory is not None:
            memories.forget(draft, memory_id, memory, command.conversation_end_offset, command.include_source)
        elif draft.state.is_gone(memory_id):
            before += 1
        else:
            unknown += 1
    if unknown or not command.memory_ids:
        reason = f"{unknown} of {len(command.memory_ids)} memories are unknown" if unknown else "no memory was named"
        draft.reject(reason)
    elif not draft.events:
        draft.note(f"{before} memories were forgotten before")
    return None
