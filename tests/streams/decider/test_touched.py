"""What a command touches: all that deciding it and folding its events look at, however many memories its owner has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import product

from hypothesis import given, settings
from msgspec.structs import replace

from schemas.codec import encode
from schemas.types import Command
from streams.decider import EMPTY, MemoryState, OwnerState, decide, evolve, fold
from tests.streams.commands import (
    alias,
    begin_access,
    confirm_cleared,
    consolidate,
    drop_parked,
    end_access,
    erase,
    extracted,
    fact,
    forget,
    issue_receipt,
    link,
    pin,
    promote_view,
    record_export,
    reheat,
    remember,
    revise,
    set_policy,
    set_setting,
    unlink,
    unpin,
    word,
)
from tests.streams.decider.any_command import LONG
from tests.streams.decider.histories import HISTORIES
from tests.streams.decider.partial import merged, part_of
from tests.streams.scenario import Scenario


@settings(max_examples=100, deadline=None)
@given(HISTORIES)
def test_what_a_command_touches_is_all_that_deciding_and_folding_look_at(history: list[Command]) -> None:
    state = EMPTY
    for cause, command in enumerate(history):
        state = _decided_on_its_part(state, command, cause)
    for end in (state, _revised_and_forgotten(state, len(history))):
        for command in _about_everything(end):
            _decided_on_its_part(end, command, len(history) + 2)


def _revised_and_forgotten(state: OwnerState, cause: int) -> OwnerState:
    """``state`` after every second memory was revised and forgotten: words that they had before still hold something back."""
    live = (key.removeprefix("m:") for key, entry in state.entries.items() if isinstance(entry, MemoryState))
    for memory_id in sorted(live)[::2]:
        state = fold(state, decide(state, revise(memory_id, "other words"), cause))
        state = fold(state, decide(state, forget(memory_id, end_offset=LONG), cause + 1))
    return state


def _decided_on_its_part(state: OwnerState, command: Command, cause: int) -> OwnerState:
    """The state after ``command``, where what it touches is enough for deciding it and for folding its events."""
    part = part_of(state, command)
    events = decide(part, command, cause)
    assert list(map(encode, events)) == list(map(encode, decide(state, command, cause)))
    after = fold(state, events)
    assert merged(state, part, fold(part, events), events) == after
    for event in events:
        # as a reader folds it that knows the events alone
        part = part_of(state, event)
        alone = evolve(state, event)
        assert merged(state, part, evolve(part, event), [event]) == alone
        state = alone
    assert state == after
    return after


def _about_everything(state: OwnerState) -> Iterator[Command]:
    """Commands about whatever ``state`` knows."""
    for key in state.entries:
        yield from _ABOUT[key[:2]](key[2:])
    messages = [key[2:] for key in state.entries if key.startswith("e:")][:4]
    statements = [key[2:] for key in state.entries if key.startswith("f:")][:4]
    for message, fingerprint in product(messages, statements):
        yield extracted("t", replace(fact("words", message), fingerprint=fingerprint))
    yield erase()


def _about_memory(id: str) -> Iterator[Command]:
    yield from (forget(id), pin(id), unpin(id), reheat(id), revise(id, "other words"), consolidate("s", (id,)))
    yield from (extracted("t", fact("other words", "m", action=a, target=id)) for a in ("reheat", "revise", "forget"))


def _about_statement(fingerprint: str) -> Iterator[Command]:
    known = replace(fact("words", "m"), fingerprint=fingerprint)
    yield from (extracted("t", known), extracted("t", known, offset=LONG))
    yield from (replace(remember("words", slug), fingerprint=fingerprint) for slug in (None, "a-slug"))


def _about_link(name: str) -> Iterator[Command]:
    source, target, kind = name.split("|", 2)
    yield from (link(source, target, kind), link(source, target, kind, 0.75), unlink(source, target, kind))


_ABOUT: dict[str, Callable[[str], Iterable[Command]]] = {
    "m:": _about_memory,
    "f:": _about_statement,
    "e:": lambda message: (extracted("t", fact("words", message)), consolidate("s", messages=(message,))),
    "s:": lambda fingerprint: (replace(remember("words", "a-slug"), slug_fingerprint=fingerprint),),
    "l:": _about_link,
    "y:": lambda _: (consolidate("s"),),
    "d:": lambda command_id: (confirm_cleared(command_id), issue_receipt(command_id), drop_parked(id=command_id)),
    "a:": lambda access_id: (begin_access(access_id), end_access(access_id)),
    "n:": lambda fingerprint: (replace(alias("a"), alias_fingerprint=fingerprint),),
    "p:": lambda name: (set_policy(name, "1"), set_policy(name, "2")),
    "t:": lambda name: (set_setting(name, "1"),),
    "q:": lambda request: (word("grant", request), word("expire", request), record_export(approval=request), promote_view()),
}


def test_how_much_a_command_touches_does_not_grow_with_the_memories_of_its_owner() -> None:
    sizes = []
    for memories in (10, 2_000):
        line = Scenario().given(*(extracted(f"t{i}", f"User likes {i}") for i in range(memories)))
        first, second = line.memory_id("User likes 1"), line.memory_id("User likes 2")
        commands: list[Command] = [
            extracted("t", "User likes 1", "User likes tea", fact("User likes 2", action="revise", target=first)),
            remember("User likes 1", "a-slug"),
            forget(first),
            link(first, second),
        ]
        sizes.append([len(part_of(line.state, command).entries) for command in commands])
    assert sizes[0] == sizes[1]
    assert max(sizes[1]) < 12
