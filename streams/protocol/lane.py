"""One owner at work: its confirmed state, its commands that are not confirmed, its append under way, its parked entries."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from immutables import Map
from msgspec.structs import replace

from schemas.slices import Slice
from schemas.types import Command, MemoryEvent
from streams.decider import EMPTY, OwnerState, fold, touched
from streams.decider.state import Entry


@dataclass(frozen=True, slots=True)
class Pending:
    """A command that is not confirmed; ``command`` is None where it cannot be read, and ``problem`` then says why.

    ``parked_id`` is set when it comes back from the parking lot.
    """

    offset: int
    owner: str
    command: Command | None
    problem: str = ""
    parked_id: str | None = None


@dataclass(frozen=True, slots=True)
class Append:
    """One owner's slice to be written: the events of ``commands`` (offsets), decided in order from confirmed state.

    ``values`` are the encoded events: what was weighed is what is written, and what is looked for on the log.
    """

    append_id: str
    owner: str
    first: int
    commands: tuple[int, ...]
    events: tuple[MemoryEvent, ...]
    values: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Park:
    """A command to be parked durably, its reason, and the parked work of the same owner that it waits behind, if any."""

    pending: Pending
    reason: str
    behind: str | None


class ParkedEntries(dict[int, str]):
    """One owner's entries in the parking lot: offsets of commands with their parked ids."""

    def before(self, offset: int) -> str | None:
        """The parked id of the oldest entry, where it stands before ``offset``."""
        first = min(self, default=offset)
        return self[first] if first < offset else None

    def take_void(self, last_cause: int) -> list[tuple[int, str]]:
        """Take out what the owner's position has passed, oldest first."""
        return [(offset, self.pop(offset)) for offset in sorted(o for o in self if o <= last_cause)]


@dataclass(slots=True)
class Lane:
    """One owner.

    A lane holds all of its owner's entries, or, for an owner with many, those of the ``known`` keys. ``known`` is closed: what
    an entry leads to (``touched``) is known as well. So it is enough that the keys of a command or slice were loaded at some
    time before: an event changes only known entries and makes them lead only to known ones, whatever was decided meanwhile.
    """

    state: OwnerState
    parked: ParkedEntries = field(default_factory=ParkedEntries)
    known: set[str] | None = None
    """Keys that were looked up, those without an entry too; None where every entry is at hand."""
    pending: deque[Pending] = field(default_factory=deque)
    unread: list[Pending] = field(default_factory=list)
    """Pending commands whose keys were not looked up yet."""
    sent: Append | None = None
    parking: set[int] = field(default_factory=set)
    """Offsets whose parking is under way."""
    alarm: bool = False
    """A gap was read: the protocol never makes one, so nothing more is decided here until a person looks."""
    changed: set[str] = field(default_factory=set)
    """Keys that accepted events touched since the state was last saved."""
    saved: OwnerState = field(init=False)
    """The state when it was last saved, with what was loaded since."""
    _drafted: tuple[OwnerState, OwnerState] = (EMPTY, EMPTY)
    """The state from which the append under way was decided, and that after it."""

    def __post_init__(self) -> None:
        self.saved = self.state

    @property
    def idle(self) -> bool:
        return not (self.pending or self.sent or self.parked or self.parking or self.alarm or self.changed)

    @property
    def size(self) -> int:
        """How many entries the lane holds, or knows to be absent."""
        return len(self.state.entries) if self.known is None else len(self.known)

    def is_own(self, slice_: Slice) -> bool:
        """Whether ``slice_`` is the lane's append under way, read back."""
        return self.sent is not None and self.sent.append_id == slice_.append_id

    def send(self, append: Append, after: OwnerState) -> None:
        """``append`` is under way; ``after`` is the state after it."""
        self.sent, self._drafted = append, (self.state, after)

    def take(self, events: Sequence[MemoryEvent], own: bool) -> None:
        """Fold the events of an accepted slice into the state."""
        touched_keys = {key for event in events for key in touched(event, self.state)}
        if self.known is not None:
            assert own or touched_keys <= self.known, "an entry was changed without looking at what it was"
            self.known |= touched_keys
        self.changed |= touched_keys
        (before, after), self._drafted = self._drafted, (EMPTY, EMPTY)
        as_drafted = own and self.sent is not None and events is self.sent.events and before is self.state
        self.state = after if as_drafted else fold(self.state, events)

    def missing(self, items: Iterable[Command | MemoryEvent], state: OwnerState | None = None) -> set[str]:
        """Keys that ``items`` touch and that were not looked up; ``state`` is the lane's own or one drafted from it."""
        known, state = self.known, state or self.state
        if known is None:
            return set()
        return {key for item in items for key in touched(item, state) if key not in known and key not in state.entries}

    def supply(self, found: Mapping[str, Entry | None]) -> None:
        """Take looked-up entries, None for a key that has none. A key that is known keeps what it has: it may be newer."""
        assert self.known is not None
        fresh = {key: entry for key, entry in found.items() if key not in self.known}
        self.known.update(fresh)
        entries = {key: entry for key, entry in fresh.items() if entry is not None}
        # nothing touched them since the last save, else they would be known
        self.state, self.saved = _with(self.state, entries), _with(self.saved, entries)

    def trim(self) -> None:
        """Hold only what pending commands touch and what is not saved; the rest can be looked up again."""
        keep = self.changed.union(*(touched(i.command, self.state) for i in self.pending if i.command is not None))
        # what was not looked up yet still has to be
        self.known = keep if self.known is None else keep & self.known
        self.state, self.saved = _only(self.state, self.known), _only(self.saved, self.known)

    def changes(self) -> dict[str, Entry | None]:
        """Entries that differ from the saved ones, None for one that is gone."""
        before, now = self.saved.entries, self.state.entries
        # maps share what did not change: the same object is the same entry
        return {key: now.get(key) for key in self.changed if now.get(key) is not before.get(key)}


def _with(state: OwnerState, entries: Mapping[str, Entry]) -> OwnerState:
    return replace(state, entries=state.entries.update(entries)) if entries else state


def _only(state: OwnerState, keys: set[str]) -> OwnerState:
    entries = state.entries
    return replace(state, entries=Map({key: entries[key] for key in keys if key in entries}))
