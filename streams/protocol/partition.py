"""The decider's protocol for one partition, without I/O: what to decide, what to append, what is confirmed, what to park.

The runner (``runner.py``) brings commands and the log's slices and carries out what this machine asks for; a model test drives
the same code over a simulated log. An owner's lane decides only from confirmed state and has at most one append under way; what
was appended counts only when it was read back and accepted by the rule that every reader follows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from schemas import codec
from schemas.slices import Slice, Verdict, verdict
from streams.decider import OwnerState
from streams.decider.state import Entry
from streams.protocol.drafting import Decide, Encode, SliceDraft
from streams.protocol.lane import Append, Lane, Park, ParkedEntries, Pending

__all__ = ["Append", "Lane", "Park", "PartitionDecider", "Pending"]


class PartitionDecider:
    """All owners of one partition.

    ``offer`` takes commands in offset order, ``appends`` gives the slices to write, ``observe`` takes every slice of the log in
    order, ``parks`` gives the commands to park, ``finished`` the offsets that are done: confirmed, void, or durably parked.

    An owner with many entries is adopted with those that are ``known`` so far. ``needs`` and ``unseen`` then say which keys are
    to be looked up and given to ``supply`` before its commands are decided, and before others' slices of it are observed.
    """

    def __init__(self, decide: Decide, new_append_id: Callable[[], str], encode: Encode = codec.encode) -> None:
        self._decide, self._new_append_id, self._encode = decide, new_append_id, encode
        self.lanes: dict[str, Lane] = {}
        self._ready: dict[str, None] = {}
        self._unread: dict[str, None] = {}
        self._parks: list[Park] = []
        self._finished: list[int] = []
        self._healed: list[Pending] = []

    # -- what comes in

    def adopt(
        self, owner: str, state: OwnerState, parked: Mapping[int, str] | None = None, known: Iterable[str] | None = None
    ) -> Lane:
        """Begin with ``owner`` in its confirmed ``state``; ``parked`` are its entries in the parking lot.

        ``known`` are the keys that were looked up, where ``state`` does not hold every entry.
        """
        lane = Lane(state, ParkedEntries(parked or {}), None if known is None else set(known))
        self.lanes[owner] = lane
        self._settle(owner, lane)
        return lane

    def let_go(self, owner: str) -> None:
        """Forget an owner whose lane is idle; it can be adopted again."""
        del self.lanes[owner]
        # commands that another decider decided meanwhile may have left their mark here
        self._ready.pop(owner, None)
        self._unread.pop(owner, None)

    def offer(self, item: Pending) -> None:
        """Take a command of an adopted owner. One at or below its last accepted cause was decided before: skipped."""
        lane = self.lanes[item.owner]
        if item.offset <= lane.state.last_cause:
            self._finish(item)
            return
        if item.offset in lane.parking or _holds(lane.pending, item.offset):
            return
        if item.offset in lane.parked and item.parked_id is None:
            self._finished.append(item.offset)  # redelivered; it is in the lot already
            return
        lane.pending.append(item)
        self._look_up(lane, [item])
        self._look_at(item.owner)

    def retry(self, owner: str, items: list[Pending]) -> None:
        """Decide parked commands of ``owner`` again, in order and before anything newer."""
        lane = self.lanes[owner]
        # parked by a zombie after the owner was adopted, and decided here
        self._healed.extend(i for i in items if i.offset <= lane.state.last_cause)
        known = {p.offset for p in lane.pending}
        fresh = [i for i in items if i.offset in lane.parked and i.offset not in known]
        if fresh:
            # asked twice, the second time for more: together they must still be in order, before anything newer
            from_lot = sorted([*fresh, *(p for p in lane.pending if p.parked_id is not None)], key=lambda p: p.offset)
            lane.pending = deque([*from_lot, *(p for p in lane.pending if p.parked_id is None)])
            self._look_up(lane, fresh)
            self._look_at(owner)

    def supply(self, owner: str, found: Mapping[str, Entry | None]) -> None:
        """Take looked-up entries of ``owner``, None for a key without one."""
        self.lanes[owner].supply(found)
        self._look_at(owner)

    def observe(self, slice_: Slice) -> Verdict:
        """Take the next slice of the log for an adopted owner and apply the readers' rule."""
        lane = self.lanes[slice_.owner]
        own = lane.is_own(slice_)
        ruling = verdict(slice_.first, lane.state.last_sequence)
        if lane.alarm:
            return Verdict.GAP
        if ruling is Verdict.GAP:
            lane.alarm = True
            lane.sent = None
        elif ruling is Verdict.ACCEPT:
            # own or another's: what is accepted is the state, and what it decided is done; the rest is decided again from here
            lane.take(slice_.events, own)
            lane.sent = None
            self._settle(slice_.owner, lane)
        elif own:
            lane.sent = None
        self._look_at(slice_.owner)
        return ruling

    def parked(self, item: Pending, parked_id: str) -> None:
        """``item`` is durably in the parking lot."""
        self._finished.append(item.offset)
        lane = self.lanes.get(item.owner)
        if lane is None:
            return  # let go meanwhile; when the owner is adopted again the lot is asked
        lane.parking.discard(item.offset)
        lane.parked[item.offset] = parked_id
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
        """Whether ``appends`` or ``needs`` would give anything."""
        return bool(self._ready or self._unread)

    def needs(self) -> dict[str, set[str]]:
        """Keys to look up, by owner, before all pending commands can be decided. One may lead to others: ask again."""
        out: dict[str, set[str]] = {}
        for owner in list(self._unread):
            lane = self.lanes[owner]
            missing = lane.missing(item.command for item in lane.unread if item.command is not None)
            if missing:
                out[owner] = missing
            else:
                lane.unread.clear()
                del self._unread[owner]
        return out

    def unseen(self, slices: Iterable[Slice]) -> dict[str, set[str]]:
        """Keys to look up, by owner, before ``slices`` are observed. One may lead to others: ask again.

        A lane's own slice was decided from keys that were looked up.
        """
        out: dict[str, set[str]] = {}
        for slice_ in slices:
            lane = self.lanes[slice_.owner]
            if not lane.is_own(slice_) and (missing := lane.missing(slice_.events)):
                out.setdefault(slice_.owner, set()).update(missing)
        return out

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
        # not only at the head: a retried entry may stand before an older command that another decider has decided meanwhile
        for item in [p for p in lane.pending if p.offset <= last]:
            lane.pending.remove(item)
            self._finish(item)
        for offset in sorted(o for o in lane.parked if o <= last):
            self._healed.append(Pending(offset, owner, None, parked_id=lane.parked.pop(offset)))

    def _look_at(self, owner: str) -> None:
        """Work out what the lane needs next: parking of its head, or a decision. One that is needed no more is withdrawn."""
        lane = self.lanes[owner]
        if lane.sent is None and not lane.parking:
            if lane.alarm:
                self._park_all(lane, "the log has a gap in this owner's sequence", None)
            elif blocker := self._blocker(lane):
                self._park_all(lane, "waits behind parked work of its owner", blocker)
            elif lane.pending:
                self._ready[owner] = None
                return
        self._ready.pop(owner, None)

    def _look_up(self, lane: Lane, items: Iterable[Pending]) -> None:
        """Ask for what ``items`` touch, where the lane does not hold all."""
        if lane.known is not None:
            lane.unread.extend(items)
            self._unread.update(dict.fromkeys(item.owner for item in lane.unread))

    def _blocker(self, lane: Lane) -> str | None:
        """The parked entry that stands before the lane's head; None when the head may be decided."""
        return lane.parked.before(lane.pending[0].offset) if lane.pending else None

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
        draft, problem = SliceDraft(lane.state, self._decide, self._encode), ""
        from_lot = lane.pending[0].parked_id is not None
        for item in lane.pending:
            # newer commands wait until the lot's are confirmed: one of those may fail again, and they must then follow it there
            if (item.parked_id is not None) != from_lot:
                break
            if item.command is not None and lane.missing((item.command,), draft.state):
                self._look_up(lane, lane.pending)  # decided once these are here: that an entry is absent is known, never assumed
                break
            problem = draft.add(item)
            if problem:
                break
        if draft.events:
            lane.send(draft.append(owner, self._new_append_id()), draft.state)
        elif problem:
            self._park_head(lane, problem)
        return lane.sent

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


def _holds(pending: deque[Pending], offset: int) -> bool:
    """Whether the command at ``offset`` is pending: mostly it is newer than the newest."""
    return bool(pending) and offset <= pending[-1].offset and any(item.offset == offset for item in pending)
