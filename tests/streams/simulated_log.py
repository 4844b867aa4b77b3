"""A simulated partition around the project's own protocol code: what is modelled, and what is not.

**Ours, driven as it is:** ``PartitionDecider`` (all decisions of the protocol), ``StateCache`` (which entries of an owner's
state it holds, and what is saved), ``decide`` and ``fold``, the encoding, and ``verdict``, the rule of every reader. The model
holds no second copy of any of them. It stands in for what they talk to: the broker, the database, the parking lot, and the loop
of ``session.py`` that carries out what the machine asks for.

**The broker** is one partition of commands, written before the search begins, and one log of slices. An append lands as a whole
or not at all (that is what a record batch is). It may land and be acknowledged; land with its acknowledgement lost; be lost; or
land at any time after its writer failed or was forgotten, also after appends that were sent later. The committed offset is
whatever any process last committed: a zombie may set it forward, or back, for the model fences nobody.

**A process** is one run of a decider on the partition: it reads the committed offset; then loads the parking lot, the position
that is saved, and the log up to its end; then reads commands, sends, tails, commits, saves by compare-and-set, parks, heals and
retries, each as one action among those of all other processes. An owner's state is read when the owner is first met, or entry by
entry when it is needed, and may by then be newer than what the process has read of the log. A failed append ends the session,
and the process may begin again with the commands that it has not finished. A process that the search never wakes again has
crashed; one that it wakes late is a zombie; so the search needs no action for either. (The random histories have crashes of
their own, so that they do not go on with too many.)

**The lot** is a log too: entries are parked and leave, each process has read it up to somewhere, and what it writes itself
counts when it was read back. A retry may be asked of any process at any time. A fault of the decider is its version's: new code
heals it.

**The verdict.** In each state: no reader meets a gap; every offset below the committed one is accepted or in the lot; what is
saved is the fold of the log before its position; each process' state of an owner is one that the readers pass through. From each
state the work is then finished by a new process, with what is in flight lost, landed first, between, or last; then every reader,
from the beginning or from the saved position, must have the same history: each command once, whole and in order, each decided
from the state before it by the version that wrote it, a turn by the first command that has it, and nothing left in the lot.

**Not modelled:** records and their headers (``SliceAssembler`` and ``LogTail`` have tests of their own; here a slice is the
unit); several slices in one record batch, which land together (here each lands by itself, so what can happen to a batch is among
what can happen here); slices over the limits of size; more than one partition, since partitions share nothing but the lot, which
keeps them apart; time, and with it outages, back-off and timeouts, which are delays here; tasks within one session, whose steps
are whole actions here; the generation of the consumer group, which would refuse a zombie's commit; dropping parked work by hand;
retention, and a log that loses what it acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from schemas.slices import Slice, Verdict, verdict
from schemas.types import MemoryEvent
from streams.decider import EMPTY, OwnerState
from streams.protocol.lane import Append
from tests.streams.simulated_code import Code, expected
from tests.streams.simulated_store import Tables

__all__ = ["Broker", "LotRecord", "Reader", "Rule", "expected", "whole_slices"]

Rule = Callable[[Slice, int], tuple[MemoryEvent, ...] | None]
"""What a reader whose last sequence is given takes of a slice; None for a gap."""


def whole_slices(slice_: Slice, last: int) -> tuple[MemoryEvent, ...] | None:
    """The project's rule."""
    match verdict(slice_.first, last):
        case Verdict.ACCEPT:
            return slice_.events
        case Verdict.DROP:
            return ()
        case _:
            return None


class Reader:
    """Folds slices by ``rule``, and keeps what it accepted. ``read`` gives a new reader."""

    __slots__ = ("accepted", "borders", "code", "gap", "rule", "states")

    def __init__(self, code: Code, rule: Rule = whole_slices, states: Mapping[str, OwnerState] | None = None) -> None:
        self.code, self.rule, self.gap = code, rule, False
        self.states: dict[str, OwnerState] = dict(states or {})
        self.accepted: dict[str, tuple[MemoryEvent, ...]] = {}
        self.borders: dict[tuple[str, int], OwnerState] = {}
        """The states behind accepted slices, by owner and last sequence."""

    def read(self, *slices: Slice) -> Reader:
        """The reader behind ``slices``."""
        new = Reader.__new__(Reader)
        new.code, new.rule, new.gap = self.code, self.rule, self.gap
        new.states, new.accepted, new.borders = dict(self.states), dict(self.accepted), dict(self.borders)
        for slice_ in slices:
            new._take(slice_)
        return new

    def _take(self, slice_: Slice) -> None:
        owner = slice_.owner
        state = self.states.get(owner, EMPTY)
        events = self.rule(slice_, state.last_sequence)
        if events is None:
            self.gap = True
        elif events:
            self.states[owner] = state = self.code.fold(state, events)
            self.accepted[owner] = (*self.accepted.get(owner, ()), *events)
            self.borders[owner, state.last_sequence] = state

    def state(self, owner: str) -> OwnerState:
        return self.states.get(owner, EMPTY)


@dataclass(frozen=True, slots=True)
class LotRecord:
    """A record of the parked topic: the command at ``offset`` was parked, or left the lot."""

    offset: int
    left: bool


class Broker:
    """What outlives every process. Its parts are never changed in place, so a fork is cheap."""

    __slots__ = ("code", "committed", "key", "log", "lot", "reader", "tables")

    def __init__(self, code: Code, rule: Rule = whole_slices) -> None:
        self.code = code
        self.log: tuple[Slice, ...] = ()
        self.key = 0
        """Tells this log from others, but not who wrote it."""
        self.reader = Reader(code, rule)
        """The reader that has read all of the log."""
        self.committed = 0
        self.tables = Tables()
        self.lot: tuple[LotRecord, ...] = ()

    def fork(self) -> Broker:
        new = Broker.__new__(Broker)
        for name in self.__slots__:
            setattr(new, name, getattr(self, name))
        return new

    def append(self, slice_: Append) -> None:
        landed = Slice(slice_.owner, slice_.append_id, slice_.first, slice_.events, len(self.log) + 1)
        self.log = (*self.log, landed)
        self.key = hash((self.key, slice_.first, tuple(map(id, slice_.events))))
        self.reader = self.reader.read(landed)

    def parked(self) -> frozenset[int]:
        """Offsets that are in the lot."""
        held: set[int] = set()
        for record in self.lot:
            (held.discard if record.left else held.add)(record.offset)
        return frozenset(held)
