"""Which entries of an owner's state a command or event touches: all that deciding it, and folding what it leads to, may look at.

Found in rounds: an entry that is known may lead to others (a statement to its memories, a memory to its slug), so callers load
what is missing and ask again until nothing is. Too many keys cost a look-up, one too few would cost correctness.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from schemas import ids, types
from schemas.types import Command, MemoryEvent
from streams.decider.state import DONE, SUMMARY, MemoryState, OwnerState, Statement, link_key


def touched(item: Command | MemoryEvent, state: OwnerState) -> set[str]:
    """Keys that ``item`` touches, as far as the entries in ``state`` tell."""
    keys: set[str] = set()
    todo = [DONE + item.meta.command_id]
    if isinstance(item.meta, types.CommandMeta) and item.meta.approval_id is not None:
        todo.append("q:" + item.meta.approval_id)
    named = _NAMED.get(type(item))
    if named is not None:
        todo.extend(named(item))
    while todo:
        key = todo.pop()
        if key not in keys:
            keys.add(key)
            todo.extend(_leads_to(key, state))
    return keys


def _leads_to(key: str, state: OwnerState) -> Iterator[str]:
    entry = state.entries.get(key)
    if isinstance(entry, MemoryState):
        yield "f:" + entry.fingerprint
        if entry.slug_fingerprint is not None:
            yield "s:" + entry.slug_fingerprint
        yield from ("y:" + s for s in entry.summaries)
    elif isinstance(entry, Statement):
        yield from ("m:" + m for m in entry.memory_ids + entry.former)
    elif key.startswith("e:") and isinstance(entry, tuple):
        yield from (i if i.startswith(SUMMARY) else f"m:{i}" for i in map(str, entry))
    elif key.startswith("s:"):
        yield from () if entry is None else (f"m:{entry}",)


def _facts(command: types.FactsExtracted) -> Iterator[str]:
    for fact in command.facts:
        yield "f:" + fact.fingerprint
        yield from ("e:" + m.message_id for m in fact.evidence)
        if fact.target is not None:
            yield "m:" + fact.target


def _statement(item: types.Remember | types.Revise | types.MemoryAdded | types.MemoryRevised) -> Iterator[str]:
    yield "f:" + item.fingerprint
    if not isinstance(item, types.Remember):
        yield "m:" + item.memory_id
    if not isinstance(item, types.Revise) and item.slug_fingerprint is not None:
        yield "s:" + item.slug_fingerprint
    if isinstance(item, types.MemoryAdded | types.MemoryRevised):
        yield from _source(item.source)


def _source(source: types.SourceRef | None) -> Iterator[str]:
    yield from () if source is None else ("e:" + m.message_id for m in source.messages)


def _one(item: Any) -> Iterator[str]:
    yield "m:" + item.memory_id
    yield from _source(getattr(item, "source", None))


def _link(item: types.Link | types.Unlink | types.MemoriesLinked | types.MemoriesUnlinked) -> Iterator[str]:
    yield from (link_key(item.source_id, item.target_id, item.kind), "m:" + item.source_id, "m:" + item.target_id)


def _forget(item: types.Forget) -> Iterator[str]:
    yield DONE + ids.part_of(item.meta.command_id).request_id
    yield from ("m:" + m for m in item.memory_ids)


def _forgotten(item: types.MemoryForgotten) -> Iterator[str]:
    yield DONE + ids.part_of(item.meta.command_id).request_id
    yield "m:" + item.memory_id
    yield from ("y:" + s for s in item.summary_ids)


def _day(item: types.ConsolidateDay | types.DaySummarised) -> Iterator[str]:
    yield "y:" + ids.summary_id(item.meta.owner, item.day.isoformat())
    yield from ("m:" + m for m in item.memory_ids)
    yield from ("e:" + m for m in item.message_ids)
    if isinstance(item, types.ConsolidateDay):
        yield from ("m:" + s.memory_id for s in item.downshifts)


def _forgetting(item: types.ConfirmCleared | types.IssueReceipt) -> Iterator[str]:
    yield DONE + item.forget_id


def _key(prefix: str, field: str) -> Callable[[Any], Iterator[str]]:
    def named(item: Any) -> Iterator[str]:
        yield prefix + getattr(item, field)

    return named


_NAMED: dict[type[Command] | type[MemoryEvent], Callable[[Any], Iterator[str]]] = {
    types.FactsExtracted: _facts,
    types.Remember: _statement,
    types.Revise: _statement,
    types.MemoryAdded: _statement,
    types.MemoryRevised: _statement,
    **dict.fromkeys((types.Reheat, types.Pin, types.Unpin), _one),
    **dict.fromkeys((types.MemoryReheated, types.MemoryPinned, types.MemoryUnpinned, types.MemoryDownshifted), _one),
    **dict.fromkeys((types.Link, types.Unlink, types.MemoriesLinked, types.MemoriesUnlinked), _link),
    types.Forget: _forget,
    types.MemoryForgotten: _forgotten,
    **dict.fromkeys((types.ConsolidateDay, types.DaySummarised), _day),
    **dict.fromkeys((types.ConfirmCleared, types.IssueReceipt), _forgetting),
    **dict.fromkeys((types.BeginAccess, types.EndAccess, types.AccessBegan, types.AccessEnded), _key("a:", "access_id")),
    **dict.fromkeys((types.AliasOwner, types.OwnerAliased), _key("n:", "alias_fingerprint")),
    **dict.fromkeys((types.SetPolicy, types.PolicySet), _key("p:", "name")),
    **dict.fromkeys((types.SetSetting, types.SettingSet), _key("t:", "name")),
    **dict.fromkeys((types.RequestApproval, types.DecideApproval), _key("q:", "request_id")),
    **dict.fromkeys(
        (types.ApprovalRequested, types.ApprovalGranted, types.ApprovalDenied, types.ApprovalExpired), _key("q:", "request_id")
    ),
}
