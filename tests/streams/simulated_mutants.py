"""Protocols simpler than ours, each wrong in one way: what the search must be able to find."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from schemas.slices import Slice, Verdict, verdict
from schemas.types import CommandNoted, CommandRejected, MemoryEvent
from streams.decider import OwnerState, fold
from streams.protocol.drafting import SliceDraft
from streams.protocol.lane import Append, Lane, Park, ParkedEntries, Pending
from streams.protocol.partition import PartitionDecider
from streams.protocol.store import Stored
from tests.streams.simulated_code import Code
from tests.streams.simulated_copy import copied
from tests.streams.simulated_log import Broker
from tests.streams.simulated_process import Phase, Process
from tests.streams.simulated_store import SimulatedStore


def each_event(slice_: Slice, last: int) -> tuple[MemoryEvent, ...] | None:
    """Takes of a slice whichever events are next."""
    skip = last + 1 - slice_.first
    return None if skip < 0 else slice_.events[skip:]


class EachEvent(PartitionDecider):
    """Accepts single events instead of whole slices."""

    def observe(self, slice_: Slice) -> Verdict:
        skip = self.lanes[slice_.owner].state.last_sequence + 1 - slice_.first
        if 0 < skip < len(slice_.events):
            slice_ = replace(slice_, first=slice_.first + skip, events=slice_.events[skip:])
        return super().observe(slice_)


class PartitionPosition(PartitionDecider):
    """Skips a command at or below the last accepted cause of any owner of the partition."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.reached = -1

    def adopt(
        self, owner: str, state: OwnerState, parked: Mapping[int, str] | None = None, known: Iterable[str] | None = None
    ) -> Lane:
        self.reached = max(self.reached, state.last_cause)
        return super().adopt(owner, state, parked, known)

    def observe(self, slice_: Slice) -> Verdict:
        ruling = super().observe(slice_)
        if ruling is Verdict.ACCEPT:
            self.reached = max(self.reached, slice_.last_cause)
        return ruling

    def offer(self, item: Pending) -> None:
        if item.offset <= self.reached:
            self._finished.append(item.offset)
        else:
            super().offer(item)


class Acknowledging(Process):
    """Commits what the broker acknowledged."""

    def acknowledged(self, broker: Broker, append: Append) -> None:
        self.done |= frozenset(append.commands)


class Silent(Code):
    """An empty decision leaves no event."""

    leaves_events = False

    def decided(self, state: OwnerState, cause: int, version: int) -> tuple[MemoryEvent, ...]:
        return tuple(e for e in super().decided(state, cause, version) if not isinstance(e, CommandNoted | CommandRejected))


class SilentMachine(PartitionDecider):
    """Takes a command whose decision is empty for done."""

    def _park_head(self, lane: Lane, reason: str) -> None:
        if reason != "the decider left no event":
            super()._park_head(lane, reason)
            return
        item = lane.pending.popleft()
        self._finish(item)
        self._look_at(item.owner)


class Speculating(Process):
    """Materialises what was decided, before it was read back."""

    def materialise(self, broker: Broker) -> None:
        before = copied(self.machine.lanes)
        for owner, lane in self.machine.lanes.items():
            if lane.sent is not None:
                lane.take(lane.sent.events, own=True)
                self.changed |= {owner}
        super().materialise(broker)
        self.machine.lanes = before


class Overwriting(Process):
    """Materialises without the compare-and-set."""

    def materialise(self, broker: Broker) -> None:
        self.saved = broker.tables.position
        super().materialise(broker)


class LoadingFirst(Process):
    """Loads the lot, the state and the log before it reads the committed offset."""

    def __init__(self, number: int, version: int, broker: Broker, machine: type[PartitionDecider], *, whole: bool) -> None:
        super().__init__(number, version, broker, machine, whole=whole)
        super().start(broker)
        self.phase = Phase.STARTING

    def start(self, broker: Broker) -> None:
        if self.phase is Phase.STARTING:
            self.floor = self.next = broker.committed
            self.phase = Phase.RUNNING
        else:
            super().start(broker)


class _AnyStore(SimulatedStore):
    async def entries(self, wanted: Mapping[str, Collection[str]]) -> dict[str, dict[str, Stored]]:
        self._position = self.tables.position
        return await super().entries(wanted)


class LookingUpBlindly(Process):
    """Looks entries up in tables that another decider has saved since."""

    def connect(self, broker: Broker) -> SimulatedStore:
        return _AnyStore(broker.tables, self.saved, whole=self.whole)


class Trusting(Process):
    """Takes the acknowledgement for the confirmation, and reads nothing back."""

    def behind(self, broker: Broker) -> bool:
        return False

    def acknowledged(self, broker: Broker, append: Append) -> None:
        self.machine.observe(Slice(append.owner, append.append_id, append.first, append.events, len(broker.log)))
        self._collect()


