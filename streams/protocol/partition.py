"""The decider's protocol for one partition, without I/O: what to decide, what to append, what is confirmed, what to park.

The runner (``runner.py``) brings commands and the log's slices and carries out what this machine asks for; a model test drives
the same code over a simulated log. An owner's lane decides only from confirmed state and has at most one append under way; what
was appended counts only when it was read back and accepted by the rule that every reader follows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from schemas.slices import Slice, Verdict, verdict
from schemas.types import Command, MemoryAdded, MemoryEvent, MemoryForgotten
from streams.decider import OwnerState, fold

MAX_SLICE_EVENTS = 500
MAX_SLICE_BYTES = 900_000
_EVENT_OVERHEAD_BYTES = 1_000

Decide = Callable[[OwnerState, Command, int], tuple[MemoryEvent, ...]]


def _weight(event: MemoryEvent) -> int:
    """Upper estimate of an event's bytes on the log, headers included."""
    text = len(event.content.encode()) if isinstance(event, MemoryAdded) else 0
    source = getattr(event, "source", None)
    ids = event.kept_message_ids if isinstance(event, MemoryForgotten) else source.message_ids if source else ()
    return _EVENT_OVERHEAD_BYTES + text + sum(len(i.encode()) + 4 for i in ids)


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
    """One owner's slice to be written: the events of ``commands`` (offsets), decided in order from confirmed state."""

    append_id: str
    owner: str
    first: int
    commands: tuple[int, ...]
    events: tuple[MemoryEvent, ...]


@dataclass(frozen=True, slots=True)
class Park:
    """A command to be parked durably, its reason, and the parked work of the same owner that it waits behind, if any."""

    pending: Pending
    reason: str
    behind: str | None


@dataclass(slots=True)
class Lane:
    """One owner: the confirmed state, the commands that are not confirmed, and the append under way."""

    state: OwnerState
    pending: deque[Pending] = field(default_factory=deque)
    sent: Append | None = None
    parked: dict[int, str] = field(default_factory=dict)
    """Offsets of this owner's parked commands with their parked ids."""
    parking: set[int] = field(default_factory=set)
    """Offsets whose parking is under way."""
    alarm: bool = False
    """A gap was read: the protocol never makes one, so nothing more is decided here until a person looks."""

    @property
    def idle(self) -> bool:
        return not (self.pending or self.sent or self.parked or self.parking or self.alarm)


