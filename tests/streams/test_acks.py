"""Ordered acknowledgements."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.acks import OrderedAcks


@given(st.permutations(range(12)), st.sets(st.integers(0, 11)))
def test_no_offset_is_released_before_all_below_it_are_done(order: list[int], stuck: set[int]) -> None:
    released: list[int] = []
    acks = OrderedAcks()
    for offset in range(12):
        assert acks.add(offset, lambda offset=offset: released.append(offset))  # type: ignore[misc]
    done: set[int] = set()
    for offset in order:
        if offset not in stuck:
            acks.done(offset)
            done.add(offset)
        assert released == sorted(released)
        assert set(range(len(released))) <= done
    first_stuck = min(stuck, default=12)
    assert released == list(range(first_stuck))


def test_one_stuck_event_holds_back_all_later_ones_until_it_is_done() -> None:
    released: list[int] = []
    acks = OrderedAcks()
    for offset in (5, 6, 9):
        acks.add(offset, lambda offset=offset: released.append(offset))  # type: ignore[misc]
    acks.done(6)
    acks.done(9)
    assert released == []
    acks.done(5)
    assert released == [5, 6, 9]


def test_a_redelivered_event_under_way_is_not_taken_twice() -> None:
    acks = OrderedAcks()
    assert acks.add(3, lambda: None)
    assert not acks.add(3, lambda: None)


def test_after_a_partition_is_taken_away_nothing_is_acknowledged() -> None:
    released: list[int] = []
    acks = OrderedAcks()
    acks.add(0, lambda: released.append(0))
    acks.close()
    acks.done(0)
    assert released == []