class Pipelining(PartitionDecider):
    """Decides on from what it has sent, without waiting for the read-back."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.read_back: dict[str, OwnerState] = {}
        self.under_way: dict[str, tuple[tuple[Append, tuple[Pending, ...]], ...]] = {}

    def adopt(
        self, owner: str, state: OwnerState, parked: Mapping[int, str] | None = None, known: Iterable[str] | None = None
    ) -> Lane:
        self.read_back[owner] = state
        return super().adopt(owner, state, parked, known)

    def appends(self, budget: int) -> list[Append]:
        out = super().appends(budget)
        for append in out:
            lane = self.lanes[append.owner]
            items = tuple(lane.pending.popleft() for _ in append.commands)
            self.under_way[append.owner] = (*self.under_way.get(append.owner, ()), (append, items))
            lane.sent, lane.state = None, fold(lane.state, append.events)
            self._look_at(append.owner)
        return out

    def observe(self, slice_: Slice) -> Verdict:
        owner, lane = slice_.owner, self.lanes[slice_.owner]
        ours, ruling = self.under_way.get(owner, ()), verdict(slice_.first, self.read_back[owner].last_sequence)
        if ours and ours[0][0].append_id == slice_.append_id and ruling is Verdict.ACCEPT:
            self.read_back[owner] = fold(self.read_back[owner], slice_.events)
            self.under_way[owner] = ours[1:]
            self._finished.extend(ours[0][0].commands)
            return ruling
        if ruling is Verdict.DROP and all(append.append_id != slice_.append_id for append, _ in ours):
            return ruling
        lane.pending.extendleft(item for _, items in reversed(ours) for item in reversed(items))
        self.under_way[owner], lane.state = (), self.read_back[owner]
        ruling = super().observe(slice_)
        self.read_back[owner] = lane.state
        return ruling


class TakingFailedForLanded(Process):
    """Goes on after a failed append as if it had landed."""

    def failed(self, broker: Broker, append: Append) -> None:
        self.machine.observe(Slice(append.owner, append.append_id, append.first, append.events, len(broker.log)))
        self._collect()


class LeavingFailed(Process):
    """Goes on after a failed append with the next commands; the failed ones will be delivered again."""

    def failed(self, broker: Broker, append: Append) -> None:
        lane = self.machine.lanes.get(append.owner)
        if lane is not None and lane.sent is append:
            for _ in append.commands:
                lane.pending.popleft()
            lane.sent = None
            self.machine._look_at(append.owner)


class DecidingInPlace(Process):
    """Goes on after a failed append by deciding its commands again, from the state that it has."""

    def failed(self, broker: Broker, append: Append) -> None:
        lane = self.machine.lanes.get(append.owner)
        if lane is not None and lane.sent is append:
            lane.sent = None
            self.machine._look_at(append.owner)


class SendingAgain(Process):
    """Goes on after a failed append by sending the same bytes again."""

    def failed(self, broker: Broker, append: Append) -> None:
        self.flight = (*self.flight, append)


class ParkingEarly(PartitionDecider):
    """Parks a command while earlier ones of its owner are still under way."""

    def _decide_lane(self, owner: str, lane: Lane) -> Append | None:
        append = super()._decide_lane(owner, lane)
        if append is not None and len(lane.pending) > len(append.commands):
            item = lane.pending[len(append.commands)]
            problem = SliceDraft(fold(lane.state, append.events), self._decide, self._encode).add(item)
            if problem and item.parked_id is None:
                lane.pending.remove(item)
                lane.parking.add(item.offset)
                self._parks.append(Park(item, problem, None))
        return append


class NeverVoid(PartitionDecider):
    """Leaves entries in the lot that are at or below their owner's position."""

    def _settle(self, owner: str, lane: Lane) -> None:
        kept, lane.parked = lane.parked, ParkedEntries()
        super()._settle(owner, lane)
        lane.parked = kept


class VoidAtTheStart(NeverVoid):
    """Voids such entries when an owner is adopted, and not when the log moves past them later."""

    def adopt(
        self, owner: str, state: OwnerState, parked: Mapping[int, str] | None = None, known: Iterable[str] | None = None
    ) -> Lane:
        entries = parked or {}
        void = [o for o in sorted(entries) if o <= state.last_cause]
        self._healed.extend(Pending(o, owner, None, parked_id=entries[o]) for o in void)
        return super().adopt(owner, state, {o: p for o, p in entries.items() if o not in void}, known)


class Overtaking(PartitionDecider):
    """Lets later commands of an owner pass a parked one."""

    def _blocker(self, lane: Lane) -> str | None:
        return None
