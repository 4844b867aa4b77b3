"""The protocol under crashes, zombies, lost and late appends, and parking: the project's decider code over a simulated log."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.owner import Owner
from schemas.slices import Slice, Verdict
from schemas.types import Command
from streams.decider import EMPTY, decide
from streams.protocol import partition as partition_module
from streams.protocol.partition import PartitionDecider, Pending
from tests.streams.scenario import OWNER, extracted, forget
from tests.streams.simulated_log import Poison, World, expected

OTHER = Owner.parse("default/user/u-2").reference
TEXTS = ["User drinks green tea", "User plays chess", "User lives in Lima"]


def _commands(rnd: random.Random) -> list[Command]:
    out: list[Command] = []
    for _ in range(rnd.randint(2, 9)):
        owner = rnd.choice([OWNER, OWNER, OTHER])
        if rnd.random() < 0.2:
            out.append(forget("00000000-0000-4000-8000-000000000000", owner=owner))
        else:
            out.append(extracted(f"t{rnd.randint(1, 4)}", *rnd.sample(TEXTS, rnd.randint(0, 3)), owner=owner))
    return out


def _run(seed: int, steps: int) -> None:
    rnd = random.Random(seed)
    commands = _commands(rnd)
    poisoned = {i for i in range(len(commands)) if rnd.random() < 0.15}
    world = World(commands, poisoned, rnd)
    world.walk(steps)
    world.drain()
    assert world.broker.accepted() == expected(commands)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**48), st.integers(0, 120))
def test_whatever_happens_every_reader_accepts_the_log_of_an_undisturbed_decider(seed: int, steps: int) -> None:
    _run(seed, steps)


@pytest.mark.slow
def test_the_same_holds_over_thirty_thousand_longer_walks() -> None:
    for seed in range(30_000):
        _run(seed, 80 + seed % 200)


def _accept_everything(first: int, last: int) -> Verdict:
    return Verdict.ACCEPT if first <= last + 1 else Verdict.GAP


def test_the_model_notices_a_decider_that_takes_its_dropped_append_for_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_module, "verdict", _accept_everything)
    assert _some_walk_fails()


def test_the_model_notices_a_decider_that_decides_before_the_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    original = PartitionDecider.appends

    def eager(self: PartitionDecider, budget: int) -> Any:
        appends = original(self, budget)
        for append in appends:
            lane = self.lanes[append.owner]
            lane.sent = None  # forgets that an append is under way, and takes it for done
            lane.pending = type(lane.pending)(p for p in lane.pending if p.offset not in append.commands)
            self._finished.extend(append.commands)
        return appends

    monkeypatch.setattr(PartitionDecider, "appends", eager)
    assert _some_walk_fails()


def _some_walk_fails() -> bool:
    for seed in range(3_000):
        try:
            _run(seed, 100)
        except (AssertionError, KeyError, IndexError):
            return True
    return False


def _machine() -> PartitionDecider:
    machine = PartitionDecider(decide, iter("abcdefgh").__next__)
    machine.adopt(OWNER, EMPTY)
    return machine


def _offer(machine: PartitionDecider, offset: int, *texts: str) -> None:
    machine.offer(Pending(offset, OWNER, extracted(f"t{offset}", *texts)))


def _as_slice(append: Any) -> Slice:
    return Slice(append.owner, append.append_id, append.first, append.events, 1)


def test_commands_of_one_owner_join_one_slice_and_the_next_waits_for_the_read_back() -> None:
    machine = _machine()
    _offer(machine, 0, TEXTS[0])
    _offer(machine, 1, TEXTS[1])
    (append,) = machine.appends(100)
    assert append.commands == (0, 1)
    _offer(machine, 2, TEXTS[2])
    assert machine.appends(100) == []
    assert machine.finished() == []
    machine.observe(_as_slice(append))
    assert machine.finished() == [0, 1]
    assert [a.commands for a in machine.appends(100)] == [(2,)]


def test_after_another_decider_won_the_owner_is_decided_again_from_what_landed() -> None:
    machine = _machine()
    _offer(machine, 0, TEXTS[0])
    _offer(machine, 1, TEXTS[1])
    (mine,) = machine.appends(100)
    theirs = decide(EMPTY, extracted("t0", TEXTS[0]), 0)
    machine.observe(Slice(OWNER, "other", 1, theirs, 1))
    assert machine.finished() == [0]
    (again,) = machine.appends(100)
    assert (again.commands, again.first) == ((1,), 2)
    assert machine.observe(_as_slice(mine)) is Verdict.DROP


def test_a_gap_parks_the_owner_loudly() -> None:
    machine = _machine()
    events = decide(replace(EMPTY, last_sequence=4), extracted("t9", TEXTS[0]), 9)
    assert machine.observe(Slice(OWNER, "x", 5, events, 1)) is Verdict.GAP
    _offer(machine, 10, TEXTS[1])
    assert machine.appends(100) == []
    assert [p.pending.offset for p in machine.parks()] == [10]


def test_a_command_that_raises_is_parked_once_the_earlier_ones_are_confirmed_and_later_ones_follow() -> None:
    def faulty(state: Any, command: Any, cause: int) -> Any:
        if cause == 1:
            raise Poison
        return decide(state, command, cause)

    machine = PartitionDecider(faulty, iter("abcdefgh").__next__)
    machine.adopt(OWNER, EMPTY)
    for offset in range(3):
        _offer(machine, offset, TEXTS[offset])
    (append,) = machine.appends(100)
    assert append.commands == (0,)
    assert machine.parks() == []
    machine.observe(_as_slice(append))
    machine.appends(100)
    (first,) = machine.parks()
    assert (first.pending.offset, first.behind, first.reason) == (1, None, "the decider raised Poison")
    machine.parked(first.pending, "p1")
    (second,) = machine.parks()
    assert (second.pending.offset, second.behind) == (2, "p1")


def test_parked_commands_retried_twice_while_more_were_being_parked_keep_their_order() -> None:
    healthy = False

    def faulty(state: Any, command: Any, cause: int) -> Any:
        if cause == 0 and not healthy:
            raise Poison
        return decide(state, command, cause)

    machine = PartitionDecider(faulty, iter("abcdefgh").__next__)
    machine.adopt(OWNER, EMPTY)
    for offset in range(3):
        _offer(machine, offset, TEXTS[offset])
    machine.appends(100)
    (head,) = machine.parks()
    machine.parked(head.pending, "p0")
    behind = machine.parks()
    from_lot = [replace(p.pending, parked_id=f"p{p.pending.offset}") for p in (head, *behind)]
    machine.retry(OWNER, from_lot[:1])
    for park in behind:
        machine.parked(park.pending, f"p{park.pending.offset}")
    healthy = True
    machine.retry(OWNER, from_lot)
    (append,) = machine.appends(100)
    assert append.commands == (0, 1, 2)


def test_what_a_zombie_parked_after_another_decider_had_decided_it_is_void() -> None:
    machine = PartitionDecider(decide, iter("abcdefgh").__next__)
    machine.adopt(OWNER, EMPTY, {3: "p3"})
    _offer(machine, 2, TEXTS[0])  # before the parked one: it is decided, not parked behind it
    (append,) = machine.appends(100)
    assert append.commands == (2,)
    machine.observe(Slice(OWNER, "other", 1, decide(EMPTY, extracted("t3", TEXTS[1]), 3), 1))
    assert [i.parked_id for i in machine.healed()] == ["p3"]
    machine.retry(OWNER, [Pending(3, OWNER, extracted("t3", TEXTS[1]), parked_id="p3")])
    assert machine.appends(100) == []


def test_a_retry_that_leaves_the_oldest_out_decides_nothing_out_of_order() -> None:
    machine = PartitionDecider(decide, iter("abcdefgh").__next__)
    machine.adopt(OWNER, EMPTY, {3: "p3", 4: "p4"})
    machine.retry(OWNER, [Pending(4, OWNER, extracted("t4", TEXTS[0]), parked_id="p4")])
    assert machine.appends(100) == []


def test_parked_entries_at_or_below_the_owners_position_are_void() -> None:
    machine = PartitionDecider(decide, iter("abcdefgh").__next__)
    machine.adopt(OWNER, replace(EMPTY, last_cause=4), {3: "p3", 4: "p4", 6: "p6"})
    assert [(i.offset, i.parked_id) for i in machine.healed()] == [(3, "p3"), (4, "p4")]


def test_a_command_whose_events_exceed_one_batch_is_parked_with_the_reason() -> None:
    machine = _machine()
    machine.offer(Pending(0, OWNER, extracted("t", *(f"{i} " + "x" * 5_000 for i in range(300)))))
    assert machine.appends(10_000) == []
    (park,) = machine.parks()
    assert "batch" in park.reason
