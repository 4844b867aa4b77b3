"""Ids: the same cause gives the same id everywhere; different causes differ."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import ids

MAKERS: list[Callable[[str, int], str]] = [
    lambda owner, n: ids.turn_id(owner, str(n)),
    ids.message_id,
    lambda owner, n: ids.message_reference(owner, str(n)),
    lambda owner, n: ids.summary_id(owner, str(n)),
    lambda owner, n: ids.memory_id(owner, n, 0),
    lambda owner, n: ids.memory_id(owner, 0, n),
    ids.event_id,
    lambda topic, n: ids.record_id(topic, 0, n),
    lambda topic, n: ids.record_id(topic, n, 0),
    lambda topic, n: ids.parked_id("extract", topic, 0, n),
]


@pytest.mark.parametrize("make", MAKERS)
@given(a=st.integers(0, 2**40), b=st.integers(0, 2**40))
def test_the_same_cause_gives_the_same_id_and_another_cause_another(make: Callable[[str, int], str], a: int, b: int) -> None:
    assert ids.is_uuid(make("o", a))
    assert (make("o", a) == make("o", b)) == (a == b)
    assert make("o", a) != make("p", a)


def test_ids_of_different_kinds_never_meet() -> None:
    made = {
        ids.event_id("o", 1),
        ids.message_id("o", 1),
        ids.message_reference("o", "1"),
        ids.summary_id("o", "1"),
        ids.turn_id("o", "1"),
        ids.memory_id("o", 1, 0),
        ids.record_id("o", 1, 0),
    }
    assert len(made) == 7


def test_parts_are_kept_apart() -> None:
    assert ids.memory_id("o", 1, 11) != ids.memory_id("o", 11, 1)
    assert ids.turn_id("ab", "c") != ids.turn_id("a", "bc")
    assert ids.message_reference("ab", "c") != ids.message_reference("a", "bc")


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("6b1f7c1e-7d0b-5c51-9a9e-5f0f4a1f2d3c", True),
        ("6B1F7C1E-7D0B-5C51-9A9E-5F0F4A1F2D3C", False),
        ("6b1f7c1e7d0b5c519a9e5f0f4a1f2d3c", False),
        ("{6b1f7c1e-7d0b-5c51-9a9e-5f0f4a1f2d3c}", False),
        ("u-1", False),
        ("", False),
    ],
)
def test_only_canonical_uuid_text_is_a_uuid(text: str, good: bool) -> None:
    assert ids.is_uuid(text) is good
