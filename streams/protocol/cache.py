"""The bounded cache between a partition's lanes and its store: looking entries up, saving what changed, letting go.

A lane holds what was saved and what the log brought since, so an entry that a lane has not looked up is in the store as it is:
no accepted event touched it since the lane was adopted, or it would be known. Look-ups and letting go exclude each other, so that
what is on its way from the store never meets a lane that has forgotten that it knew better.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from immutables import Map
from msgspec.structs import replace

from schemas.slices import Slice
from streams.decider import EMPTY
from streams.decider.state import Entry
from streams.protocol.lane import Lane
from streams.protocol.partition import PartitionDecider
from streams.protocol.store import Change, DeciderStore, Stored

MAX_LANES = 20_000
"""Owners held in memory per partition; those without work are let go beyond it."""
MAX_ENTRIES = 400_000
"""Entries held in memory per partition, at about 290 bytes each; owners without work are let go beyond it."""
MAX_LANE_ENTRIES = 50_000
"""Entries of one owner at work; beyond it only those that are needed now are kept."""
WHOLE_ENTRIES = 512
"""An owner with no more entries is read as a whole: looking up the keys of some dozens of commands would cost more."""
MAX_UNSAVED_RECORDS = 20_000
"""Records of the log that a start folds in before it saves."""

Parked = Callable[[str], Mapping[int, str]]


class StateCache:
    """The lanes of ``machine`` as a cache of ``store``, in which the log is folded in up to ``position``.

    ``parked`` gives an owner's entries in the parking lot.
    """

    def __init__(self, machine: PartitionDecider, store: DeciderStore, parked: Parked) -> None:
        self._machine, self._store, self._parked = machine, store, parked
        self._looking_up = asyncio.Lock()
        self._changed: set[str] = set()
        self._saved = 0

    async def open(self) -> int:
        """The position up to which the log is folded in."""
        self._saved = await self._store.open()
        return self._saved

    # -- looking up

    async def hold(self, owners: Iterable[str], slices: Sequence[Slice] = ()) -> None:
        """Adopt ``owners`` and look up what their ``slices`` touch, so that these can be offered and observed at once."""
        lanes = self._machine.lanes
        async with self._looking_up:
            missing = []
            for owner in owners:
                if owner in lanes:
                    lanes[owner] = lanes.pop(owner)  # oldest use first
                else:
                    missing.append(owner)
            if missing:
                await self._adopt(missing)
            while wanted := self._machine.unseen(slices):
                await self._supply(wanted)

    async def look_up(self) -> None:
        """Bring what pending commands need."""
        async with self._looking_up:
            while wanted := self._machine.needs():
                await self._supply(wanted)

    async def _adopt(self, owners: Sequence[str]) -> None:
        headers = await self._store.headers(owners)
        small = [owner for owner, header in headers.items() if header.entries is not None and header.entries <= WHOLE_ENTRIES]
        whole = await self._store.all_entries(small)
        for owner in owners:
            header = headers.get(owner)
            if header is None:
                self._machine.adopt(owner, EMPTY, self._parked(owner))
            elif owner in whole:
                entries = Map(_standing(whole[owner], header.state.erased_cause))
                self._machine.adopt(owner, replace(header.state, entries=entries), self._parked(owner))
            else:
                self._machine.adopt(owner, header.state, self._parked(owner), known=())

    async def _supply(self, wanted: Mapping[str, set[str]]) -> None:
        found = await self._store.entries(wanted)
        for owner, keys in wanted.items():
            lane = self._machine.lanes[owner]
            # judged by the erasures known now, which may be newer than the row
            self._machine.supply(owner, {**dict.fromkeys(keys), **_standing(found[owner], lane.state.erased_cause)})

    # -- saving

    def observed(self, owner: str) -> None:
        """The owner's state has changed."""
        self._changed.add(owner)

    def is_due(self, position: int) -> bool:
        """Whether much of the log was folded in since the last save."""
        return position - self._saved > MAX_UNSAVED_RECORDS

    async def save(self, position: int) -> None:
        """Save what changed, with the position of the log up to which it is folded in, and let go of what is too much.

        Raises PositionLost where another decider saved this partition.
        """
        if position != self._saved:
            owners, self._changed = self._changed, set()
            changes = {owner: take_change(self._machine.lanes[owner]) for owner in owners}
            await self._store.save(self._saved, position, changes)
            self._saved = position
        async with self._looking_up:
            self._let_go()

    def _let_go(self) -> None:
        lanes, held = self._machine.lanes, 0
        for lane in lanes.values():
            if lane.size > MAX_LANE_ENTRIES:
                lane.trim()
            held += lane.size
        for owner in list(lanes):
            if len(lanes) <= MAX_LANES and held <= MAX_ENTRIES:
                break
            if lanes[owner].idle:
                held -= lanes[owner].size
                self._machine.let_go(owner)


def _standing(found: Mapping[str, Stored], erased_cause: int) -> dict[str, Entry]:
    return {key: row.entry for key, row in found.items() if not row.is_void(key, erased_cause)}


def take_change(lane: Lane) -> Change:
    """What is to be saved of the lane; from now on it counts as saved: where saving fails, the lanes are given up."""
    state = lane.state
    change = Change(
        state, len(state.entries) if lane.known is None else None, lane.changes(), state.erased_cause > lane.saved.erased_cause
    )
    lane.saved, lane.changed = state, set()
    return change
