"""The commands of a simulated history, and the code versions that decide them: the project's ``decide``, remembered.

``decide`` is pure, so what it answered once for a state and a command it answers always; remembering makes exhaustive search
cheap, and gives equal states one object, which can then be told apart by identity. Version 1 is the project's decider as it is.
Version 2 is one that decides differently: it sees another command where an item says so (a fact less, a fact more) and stamps its
events 2. A poisoned command makes the versions that it names raise: a pure decider's fault is its code's, and new code heals it.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from schemas import codec
from schemas.types import Command, MemoryEvent
from streams.decider import EMPTY, OwnerState, decide, fold
from streams.protocol.drafting import Decide, Encode


class Poison(Exception):
    """What a faulty decider raises."""


@dataclass(frozen=True, slots=True)
class Item:
    """One command of the partition; its offset is its place in the workload."""

    command: Command
    turn: str | None = None
    """The turn that it is an extraction of."""
    second: Command | None = None
    """What version 2 makes of the command, where that is another thing."""
    poisons: frozenset[int] = frozenset()
    """The versions that raise."""

    @property
    def owner(self) -> str:
        return self.command.meta.owner

    def seen_by(self, version: int) -> Command:
        """The command as ``version`` reads it."""
        return self.command if version == 1 or self.second is None else self.second


Work = tuple[Item, ...]


class Code:
    """All versions of the decider over one workload."""

    leaves_events = True
    """Whether every command leaves an event."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.owners = tuple(dict.fromkeys(item.owner for item in work))
        self._states: dict[OwnerState, OwnerState] = {}
        self._known: dict[int, OwnerState] = {}
        self._decided: dict[tuple[int, int, int], tuple[MemoryEvent, ...]] = {}
        self._folded: dict[tuple[int, tuple[int, ...]], OwnerState] = {}
        self._versions: dict[int, Decide] = {}
        self._encoded: dict[int, bytes] = {}
        self.encode: Encode = lambda event: self._encode(event)

    def version(self, version: int) -> Decide:
        """The decider of ``version``, as the protocol calls it. It knows a command by its offset."""
        if version not in self._versions:
            self._versions[version] = lambda state, _, cause: self.answer(state, cause, version)
        return self._versions[version]

    def _encode(self, event: MemoryEvent) -> bytes:
        """The project's encoding."""
        if id(event) not in self._encoded:
            self._encoded[id(event)] = codec.encode(event)
        return self._encoded[id(event)]

    def answer(self, state: OwnerState, cause: int, version: int) -> tuple[MemoryEvent, ...]:
        """What ``version`` decides; raises Poison where the command is poison to it."""
        if version in self.work[cause].poisons:
            raise Poison
        state = self.one(state)
        key = (id(state), cause, version)
        if key not in self._decided:
            self._decided[key] = self.decided(state, cause, version)
        return self._decided[key]

    def decided(self, state: OwnerState, cause: int, version: int) -> tuple[MemoryEvent, ...]:
        """The events of ``version``, poison or not."""
        events = decide(state, self.work[cause].seen_by(version), cause)
        if version == 1:
            return events
        return tuple(replace(e, meta=replace(e.meta, decider_version=version)) for e in events)

    def fold(self, state: OwnerState, events: tuple[MemoryEvent, ...]) -> OwnerState:
        """The project's fold."""
        state = self.one(state)
        key = (id(state), tuple(map(id, events)))
        if key not in self._folded:
            self._folded[key] = self.one(fold(state, events))
        return self._folded[key]

    def one(self, state: OwnerState) -> OwnerState:
        """The one object that stands for all states equal to ``state``."""
        if id(state) in self._known:
            return state
        known = self._states.setdefault(state, state)
        self._known[id(known)] = known
        return known


def expected(commands: list[Command]) -> dict[str, list[MemoryEvent]]:
    """The log that one undisturbed decider writes."""
    states: dict[str, OwnerState] = {}
    out: dict[str, list[MemoryEvent]] = {}
    for cause, command in enumerate(commands):
        owner = command.meta.owner
        events = decide(states.get(owner, EMPTY), command, cause)
        states[owner] = fold(states.get(owner, EMPTY), events)
        out.setdefault(owner, []).extend(events)
    return out