class PartitionDecider:
    """All owners of one partition.

    ``offer`` takes commands in offset order, ``appends`` gives the slices to write, ``observe`` takes every slice of the log in
    order, ``parks`` gives the commands to park, ``finished`` the offsets that are done: confirmed, void, or durably parked.
    """

    def __init__(self, decide: Decide, new_append_id: Callable[[], str]) -> None:
        self._decide, self._new_append_id = decide, new_append_id
        self.lanes: dict[str, Lane] = {}
        self._ready: dict[str, None] = {}
        self._parks: list[Park] = []
        self._finished: list[int] = []
        self._healed: list[Pending] = []

    # -- what comes in

    def adopt(self, owner: str, state: OwnerState, parked: dict[int, str] | None = None) -> Lane:
        """Begin with ``owner`` in its confirmed ``state``; ``parked`` are its entries in the parking lot."""
        lane = self.lanes[owner] = Lane(state, parked=dict(parked or {}))
        self._settle(owner, lane)
        return lane

    def offer(self, item: Pending) -> None:
        """Take a command of an adopted owner. One at or below its last accepted cause was decided before: skipped."""
        lane = self.lanes[item.owner]
        if item.offset <= lane.state.last_cause:
            self._finish(item)
            return
        if any(p.offset == item.offset for p in lane.pending) or item.offset in lane.parking:
            return
        if item.offset in lane.parked and item.parked_id is None:
            self._finished.append(item.offset)  # redelivered; it is in the lot already
            return
        lane.pending.append(item)
        self._look_at(item.owner)

    def retry(self, owner: str, items: list[Pending]) -> None:
        """Decide parked commands of ``owner`` again, in order and before anything newer."""
        lane = self.lanes[owner]
        known = {p.offset for p in lane.pending}
        fresh = [i for i in items if i.offset in lane.parked and i.offset not in known]
        if fresh:
            # asked twice, the second time for more: together they must still be in order, before anything newer
            from_lot = sorted([*fresh, *(p for p in lane.pending if p.parked_id is not None)], key=lambda p: p.offset)
            lane.pending = deque([*from_lot, *(p for p in lane.pending if p.parked_id is None)])
            self._look_at(owner)

    def observe(self, slice_: Slice) -> Verdict:
        """Take the next slice of the log for an adopted owner and apply the readers' rule."""
        lane = self.lanes[slice_.owner]
        own = lane.sent is not None and lane.sent.append_id == slice_.append_id
        ruling = verdict(slice_.first, lane.state.last_sequence)
        if lane.alarm:
            return Verdict.GAP
        if ruling is Verdict.GAP:
            lane.alarm = True
            lane.sent = None
        elif ruling is Verdict.ACCEPT:
            # own or another's: what is accepted is the state, and what it decided is done; the rest is decided again from here
            lane.state = fold(lane.state, slice_.events)
            lane.sent = None
            self._settle(slice_.owner, lane)
        elif own:
            lane.sent = None
        self._look_at(slice_.owner)
        return ruling

    def parked(self, item: Pending, parked_id: str) -> None:
        """``item`` is durably in the parking lot."""
        lane = self.lanes[item.owner]
        lane.parking.discard(item.offset)
        lane.parked[item.offset] = parked_id
        self._finished.append(item.offset)
        self._settle(item.owner, lane)
        self._look_at(item.owner)

    def unparked(self, owner: str, offset: int) -> None:
        """The entry left the lot (dropped by a person, or healed)."""
        lane = self.lanes.get(owner)
        if lane is not None:
            lane.parked.pop(offset, None)
            self._look_at(owner)

    # -- what comes out

    @property
    def has_ready(self) -> bool:
        """Whether ``appends`` would give anything."""
        return bool(self._ready)

    def appends(self, budget: int) -> list[Append]:
        """Slices to write now, together about ``budget`` events at most; their lanes wait for the read-back."""
        out: list[Append] = []
        while self._ready and budget > 0:
            owner = next(iter(self._ready))
            del self._ready[owner]
            append = self._decide_lane(owner, self.lanes[owner])
            if append is not None:
                out.append(append)
                budget -= len(append.events)
        return out

    def parks(self) -> list[Park]:
        """Commands to park; each is to be reported back by ``parked``."""
        out, self._parks = self._parks, []
        return out

    def finished(self) -> list[int]:
        """Offsets that need no more work of ours."""
        out, self._finished = self._finished, []
        return out

    def healed(self) -> list[Pending]:
        """Parked commands that are confirmed or void: their entries can leave the lot."""
        out, self._healed = self._healed, []
        return out

    def confirmed(self) -> dict[str, OwnerState]:
        """Confirmed state of every owner at hand."""
        return {owner: lane.state for owner, lane in self.lanes.items()}

    # -- inside

    def _finish(self, item: Pending) -> None:
        self._finished.append(item.offset)
        if item.parked_id is not None:
            self.lanes[item.owner].parked.pop(item.offset, None)
            self._healed.append(item)

    def _settle(self, owner: str, lane: Lane) -> None:
        """Finish what the log has moved past: pending commands are done, parked entries void (a retry was confirmed just before a
        crash, or a zombie parked what another decider had decided)."""
        last = lane.state.last_cause
        while lane.pending and lane.pending[0].offset <= last:
            self._finish(lane.pending.popleft())
        for offset in sorted(o for o in lane.parked if o <= last):
            self._healed.append(Pending(offset, owner, None, parked_id=lane.parked.pop(offset)))

    def _look_at(self, owner: str) -> None:
        """Work out what the lane needs next: parking of its head, or a decision."""
        lane = self.lanes[owner]
        if lane.sent is not None or lane.parking:
            return
        if lane.alarm:
            self._park_all(lane, "the log has a gap in this owner's sequence", None)
            return
        blocker = self._blocker(lane)
        if blocker is not None:
            self._park_all(lane, "waits behind parked work of its owner", blocker)
            return
        if lane.pending:
            self._ready[owner] = None

    def _blocker(self, lane: Lane) -> str | None:
        """The parked entry that stands before the lane's head; None when the head may be decided."""
        if not lane.parked or not lane.pending:
            return None
        first = min(lane.parked)
        return lane.parked[first] if lane.pending[0].offset > first else None

    def _park_all(self, lane: Lane, reason: str, behind: str | None) -> None:
        while lane.pending:
            item = lane.pending.popleft()
            if item.parked_id is None:
                lane.parking.add(item.offset)
                self._parks.append(Park(item, reason, behind))

    def _decide_lane(self, owner: str, lane: Lane) -> Append | None:
        """Decide the lane's commands in order into one slice. One that cannot be decided ends it, and is parked as head."""
        if lane.sent is not None or not lane.pending:
            return None
        draft, problem, weight = lane.state, "", 0
        events: list[MemoryEvent] = []
        offsets: list[int] = []
        from_lot = lane.pending[0].parked_id is not None
        for item in lane.pending:
            # newer commands wait until the lot's are confirmed: one of those may fail again, and they must then follow it there
            if (item.parked_id is not None) != from_lot:
                break
            decided, problem = self._try(draft, item)
            if decided is None:
                break
            weight += sum(map(_weight, decided))
            if len(events) + len(decided) > MAX_SLICE_EVENTS or weight > MAX_SLICE_BYTES:
                problem = "its events exceed one batch: the issuer is to split it"
                break
            draft = fold(draft, decided)
            events.extend(decided)
            offsets.append(item.offset)
        if events:
            lane.sent = Append(self._new_append_id(), owner, lane.state.last_sequence + 1, tuple(offsets), tuple(events))
            return lane.sent
        self._park_head(lane, problem)
        return None

    def _try(self, draft: OwnerState, item: Pending) -> tuple[tuple[MemoryEvent, ...] | None, str]:
        if item.command is None:
            return None, item.problem
        try:
            return self._decide(draft, item.command, item.offset), ""
        except Exception as error:
            # a fault of ours, not of the command; the text of an exception may quote content, its type cannot
            return None, f"the decider raised {type(error).__name__}"

    def _park_head(self, lane: Lane, reason: str) -> None:
        head = lane.pending.popleft()
        if head.parked_id is not None:
            # it fails as before: it and those behind it stay in the lot, newer commands follow them there
            while lane.pending and lane.pending[0].parked_id is not None:
                lane.pending.popleft()
            self._parks.append(Park(head, reason, None))
            self._look_at(head.owner)
            return
        lane.parking.add(head.offset)
        self._parks.append(Park(head, reason, None))
