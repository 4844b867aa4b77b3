"""Temperature: reckoned from the values in the command, and put with its outcome into the event.

T(t) = floor + (T0 - floor) · 2^(-Δt / half-life); a mention sets T0 = min(T(now) + 5, 100); a new memory has 75 degrees.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from schemas.types import MemoryAdded, MemoryPinned, MemoryReheated, MemoryRevised, MemoryUnpinned, ThermalPolicy
from tests.streams.commands import NOON, extracted, later, pin, reheat, remember, revise, unpin
from tests.streams.decider.values import COFFEE, TEA
from tests.streams.scenario import Scenario

HALF_LIFE = timedelta(days=30)
QUICK = ThermalPolicy(initial=60.0, reheat=10.0, maximum=90.0, floor=10.0, half_life_days=1.0)


def _tea(policy: ThermalPolicy | None = None) -> tuple[Scenario, str]:
    line = Scenario().given(extracted("t1", TEA, policy=policy or ThermalPolicy()))
    return line, line.memory_id(TEA)


def _warmth(line: Scenario, text: str = TEA) -> tuple[object, datetime]:
    memory = line.memory(text)
    return memory.temperature, memory.warmed_at


def test_a_new_memory_has_75_degrees() -> None:
    assert Scenario().when(extracted("t1", TEA)).then_only(MemoryAdded).temperature == 75.0
    assert Scenario().when(remember(TEA)).then_only(MemoryAdded).temperature == 75.0


def test_a_mention_at_the_same_time_makes_it_80() -> None:
    line, _ = _tea()
    event = line.when(extracted("t2", TEA)).then_only(MemoryReheated)
    assert (event.temperature_before, event.temperature, event.warmed_at, event.access_count) == (75.0, 80.0, NOON, 2)


@pytest.mark.parametrize("halvings", [1, 2, 3])
def test_a_memory_loses_half_of_what_it_is_above_the_floor_in_a_half_life(halvings: int) -> None:
    line, _ = _tea()
    event = line.when(extracted("t2", TEA, at=NOON + halvings * HALF_LIFE)).then_only(MemoryReheated)
    assert event.temperature_before == pytest.approx(20 + 55 / 2**halvings, abs=1e-6)
    assert event.temperature == pytest.approx(20 + 55 / 2**halvings + 5, abs=1e-6)
    assert _warmth(line) == (event.temperature, NOON + halvings * HALF_LIFE)


def test_a_mention_counts_from_the_one_before() -> None:
    line, _ = _tea()
    line.given(extracted("t2", TEA, at=NOON + HALF_LIFE)).when(extracted("t3", TEA, at=NOON + 2 * HALF_LIFE))
    assert line.then_only(MemoryReheated).temperature_before == pytest.approx(20 + (20 + 55 / 2 + 5 - 20) / 2, abs=1e-6)


def test_nothing_cools_below_the_floor_and_no_mention_heats_beyond_100_degrees() -> None:
    line, _ = _tea()
    assert line.when(extracted("t2", TEA, at=later(days=900_000))).then_only(MemoryReheated).temperature == 25.0
    line, _ = _tea()
    assert line.given(*(extracted(f"n{i}", TEA) for i in range(20))).memory(TEA).temperature == 100.0


def test_a_mention_from_imported_history_neither_cools_nor_turns_the_clock_back() -> None:
    line, _ = _tea()
    event = line.when(extracted("t2", TEA, at=later(days=-365))).then_only(MemoryReheated)
    assert (event.temperature_before, event.temperature, event.warmed_at) == (75.0, 80.0, NOON)
    assert _warmth(line) == (80.0, NOON)


def test_a_revision_is_a_mention_too() -> None:
    line, known = _tea()
    by_request = line.when(revise(known, COFFEE, at=NOON + HALF_LIFE)).then_only(MemoryRevised)
    assert by_request.temperature_before == pytest.approx(47.5, abs=1e-6)
    assert _warmth(line, COFFEE) == (pytest.approx(52.5, abs=1e-6), NOON + HALF_LIFE)
    line = Scenario().given(remember(TEA, "drink"))
    by_slug = line.when(remember(COFFEE, "drink", at=NOON + HALF_LIFE)).then_only(MemoryRevised)
    assert (by_slug.temperature_before, by_slug.warmed_at) == (by_request.temperature_before, NOON + HALF_LIFE)
    assert by_slug.temperature == by_request.temperature
    assert line.when(revise(line.memory_id(COFFEE), TEA, at=NOON)).then_only(MemoryRevised).warmed_at == NOON + HALF_LIFE


def test_the_values_in_the_command_count_and_stand_in_the_event() -> None:
    line = Scenario().when(extracted("t1", TEA, policy=QUICK))
    added = line.then_only(MemoryAdded)
    assert (added.temperature, added.policy) == (60.0, QUICK)
    warmed = line.when(reheat(added.memory_id, QUICK, at=later(days=1))).then_only(MemoryReheated)
    assert (warmed.temperature_before, warmed.temperature, warmed.policy) == (35.0, 45.0, QUICK)
    hottest = line.given(*(reheat(added.memory_id, QUICK, at=later(days=1)) for _ in range(9))).memory(TEA)
    assert hottest.temperature == 90.0


def test_a_memory_cools_by_the_policy_it_was_last_warmed_under_and_is_warmed_by_the_command_s() -> None:
    line, known = _tea(QUICK)
    first = line.when(reheat(known, ThermalPolicy(), at=later(days=1))).then_only(MemoryReheated)
    assert (first.temperature_before, first.temperature) == (35.0, 40.0), (
        "cooled by the old half-life, heated by the new 5 degrees"
    )
    second = line.when(reheat(known, QUICK, at=later(days=31))).then_only(MemoryReheated)
    assert (second.temperature_before, second.temperature) == (30.0, 40.0), "cooled by the new half-life, heated by 10 degrees"


@pytest.mark.parametrize("half_life", [0.0, -1.0])
def test_without_a_half_life_nothing_cools(half_life: float) -> None:
    line, _ = _tea(ThermalPolicy(half_life_days=half_life))
    assert line.when(extracted("t2", TEA, at=later(days=900))).then_only(MemoryReheated).temperature_before == 75.0


# -- sacred memories


def test_a_pinned_memory_does_not_cool_and_a_mention_on_it_heats() -> None:
    line, known = _tea()
    pinned = line.when(pin(known, at=NOON + HALF_LIFE)).then_only(MemoryPinned)
    assert pinned.temperature == pytest.approx(47.5, abs=1e-6)
    assert pinned.warmed_at == NOON + HALF_LIFE
    event = line.when(extracted("t2", TEA, at=NOON + 50 * HALF_LIFE)).then_only(MemoryReheated)
    assert event.temperature_before == pinned.temperature
    assert event.temperature == pytest.approx(52.5, abs=1e-6)


def test_an_unpinned_memory_cools_from_then_on() -> None:
    line, known = _tea()
    line.given(pin(known, at=NOON + HALF_LIFE))
    unpinned = line.when(unpin(known, at=NOON + 50 * HALF_LIFE)).then_only(MemoryUnpinned)
    assert unpinned.temperature == pytest.approx(47.5, abs=1e-6)
    assert unpinned.warmed_at == NOON + 50 * HALF_LIFE
    event = line.when(extracted("t2", TEA, at=NOON + 51 * HALF_LIFE)).then_only(MemoryReheated)
    assert event.temperature_before == pytest.approx(20 + 27.5 / 2, abs=1e-6)


def test_pinning_and_unpinning_from_before_the_last_warming_turn_no_clock_back() -> None:
    line, known = _tea()
    pinned = line.when(pin(known, at=later(days=-9))).then_only(MemoryPinned)
    assert (pinned.temperature, pinned.warmed_at) == (75.0, NOON)
    unpinned = line.when(unpin(known, at=later(days=-8))).then_only(MemoryUnpinned)
    assert (unpinned.temperature, unpinned.warmed_at) == (75.0, NOON)


# -- any history of mentions


@settings(max_examples=100, deadline=None)
@for_all(st.lists(st.tuples(st.sampled_from(["mention", "pin", "unpin"]), st.integers(-5_000, 90_000)), max_size=15))
def test_any_history_of_mentions_and_pins_follows_the_formula(history: list[tuple[str, int]]) -> None:
    line, known = _tea()
    degrees, since, sacred = 75.0, NOON, False
    for kind, minutes in history:
        now = since + timedelta(minutes=minutes)
        passed = 0.0 if sacred else max(now - since, timedelta(0)) / HALF_LIFE
        cooled = 20 + (degrees - 20) * 0.5**passed
        if kind == "mention":
            line.when(extracted(f"t{len(line.log) + 1}", TEA, at=now)).then_only(MemoryReheated)
            degrees = min(cooled + 5, 100.0)
        elif (kind == "pin") == sacred:
            continue
        else:
            line.when(pin(known, at=now) if kind == "pin" else unpin(known, at=now)).then(
                MemoryUnpinned if sacred else MemoryPinned
            )
            degrees, sacred = cooled, not sacred
        since = max(since, now)
        assert _warmth(line) == (pytest.approx(degrees, abs=1e-4), since)
