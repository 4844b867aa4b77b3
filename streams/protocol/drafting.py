"""A slice in the making: commands of one owner decided in order, and their events encoded, until the slice is full."""

from __future__ import annotations

from collections.abc import Callable

from schemas.slices import MAX_EVENTS
from schemas.types import Command, MemoryEvent
from streams import decider
from streams.decider import OwnerState, fold
from streams.protocol.lane import Append, Pending

MAX_SLICE_BYTES = 900_000
"""Well below a record batch, so that a slice always fits one."""
RECORD_OVERHEAD_BYTES = 1_000
"""More than the headers and the key of any event take."""

Decide = Callable[[OwnerState, Command, int], tuple[MemoryEvent, ...]]
Step = Callable[[OwnerState, Command, int], tuple[tuple[MemoryEvent, ...], OwnerState]]
Encode = Callable[[MemoryEvent], bytes]


class SliceDraft:
    """Begin with the owner's confirmed ``state``; ``state`` is then that after the events so far."""

    __slots__ = ("_bytes", "_encode", "_first", "_step", "commands", "events", "state", "values")

    def __init__(self, state: OwnerState, decide: Decide, encode: Encode) -> None:
        self.state, self._step, self._encode = state, _stepping(decide), encode
        self._first, self._bytes = state.last_sequence + 1, 0
        self.commands: list[int] = []
        self.events: list[MemoryEvent] = []
        self.values: list[bytes] = []

    def add(self, item: Pending) -> str:
        """Decide ``item``; why it could not be, or empty."""
        if item.command is None:
            return item.problem
        try:
            events, state = self._step(self.state, item.command, item.offset)
            values = [self._encode(event) for event in events]
        except ConnectionError:
            raise  # whoever names the schemas is away: that is an outage, and nothing is parked for one
        except Exception as error:
            # a fault of ours, not of the command; the text of an exception may quote content, its type cannot
            return f"the decider raised {type(error).__name__}"
        size = self._bytes + sum(RECORD_OVERHEAD_BYTES + len(value) for value in values)
        if len(self.events) + len(events) > MAX_EVENTS or size > MAX_SLICE_BYTES:
            return "its events exceed one batch: the issuer is to split it"
        if not events:
            return "the decider left no event"
        self.state, self._bytes = state, size
        self.commands.append(item.offset)
        self.events += events
        self.values += values
        return ""

    def append(self, owner: str, append_id: str) -> Append:
        """The slice to be written."""
        return Append(append_id, owner, self._first, tuple(self.commands), tuple(self.events), tuple(self.values))


def _stepping(decide: Decide) -> Step:
    """``decide`` and the state after what it decided; the decider's own gives both for less."""
    if decide is decider.decide:
        return decider.step

    def step(state: OwnerState, command: Command, cause: int) -> tuple[tuple[MemoryEvent, ...], OwnerState]:
        events = decide(state, command, cause)
        return events, fold(state, events)

    return step
