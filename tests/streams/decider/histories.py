"""Random histories over every type of command: of what is asked of memories, most names some that are there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.types import (
    AliasOwner,
    BeginAccess,
    Command,
    ConfirmCleared,
    ConsolidateDay,
    DecideApproval,
    EndAccess,
    FactsExtracted,
    Forget,
    Link,
    MemoryAdded,
    Pin,
    Reheat,
    Remember,
    RequestApproval,
    Revise,
    SetPolicy,
    SetSetting,
    Unlink,
    Unpin,
)
from streams.decider import EMPTY, decide, fold
from tests.streams.commands import later
from tests.streams.decider.any_command import BY_TYPE, MEMORIES, REQUESTS, of

_OFTEN: dict[type[Command], int] = {
    FactsExtracted: 6,
    Remember: 5,
    Forget: 3,
    Revise: 3,
    Link: 3,
    ConsolidateDay: 5,
    Reheat: 2,
    ConfirmCleared: 2,
}
COMMANDS: st.SearchStrategy[Command] = of(*(kind for kind in BY_TYPE for _ in range(_OFTEN.get(kind, 1)))).flatmap(
    BY_TYPE.__getitem__
)


@st.composite
def _approved(draw: st.DrawFn) -> tuple[Command, ...]:
    """A command with a request for its approval and somebody's word on it, which may be the requester's or late."""
    command, request_id = draw(COMMANDS), draw(REQUESTS)
    approved = replace(command, meta=replace(command.meta, approval_required=True, approval_id=request_id))
    asked = draw(BY_TYPE[RequestApproval])
    asked = replace(asked, request_id=request_id, operation=type(command).__name__, operation_id=command.meta.command_id)
    return replace(asked, expires_at=later(days=120)), replace(draw(BY_TYPE[DecideApproval]), request_id=request_id), approved


def _kinds(*kinds: type[Command]) -> st.SearchStrategy[type[Command]]:
    return of(*kinds)


@st.composite
def _about_one_memory(draw: st.DrawFn) -> tuple[Command, ...]:
    """Several commands that name the same memory."""
    memory, kinds = draw(MEMORIES), draw(st.lists(_kinds(*_ON_MEMORIES), min_size=2, max_size=4))
    return tuple(_naming(draw(BY_TYPE[kind]), lambda _: memory) for kind in kinds)


@st.composite
def _about_one_name(draw: st.DrawFn) -> tuple[Command, ...]:
    """An access, an alias, a policy, a setting or a link: made, made again, ended."""
    family = draw(of(*_FAMILIES))
    first = draw(BY_TYPE[family[0]])
    others = [draw(BY_TYPE[kind]) for kind in draw(st.lists(of(*family), min_size=1, max_size=3))]
    named = {f: getattr(first, f) for f in _NAMES if hasattr(first, f)}
    return first, *(replace(other, **{f: value for f, value in named.items() if hasattr(other, f)}) for other in others)


_FAMILIES = ((BeginAccess, EndAccess), (AliasOwner,), (SetPolicy,), (SetSetting,), (Link, Link, Unlink))
_NAMES = ("access_id", "alias_fingerprint", "name", "source_id", "target_id", "kind")
_ON_MEMORIES = (Reheat, Pin, Unpin, Revise, ConsolidateDay, ConsolidateDay, Forget, Forget, FactsExtracted)


def _naming(command: Any, name: Callable[[str], str]) -> Command:
    """``command`` with ``name`` of each memory that it names."""
    match command:
        case Link() | Unlink():
            changed: dict[str, Any] = {"source_id": name(command.source_id), "target_id": name(command.target_id)}
        case Forget():
            changed = {"memory_ids": tuple(map(name, command.memory_ids))}
        case ConsolidateDay():
            downshifts = tuple(replace(shift, memory_id=name(shift.memory_id)) for shift in command.downshifts)
            changed = {"memory_ids": tuple(map(name, command.memory_ids)), "downshifts": downshifts}
        case FactsExtracted():
            changed = {"facts": tuple(replace(f, target=None if f.target is None else name(f.target)) for f in command.facts)}
        case Reheat() | Pin() | Unpin() | Revise():
            changed = {"memory_id": name(command.memory_id)}
        case _:
            changed = {}
    made: Command = replace(command, **changed)
    return made


def _crowded(command: Command, statements: int) -> Command:
    """``command`` over no more than so many statements: where they are few, several memories say the same."""

    def crowd(print_: str) -> str:
        return f"f-{int(print_[2:]) % statements}" if print_ else print_

    if isinstance(command, FactsExtracted):
        return replace(command, facts=tuple(replace(f, fingerprint=crowd(f.fingerprint)) for f in command.facts))
    if isinstance(command, Remember | Revise):
        return replace(command, fingerprint=crowd(command.fingerprint))
    return command


def _named(parts: tuple[list[Command], list[tuple[Command, ...]], int]) -> list[Command]:
    """The history with the ids that its memories get: "live 1" is the second oldest that is live when the command comes."""
    beginning, episodes, statements = parts
    state, memories, history = EMPTY, dict[str, None](), list[Command]()

    def id_of(name: str) -> str:
        kind, _, place = name.partition(" ")
        if kind not in ("live", "gone"):
            return name
        there = [m for m in memories if (state.memory(m) is not None) == (kind == "live")]
        return there[int(place) % len(there)] if there else name

    for command in (*beginning, *(command for episode in episodes for command in episode)):
        history.append(_naming(_crowded(command, statements), id_of))
        try:
            events = decide(state, history[-1], len(history) - 1)
            state = fold(state, events)
        except Exception:
            return history  # it is the tests' to say what happened
        memories |= dict.fromkeys(e.memory_id for e in events if isinstance(e, MemoryAdded))
    return history


_BEGINNINGS = st.lists(_kinds(FactsExtracted, Remember).flatmap(BY_TYPE.__getitem__), min_size=2, max_size=4)
_EPISODE_KINDS = (COMMANDS.map(lambda command: (command,)), _about_one_memory(), _about_one_name(), _approved())
_EPISODES = of(*(0,) * 12, *(1,) * 4, *(2,) * 3, 3).flatmap(_EPISODE_KINDS.__getitem__)
HISTORIES = st.tuples(_BEGINNINGS, st.lists(_EPISODES, min_size=3, max_size=14), of(8, 8, 3, 2)).map(_named)
"""Some commands that make memories, without which every request would name something unknown, then any."""
