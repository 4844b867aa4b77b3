"""One process of the simulated partition: it does with the protocol's machine what ``session.py`` does on real parts."""

from __future__ import annotations

import enum
from collections.abc import Callable, Coroutine, Hashable
from typing import Any

from schemas.slices import Slice, Verdict
from streams.protocol.cache import StateCache
from streams.protocol.lane import Append, Park, Pending
from streams.protocol.partition import PartitionDecider
from tests.streams.simulated_copy import Ids, copied, key_of
from tests.streams.simulated_log import Broker, LotRecord
from tests.streams.simulated_store import SimulatedStore, at_once

_ALL = 1_000_000


class Phase(enum.Enum):
    """Where a process stands in its life."""

    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"
    """Its session ended; it may begin again."""
    DEAD = "dead"


class Process:
    """Its methods are its actions; each takes the broker, which it does not keep, so that worlds can share processes."""

    def __init__(self, number: int, version: int, broker: Broker, machine: type[PartitionDecider], *, whole: bool) -> None:
        self.version, self.kind, self.ids, self.whole = version, machine, Ids(number), whole
        self.decide, self.encode = broker.code.version(version), broker.code.encode
        self.work = broker.code.work
        self.phase = Phase.STARTING
        self.floor = self.next = broker.committed
        self.done: frozenset[int] = frozenset()
        self.flight: tuple[Append, ...] = ()
        self.landed: dict[str, int] = {}
        self._reset()

    def _reset(self) -> None:
        self.machine = self.kind(self.decide, self.ids, self.encode)
        self.position = self.saved = self.seen = 0
        self.changed: frozenset[str] = frozenset()
        self.places: frozenset[int] = frozenset()
        self.parks: tuple[Park, ...] = ()
        self.heals: tuple[Pending, ...] = ()

    def fork(self) -> Process:
        """A copy. But for the machine, nothing that a process holds is ever changed in place."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new.ids = copied(self.ids)
        new.machine = copied(self.machine)
        new.machine._new_append_id = new.ids
        return new

    # -- life

    def start(self, broker: Broker) -> None:
        """The parking lot; the materialised position; the log up to its end. The committed offset was read before."""
        self._reset()
        self.phase = Phase.RUNNING
        self.places, self.seen = broker.parked(), len(broker.lot)
        self._cached(broker, StateCache.open)
        self.position = self.saved
        while self.position < len(broker.log):
            self.tail(broker)
        self.next = self.point()

    def end(self, phase: Phase = Phase.ENDED) -> None:
        self._reset()
        self.phase = phase
        if phase is Phase.DEAD:
            self.done, self.next, self.floor = frozenset(), 0, 0

    def point(self) -> int:
        """The offset that may be committed: acknowledgements are released in order."""
        offset = self.floor
        while offset in self.done:
            offset += 1
        return offset

    # -- commands

    def step(self, broker: Broker) -> None:
        """Take the next command. One that an earlier session of ours finished is not taken again."""
        offset, self.next = self.next, self.next + 1
        if offset not in self.done:
            item = self.work[offset]
            self._hold(broker, item.owner)
            self.machine.offer(Pending(offset, item.owner, item.seen_by(self.version)))
            self._collect()

    def send(self, broker: Broker) -> None:
        if not self.whole:
            self._cached(broker, StateCache.look_up)
        self.flight += tuple(self.machine.appends(_ALL))
        self._collect()

    def commit(self, broker: Broker) -> None:
        broker.committed = self.point()

    # -- appends under way

    def land(self, broker: Broker, place: int = 0) -> Append:
        append = self.flight[place]
        self.flight = self.flight[:place] + self.flight[place + 1 :]
        self.landed = {**self.landed, append.append_id: len(broker.log)}
        broker.append(append)
        return append

    def acknowledged(self, broker: Broker, append: Append) -> None:
        """``append`` landed and the broker said so: which is no confirmation."""

    def failed(self, broker: Broker, append: Append) -> None:
        """The broker did not say that ``append`` landed: stop, and begin again."""
        self.end()

    # -- the log, read back

    def tail(self, broker: Broker) -> None:
        slice_ = broker.log[self.position]
        self.position += 1
        self._hold(broker, slice_.owner, slice_)
        if self.machine.observe(slice_) is Verdict.ACCEPT:
            self.changed |= {slice_.owner}
        self._collect()

    def behind(self, broker: Broker) -> bool:
        """Whether there is more to read back."""
        return self.position < len(broker.log)

    def materialise(self, broker: Broker) -> None:
        self._cached(broker, lambda cache: cache.save(self.position))

    def let_go(self, broker: Broker) -> None:
        """Drop owners without work, as a full cache does."""
        for owner in self.idle():
            self.machine.let_go(owner)

    def idle(self) -> list[str]:
        """Owners without work."""
        return [owner for owner, lane in self.machine.lanes.items() if lane.idle]

    def _hold(self, broker: Broker, owner: str, *slices: Slice) -> None:
        if owner not in self.machine.lanes or not self.whole:
            self._cached(broker, lambda cache: cache.hold([owner], slices))

    def connect(self, broker: Broker) -> SimulatedStore:
        """A connection to the tables."""
        return SimulatedStore(broker.tables, self.saved, whole=self.whole)

    def _cached(self, broker: Broker, act: Callable[[StateCache], Coroutine[Any, Any, object]]) -> None:
        """Let the project's cache ``act`` on the broker's tables; raises PositionLost as it does."""
        store = self.connect(broker)
        cache = StateCache(self.machine, store, self._parked)
        cache._saved, cache._changed = self.saved, set(self.changed)
        at_once(act(cache))
        self.saved, self.changed, broker.tables = cache._saved, frozenset(cache._changed), store.tables

    def _parked(self, owner: str) -> dict[int, str]:
        return {o: parked_id(o) for o in self.places if self.work[o].owner == owner}

    # -- the parking lot

    def carry(self, broker: Broker) -> None:
        """Write the next record to the lot that the machine asked for, and read it back."""
        if self.parks:
            item, self.parks = self.parks[0].pending, self.parks[1:]
            if item.parked_id is not None and item.offset not in self.places:
                self.machine.unparked(item.owner, item.offset)  # it left the lot meanwhile
            else:
                self._write(broker, LotRecord(item.offset, left=False))
                self.machine.parked(item, parked_id(item.offset))
        else:
            item, self.heals = self.heals[0], self.heals[1:]
            if item.offset in self.places:
                self._write(broker, LotRecord(item.offset, left=True))
        self._collect()

    def look(self, broker: Broker) -> None:
        """Read the next record of the lot."""
        record = broker.lot[self.seen]
        self.seen += 1
        if not record.left:
            self.places |= {record.offset}
        elif record.offset in self.places:
            self.places -= {record.offset}
            self.machine.unparked(self.work[record.offset].owner, record.offset)
        self._collect()

    def retry(self, broker: Broker) -> None:
        """Retry all parked work that is known here."""
        work = self.work
        for owner in dict.fromkeys(work[o].owner for o in sorted(self.places)):
            self._hold(broker, owner)
            entries = sorted(self._parked(owner).items())
            self.machine.retry(owner, [Pending(o, owner, work[o].seen_by(self.version), parked_id=i) for o, i in entries])
        self._collect()

    def _write(self, broker: Broker, record: LotRecord) -> None:
        broker.lot = (*broker.lot, record)
        while self.seen < len(broker.lot):
            self.look(broker)

    def _collect(self) -> None:
        self.parks += tuple(self.machine.parks())
        self.heals += tuple(self.machine.healed())
        if finished := self.machine.finished():
            self.done |= frozenset(finished)

    # -- for the search

    def key(self, broker: Broker) -> int:
        """Tells this process from another that may act otherwise. Who wrote a slice matters only to a lane that waits for it."""
        one = broker.code.one
        for lane in self.machine.lanes.values():
            lane.state, lane.saved = one(lane.state), one(lane.saved)
        waiting = tuple((o, self.landed.get(a.append_id)) for o, lane in self.machine.lanes.items() if (a := lane.sent))
        plain: Hashable = (self.version, self.phase, self.floor, self.next, self.done, self.position, self.saved, self.places)
        lists = tuple(tuple(map(key_of, values)) for values in (self.flight, self.parks, self.heals))
        return hash((plain, self.changed, lists, waiting, key_of(self.machine)))


def parked_id(offset: int) -> str:
    """Every process gives a parked command the same id."""
    return f"p{offset}"
