"""A partition that knows of an owner only what it looked up decides as one that knows everything."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from immutables import Map
from msgspec.structs import replace

from schemas.codec import encode
from schemas.slices import Slice, Verdict
from schemas.types import Command, MemoryEvent
from streams.decider import EMPTY, OwnerState, decide, fold
from streams.decider.state import Entry
from streams.protocol.cache import take_change
from streams.protocol.entries import dump_entry
from streams.protocol.lane import Append, Lane, Pending
from streams.protocol.partition import PartitionDecider
from streams.protocol.store import Stored
from tests.streams.commands import OWNER, remember
from tests.streams.decider.histories import HISTORIES


class Store:
    """What a store keeps of the one owner."""

    def __init__(self) -> None:
        self.header = EMPTY
        self.rows: dict[str, Stored] = {}

    def save(self, lane: Lane) -> None:
        change = take_change(lane)
        self.header = replace(change.state, entries=Map())
        if change.erased:
            self.rows = self.standing(self.header.erased_cause)
        for key, entry in change.changed.items():
            if entry is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = Stored(change.state.last_cause, entry)

    def standing(self, erased_cause: int) -> dict[str, Stored]:
        return {key: row for key, row in self.rows.items() if not row.is_void(key, erased_cause)}


class Partition:
    """One owner on a partition whose lane is adopted bare, trimmed and let go at random, with another decider beside."""

    def __init__(self, commands: list[Command], rnd: random.Random) -> None:
        self.commands, self.rnd = commands, rnd
        ids = itertools.count()
        self.machine = PartitionDecider(decide, lambda: f"a{next(ids)}", encode=lambda _: b"")
        self.store = Store()
        self.log: list[MemoryEvent] = []
        self.truth = EMPTY
        self.flight: list[Append] = []
        self.under_way: dict[str, Stored | None] | None = None
        """What a look-up read and has not brought yet."""
        self.next = 0

    @property
    def lane(self) -> Lane:
        return self.machine.lanes[OWNER]

    def hold(self) -> None:
        if OWNER not in self.machine.lanes:
            self.machine.adopt(OWNER, self.store.header, known=())

    # -- what may happen

    def offer(self) -> None:
        if self.next < len(self.commands):
            self.hold()
            self.machine.offer(Pending(self.next, OWNER, self.commands[self.next]))
            self.next += 1

    def look_up(self) -> None:
        if self.under_way is not None:
            found, self.under_way = self.under_way, None
            self.supply(found)
        elif wanted := self.machine.needs().get(OWNER):
            self.under_way = {key: self.store.rows.get(key) for key in wanted}

    def supply(self, found: Mapping[str, Stored | None]) -> None:
        erased = self.lane.state.erased_cause
        entries: dict[str, Entry | None] = {
            key: None if row is None or row.is_void(key, erased) else row.entry for key, row in found.items()
        }
        self.machine.supply(OWNER, entries)

    def send(self) -> None:
        self.flight += self.machine.appends(100)

    def land(self) -> None:
        if self.flight:
            append = self.flight.pop(0)
            self.observe(append.append_id, append.first, append.events)

    def interfere(self) -> None:
        """Another decider, which knows everything, decides the next commands and is the first on the log."""
        state, events = self.truth, list[MemoryEvent]()
        start = state.last_cause + 1
        for cause in range(start, min(len(self.commands), start + self.rnd.randint(1, 3))):
            decided = decide(state, self.commands[cause], cause)
            state = fold(state, decided)
            events += decided
        if events:
            self.observe(f"b{len(self.log)}", events[0].meta.sequence, tuple(events))

    def observe(self, append_id: str, first: int, events: tuple[MemoryEvent, ...]) -> None:
        self.hold()
        slice_ = Slice(OWNER, append_id, first, events, 0)
        while wanted := self.machine.unseen([slice_]).get(OWNER):
            self.supply({key: self.store.rows.get(key) for key in wanted})
        if self.machine.observe(slice_) is Verdict.ACCEPT:
            self.log += events
            self.truth = fold(self.truth, events)

    def save(self) -> None:
        if OWNER in self.machine.lanes:
            self.store.save(self.lane)

    def trim(self) -> None:
        if OWNER in self.machine.lanes and self.under_way is None:
            self.lane.trim()

    def let_go(self) -> None:
        if OWNER in self.machine.lanes and self.under_way is None and self.lane.idle:
            self.machine.let_go(OWNER)

    def play(self) -> None:
        likely = [self.offer, self.look_up, self.look_up, self.send, self.land, self.save, self.trim, self.let_go]
        for _ in range(2_000):
            self.rnd.choice([*likely * 3, self.interfere])()
            if self.truth.last_cause + 1 == len(self.commands) and not self.flight:
                return
        raise AssertionError("the commands were never decided")


@settings(max_examples=150, deadline=None)
@given(HISTORIES, st.integers(0, 2**32))
def test_an_owner_known_in_part_is_decided_and_saved_as_one_known_as_a_whole(commands: list[Command], seed: int) -> None:
    partition = Partition(commands, random.Random(seed))
    partition.play()
    assert not partition.machine.parks()
    log, state = undisturbed(commands)
    assert list(map(encode, partition.log)) == list(map(encode, log))
    partition.save()
    kept = {key: dump_entry(key, row.entry) for key, row in partition.store.standing(state.erased_cause).items()}
    assert kept == {key: dump_entry(key, entry) for key, entry in state.entries.items()}
    assert partition.store.header == replace(state, entries=Map())


def undisturbed(commands: list[Command]) -> tuple[list[MemoryEvent], OwnerState]:
    """The log of a decider that knows everything, and the state after it."""
    state, log = EMPTY, list[MemoryEvent]()
    for cause, command in enumerate(commands):
        events = decide(state, command, cause)
        state = fold(state, events)
        log += events
    return log, state


def test_what_a_lane_was_never_told_is_asked_for_and_not_taken_for_absent() -> None:
    before = decide(EMPTY, remember("User plays chess"), 0)
    whole = fold(EMPTY, before)
    machine = PartitionDecider(decide, iter("abcdefgh").__next__)
    machine.adopt(OWNER, replace(whole, entries=Map()), known=())
    machine.offer(Pending(1, OWNER, remember("User plays chess")))
    assert machine.has_ready
    assert machine.appends(100) == []
    while wanted := machine.needs():
        machine.supply(OWNER, {key: whole.entries.get(key) for key in wanted[OWNER]})
    (append,) = machine.appends(100)
    assert [type(event).__name__ for event in append.events] == ["MemoryReheated"]


def test_what_comes_late_from_the_store_does_not_replace_what_the_log_brought_meanwhile() -> None:
    machine = PartitionDecider(decide, iter("abcdefgh").__next__)
    machine.adopt(OWNER, EMPTY, known=())
    machine.offer(Pending(0, OWNER, remember("User plays chess", id="c-1")))
    asked = machine.needs()[OWNER]
    machine.supply(OWNER, dict.fromkeys(asked))
    (append,) = machine.appends(100)
    machine.observe(Slice(OWNER, append.append_id, append.first, append.events, 1))
    decided = machine.lanes[OWNER].state
    machine.supply(OWNER, dict.fromkeys(asked))
    assert machine.lanes[OWNER].state == decided


def test_a_slice_of_another_decider_that_touches_what_was_not_looked_up_is_refused_loudly() -> None:
    machine = PartitionDecider(decide, iter("abcdefgh").__next__)
    machine.adopt(OWNER, EMPTY, known=())
    slice_ = Slice(OWNER, "x", 1, decide(EMPTY, remember("User plays chess"), 0), 1)
    assert machine.unseen([slice_])[OWNER]
    with pytest.raises(AssertionError):
        machine.observe(slice_)


def test_a_lane_that_is_let_go_leaves_nothing_behind() -> None:
    machine = PartitionDecider(decide, iter("abcdefgh").__next__)
    machine.adopt(OWNER, EMPTY, known=())
    command = remember("User plays chess")
    machine.offer(Pending(0, OWNER, command))
    slice_ = Slice(OWNER, "x", 1, decide(EMPTY, command, 0), 1)
    while wanted := machine.unseen([slice_]):
        machine.supply(OWNER, dict.fromkeys(wanted[OWNER]))
    machine.observe(slice_)  # another decider was faster
    take_change(machine.lanes[OWNER])
    assert machine.lanes[OWNER].idle
    machine.let_go(OWNER)
    assert not machine.has_ready
    assert machine.appends(100) == []
    assert machine.needs() == {}
