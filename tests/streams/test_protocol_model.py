"""The protocol under random histories, and its machine step by step: the project's decider code over a simulated log."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.slices import Slice, Verdict
from schemas.types import MemoryEvent
from streams.decider import EMPTY, decide
from streams.protocol.partition import PartitionDecider, Pending
from tests.streams.scenario import OWNER, extracted
from tests.streams.simulated_code import Poison
from tests.streams.simulated_walk import Numbers, random_numbers, walk, workload

TEXTS = ["User drinks green tea", "User plays chess", "User lives in Lima"]


def rows(longest: int) -> st.SearchStrategy[list[int]]:
    """Rows of numbers of any length, which plain lists would hardly ever make long."""
    number = st.integers(0, 2**16 - 1)
    return st.integers(0, longest).flatmap(lambda n: st.lists(number, min_size=n, max_size=n))


@settings(max_examples=600, deadline=None)
@given(rows(40), rows(160))
def test_whatever_happens_each_command_counts_once_whole_and_in_order_for_every_reader(work: list[int], acts: list[int]) -> None:
    problem = walk(workload(Numbers(iter(work))), Numbers(iter(acts)), len(acts))
    assert problem is None, problem


@pytest.mark.slow
def test_the_same_holds_over_thirty_thousand_longer_histories() -> None:
    for seed in range(30_000):
        numbers = random_numbers(seed)
        problem = walk(workload(numbers), numbers, 20 + seed % 140)
        assert problem is None, f"history {seed}: {problem}"


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
    from_lot = [dataclasses.replace(p.pending, parked_id=f"p{p.pending.offset}") for p in (head, *behind)]
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


def test_an_older_command_that_another_decider_decided_is_done_even_behind_a_retried_entry() -> None:
    machine = PartitionDecider(decide, iter("abcdefgh").__next__)
    machine.adopt(OWNER, EMPTY, {1: "p1"})
    machine.retry(OWNER, [_from_lot(1)])
    _offer(machine, 0, TEXTS[0])
    machine.observe(_other(1, decide(EMPTY, extracted("t0", TEXTS[0]), 0)))
    assert machine.finished() == [0]
    (append,) = machine.appends(100)
    assert append.commands == (1,)


def test_what_was_ready_is_not_decided_once_earlier_commands_wait_in_the_lot() -> None:
    machine = PartitionDecider(decide, iter("abcdefgh").__next__)
    machine.adopt(OWNER, EMPTY, {0: "p0"})
    _offer(machine, 1, TEXTS[1])
    (park,) = machine.parks()
    _offer(machine, 2, TEXTS[2])
    machine.retry(OWNER, [_from_lot(0)])
    machine.parked(park.pending, "p1")
    machine.observe(_other(1, decide(EMPTY, extracted("t0", TEXTS[0]), 0)))
    _offer(machine, 3, TEXTS[0])
    assert machine.appends(100) == []
    assert [p.pending.offset for p in machine.parks()] == [2]


def test_a_retry_takes_out_what_a_zombie_parked_after_its_owner_was_met() -> None:
    machine = _machine()
    machine.observe(_other(1, decide(EMPTY, extracted("t3", TEXTS[0]), 3)))
    machine.retry(OWNER, [_from_lot(3)])
    assert [i.parked_id for i in machine.healed()] == ["p3"]
    assert machine.appends(100) == []


def test_an_entry_that_was_parked_again_while_its_owner_was_let_go_is_acknowledged() -> None:
    def faulty(*_: Any) -> Any:
        raise Poison

    machine = PartitionDecider(faulty, iter("abcdefgh").__next__)
    machine.adopt(OWNER, EMPTY, {0: "p0"})
    machine.retry(OWNER, [_from_lot(0)])
    machine.appends(100)
    (park,) = machine.parks()
    machine.unparked(OWNER, 0)  # another decider was through with it
    assert machine.lanes[OWNER].idle
    machine.let_go(OWNER)
    machine.parked(park.pending, "p0")
    assert machine.finished() == [0]


def _from_lot(offset: int) -> Pending:
    return Pending(offset, OWNER, extracted(f"t{offset}", TEXTS[offset % 3]), parked_id=f"p{offset}")


def _other(first: int, events: tuple[MemoryEvent, ...]) -> Slice:
    """A slice that another decider wrote."""
    return Slice(OWNER, "other", first, events, 1)
