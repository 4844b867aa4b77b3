"""A command while it is decided: the state with the events so far folded in, and the ways to say that nothing came of it."""

from __future__ import annotations

from schemas.temperature import temperature_at
from schemas.types import Command, CommandNoted, CommandRejected, EventMeta, MemoryEvent, SourceRef
from streams.decider.evolve import Changing
from streams.decider.state import MemoryState, OwnerState

DECIDER_VERSION = 1


class Draft:
    """``emit`` events in order; ``state`` is then that after them."""

    __slots__ = ("_before", "_changing", "_folded", "cause", "command", "command_type", "events", "now")

    def __init__(self, state: OwnerState, command: Command, cause: int) -> None:
        self._before, self.cause, self._folded = state, cause, 0
        self._changing: Changing | None = None
        self.command = command.meta
        self.command_type = type(command).__name__
        self.now = command.meta.occurred_at
        self.events: list[MemoryEvent] = []

    @property
    def state(self) -> OwnerState | Changing:
        """The state after what was emitted. Folded when asked for: most commands emit one event and never look again."""
        return self._fold() if self.events else self._before

    def _fold(self) -> Changing:
        changing = self._changing
        if changing is None:
            changing = self._changing = Changing(self._before)
        while self._folded < len(self.events):
            changing.take(self.events[self._folded])
            self._folded += 1
        return changing

    def after(self) -> OwnerState:
        """The state after the command; nothing can be emitted any more."""
        return self._fold().done()

    @property
    def owner(self) -> str:
        """Owner reference."""
        return self.command.owner

    def meta(self) -> EventMeta:
        """Metadata of the next event."""
        command, sequence = self.command, self._before.last_sequence + 1 + len(self.events)
        return EventMeta(command.owner, sequence, self.cause, DECIDER_VERSION, self.now, command.command_id)

    def emit(self, event: MemoryEvent) -> None:
        """Add the next event."""
        self.events.append(event)

    def note(self, reason: str, source: SourceRef | None = None) -> None:
        """Nothing changed, and why."""
        self.emit(CommandNoted(self.meta(), self.command_type, reason, source))

    def reject(self, reason: str, source: SourceRef | None = None) -> None:
        """It cannot be carried out, or a part of it cannot, and why."""
        self.emit(CommandRejected(self.meta(), self.command_type, reason, source))

    def temperature(self, memory: MemoryState) -> float:
        """The memory's temperature at the time of the command, degrees."""
        return temperature_at(memory.temperature, memory.warmed_at, self.now, memory.policy, sacred=memory.pinned)

    def unknown(self, memory_id: str) -> str:
        """The reason why a memory that is not live cannot be changed."""
        return "the memory was forgotten" if self.state.is_gone(memory_id) else "the memory is unknown"
