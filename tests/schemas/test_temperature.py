"""Temperature: a function of the last mention and the time since."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.temperature import mentioned, temperature_at
from schemas.types import ThermalPolicy

THEN = datetime(2024, 5, 1, tzinfo=UTC)
DEFAULT = ThermalPolicy()
DEGREES = st.floats(0, 100)
SPANS = st.timedeltas(timedelta(0), timedelta(days=36_500))


@st.composite
def policies(draw: st.DrawFn) -> ThermalPolicy:
    floor, initial, maximum = sorted(draw(st.tuples(DEGREES, DEGREES, DEGREES)))
    return ThermalPolicy(initial, draw(st.floats(0, 50)), maximum, floor, draw(st.floats(0.01, 3650)))


def test_a_mention_at_the_same_time_takes_a_new_memory_from_75_to_80() -> None:
    assert mentioned(temperature_at(DEFAULT.initial, THEN, THEN, DEFAULT), DEFAULT) == 80.0


def test_after_a_half_life_half_the_way_to_the_floor_is_gone() -> None:
    assert temperature_at(75.0, THEN, THEN + timedelta(days=30), DEFAULT) == 47.5
    assert temperature_at(75.0, THEN, THEN + timedelta(days=60), DEFAULT) == 33.75


@given(policies(), DEGREES)
def test_a_half_life_halves_the_distance_to_the_floor_whatever_the_policy(policy: ThermalPolicy, above: float) -> None:
    t0 = policy.floor + above
    later = THEN + timedelta(days=policy.half_life_days)
    assert temperature_at(t0, THEN, later, policy) == pytest.approx(policy.floor + above / 2, abs=2e-5)


@given(policies(), DEGREES, SPANS, SPANS)
def test_cooling_in_two_steps_is_cooling_in_one(policy: ThermalPolicy, t0: float, one: timedelta, two: timedelta) -> None:
    between = temperature_at(t0, THEN, THEN + one, policy)
    assert temperature_at(between, THEN + one, THEN + one + two, policy) == pytest.approx(
        temperature_at(t0, THEN, THEN + one + two, policy), abs=2e-6
    )


@given(policies(), DEGREES, SPANS, SPANS)
def test_a_memory_never_warms_by_itself_nor_cools_below_the_floor(
    policy: ThermalPolicy, t0: float, one: timedelta, two: timedelta
) -> None:
    sooner, later = (temperature_at(t0, THEN, THEN + span, policy) for span in sorted((one, two)))
    assert later <= sooner <= max(t0, round(t0, 6))
    assert later >= min(t0, policy.floor) - 1e-6


@given(policies(), DEGREES)
def test_after_ages_a_memory_rests_on_the_floor(policy: ThermalPolicy, above: float) -> None:
    ages = THEN + timedelta(days=min(200 * policy.half_life_days, 2_000_000))
    assert temperature_at(policy.floor + above, THEN, ages, policy) == pytest.approx(policy.floor, abs=1e-6)


@given(policies(), DEGREES)
def test_a_mention_warms_by_its_degrees_and_never_above_the_maximum(policy: ThermalPolicy, t: float) -> None:
    warm = mentioned(t, policy)
    assert warm <= policy.maximum
    assert warm == pytest.approx(min(t + policy.reheat, policy.maximum), abs=1e-6)


@given(policies(), st.lists(SPANS, max_size=30))
def test_no_series_of_mentions_exceeds_the_maximum(policy: ThermalPolicy, spans: list[timedelta]) -> None:
    t, at = policy.initial, THEN
    for span in spans:
        t, at = mentioned(temperature_at(t, at, at + span / 100, policy), policy), at + span / 100
        assert t <= policy.maximum


@given(policies(), DEGREES, SPANS)
def test_a_backdated_mention_finds_the_memory_as_warm_as_it_was(policy: ThermalPolicy, t0: float, back: timedelta) -> None:
    assert temperature_at(t0, THEN, THEN - back / 20, policy) == t0


@given(policies(), DEGREES, SPANS)
def test_a_sacred_memory_never_cools(policy: ThermalPolicy, t0: float, span: timedelta) -> None:
    assert temperature_at(t0, THEN, THEN + span, policy, sacred=True) == t0


def test_a_memory_below_a_raised_floor_stays_where_it_is() -> None:
    raised = ThermalPolicy(floor=60.0)
    assert temperature_at(40.0, THEN, THEN + timedelta(days=10), raised) == 40.0


def test_outcomes_are_rounded_so_that_two_machines_write_the_same_digits() -> None:
    odd = temperature_at(75.0, THEN, THEN + timedelta(days=7, seconds=1), DEFAULT)
    assert odd == round(odd, 6)
    assert mentioned(33.3333333333, DEFAULT) == 38.333333


@pytest.mark.parametrize("half_life", [0.0, -1.0, 1e-300])
def test_a_half_life_that_makes_no_sense_does_not_stop_a_decider(half_life: float) -> None:
    policy = ThermalPolicy(half_life_days=half_life)
    assert math.isfinite(temperature_at(75.0, THEN, THEN + timedelta(days=36_500), policy))
