"""Given / when / then for the decider. Makers of commands are in ``tests.streams.commands`` and can be had from here as well."""

from __future__ import annotations

from typing import Self, TypeVar

from schemas.types import Command, CommandNoted, CommandRejected, MemoryAdded, MemoryEvent, MemoryRevised
from streams.decider import EMPTY, MemoryState, OwnerState, decide, fold
from tests.streams.commands import KEY, NOON, OWNER, POLICY, extracted, fact, forget, later, meta, remember, revise

E = TypeVar("E", bound=MemoryEvent)


class Scenario:
    """``given`` commands were decided; ``when`` one more is; ``then`` these events follow."""

    def __init__(self) -> None:
        self.state: OwnerState = EMPTY
        self.log: list[MemoryEvent] = []
        self.events: tuple[MemoryEvent, ...] = ()
        self._cause = -1

    def given(self, *commands: Command) -> Self:
        for command in commands:
            self.when(command)
        return self

    def when(self, command: Command) -> Self:
        self._cause += 1
        self.events = decide(self.state, command, self._cause)
        self.state = fold(self.state, self.events)
        self.log.extend(self.events)
        return self

    def then(self, *kinds: type[MemoryEvent]) -> tuple[MemoryEvent, ...]:
        assert tuple(type(e) for e in self.events) == kinds
        return self.events

    def then_only(self, kind: type[E]) -> E:
        """The one event that followed."""
        (event,) = self.events
        assert type(event) is kind, event
        return event

    def then_noted(self, reason: str) -> CommandNoted:
        """Nothing changed, and ``reason`` is part of why."""
        noted = self.then_only(CommandNoted)
        assert reason in noted.reason
        return noted

    def then_rejected(self, reason: str) -> CommandRejected:
        """Nothing happened, and ``reason`` is part of why."""
        rejected = self.then_only(CommandRejected)
        assert reason in rejected.reason
        return rejected

    def memory_id(self, content: str) -> str:
        """Id of the memory that got this content last, live or not."""
        said = (e for e in reversed(self.log) if isinstance(e, MemoryAdded | MemoryRevised))
        return next(e.memory_id for e in said if e.content.text == content)

    def memory(self, content: str) -> MemoryState:
        """The live memory that got this content last."""
        return self.live[self.memory_id(content)]

    @property
    def live(self) -> dict[str, MemoryState]:
        """Live memories by id, as the decider's state has them."""
        entries = self.state.entries.items()
        return {key.removeprefix("m:"): entry for key, entry in entries if isinstance(entry, MemoryState)}


__all__ = [
    "KEY",
    "NOON",
    "OWNER",
    "POLICY",
    "Scenario",
    "extracted",
    "fact",
    "forget",
    "later",
    "meta",
    "remember",
    "revise",
]
