"""What a nightly consolidation made of a day: its summary, and memories that move to a cooler tier."""

from __future__ import annotations

from datetime import date

import pytest

from schemas.ids import summary_id
from schemas.sealed import Sealed
from schemas.types import (
    CommandRejected,
    DaySummarised,
    Downshift,
    MemoryDownshifted,
    MemoryForgotten,
    Triple,
)
from tests.streams.commands import OWNER, TODAY, consolidate, extracted, fact, forget, remember
from tests.streams.decider.values import CHESS, DOG, NOWHERE, TEA
from tests.streams.scenario import Scenario

SUMMARY = summary_id(OWNER, TODAY.isoformat())


def _day() -> tuple[Scenario, str, str]:
    """TEA of message m-1, DOG of m-2."""
    line = Scenario().given(extracted("t1", fact(TEA, "m-1"), fact(DOG, "m-2")))
    return line, line.memory_id(TEA), line.memory_id(DOG)


def _colder(memory_id: str, tier: str = "warm", *heads: str) -> tuple[Downshift, ...]:
    return (Downshift(memory_id, tier, heads),)


# -- summaries


def test_a_summary_is_put_on_record_with_what_it_was_made_from() -> None:
    line, tea, dog = _day()
    triple = Triple(Sealed.of("user"), Sealed.of("drinks"), Sealed.of("tea"))
    summarised = line.when(consolidate("Tea and a dog", (tea, dog), ("m-1", "m-9"), triples=(triple,))).then_only(DaySummarised)
    assert (summarised.summary_id, summarised.day, summarised.revision) == (SUMMARY, TODAY, 1)
    assert (summarised.content.text, summarised.triples, summarised.model) == ("Tea and a dog", (triple,), "a-model")
    assert (summarised.memory_ids, summarised.message_ids, summarised.prompt_version) == ((tea, dog), ("m-1", "m-9"), "1")


def test_a_day_that_is_summarised_again_has_a_new_revision_and_another_day_its_own() -> None:
    line, tea, _ = _day()
    line.given(consolidate("Tea", (tea,)))
    assert line.when(consolidate("More tea", (tea,))).then_only(DaySummarised).revision == 2
    other = line.when(consolidate("Tea", (tea,), day=date(2026, 3, 2))).then_only(DaySummarised)
    assert (other.summary_id != SUMMARY, other.revision) == (True, 1)


@pytest.mark.parametrize("from_what", ["the memory", "its message"])
def test_a_summary_goes_with_a_memory_that_it_was_made_from(from_what: str) -> None:
    line, tea, _ = _day()
    line.given(consolidate("Tea", (tea,)) if from_what == "the memory" else consolidate("Tea", messages=("m-1",)))
    assert line.when(forget(tea)).then_only(MemoryForgotten).summary_ids == (SUMMARY,)


def test_a_summary_goes_once_and_with_none_that_it_was_not_made_from() -> None:
    line, tea, dog = _day()
    line.given(remember(CHESS), consolidate("Tea and a dog", (tea, dog)))
    assert line.when(forget(line.memory_id(CHESS))).then_only(MemoryForgotten).summary_ids == ()
    assert line.when(forget(dog)).then_only(MemoryForgotten).summary_ids == (SUMMARY,)
    assert line.when(forget(tea)).then_only(MemoryForgotten).summary_ids == ()


def test_one_request_that_forgets_two_memories_takes_their_summary_once() -> None:
    line, tea, dog = _day()
    events = line.given(consolidate("Tea and a dog", (tea, dog))).when(forget(tea, dog)).then(MemoryForgotten, MemoryForgotten)
    assert [e.summary_ids for e in events if isinstance(e, MemoryForgotten)] == [(SUMMARY,), ()]


def test_every_summary_that_a_memory_is_in_goes_with_it() -> None:
    line, tea, dog = _day()
    line.given(consolidate("Tea", (tea,)), consolidate("Tea", (tea, dog), day=date(2026, 3, 2)))
    forgotten = line.when(forget(tea)).then_only(MemoryForgotten)
    assert set(forgotten.summary_ids) == {SUMMARY, summary_id(OWNER, "2026-03-02")}


def test_a_summary_that_went_may_be_made_anew_from_what_is_left_and_goes_with_that_too() -> None:
    line, tea, dog = _day()
    line.given(consolidate("Tea and a dog", (tea, dog)), forget(tea))
    assert line.when(consolidate("A dog", (dog,))).then_only(DaySummarised).revision == 2
    assert line.when(forget(dog)).then_only(MemoryForgotten).summary_ids == (SUMMARY,)


def test_a_summary_that_was_made_from_something_forgotten_meanwhile_is_rejected() -> None:
    line, tea, dog = _day()
    line.given(forget(tea))
    line.when(consolidate("Tea and a dog", (tea, dog))).then_rejected("1 memories and 0 messages")
    line.when(consolidate("Tea and a dog", (dog,), ("m-1", "m-2"))).then_rejected("0 memories and 1 messages")
    line.when(consolidate("Something", (NOWHERE,))).then_rejected("1 memories")
    line.when(consolidate("A dog", (dog,), ("m-2", "m-unseen"))).then_only(DaySummarised)


# -- tiers


def test_a_memory_moves_to_a_cooler_tier_and_its_event_says_from_which() -> None:
    line, tea, _ = _day()
    shifted = line.when(consolidate(downshifts=_colder(tea, "warm", "late-interaction"))).then_only(MemoryDownshifted)
    assert (shifted.memory_id, shifted.tier_before, shifted.tier) == (tea, "hot", "warm")
    assert shifted.dropped_heads == ("late-interaction",)
    shifted = line.when(consolidate(downshifts=_colder(tea, "cold"))).then_only(MemoryDownshifted)
    assert (shifted.tier_before, shifted.tier) == ("warm", "cold")


def test_a_memory_that_is_in_the_tier_already_is_left_alone_unless_it_drops_heads() -> None:
    line, tea, _ = _day()
    line.given(consolidate(downshifts=_colder(tea)))
    line.when(consolidate(downshifts=_colder(tea))).then_noted("brought nothing")
    line.when(consolidate(downshifts=_colder(tea, "warm", "a-head"))).then_only(MemoryDownshifted)


def test_an_unknown_memory_or_tier_is_rejected_and_the_others_move() -> None:
    line, tea, dog = _day()
    wrong = (*_colder(NOWHERE), *_colder(dog, "lukewarm"))
    line.when(consolidate(downshifts=wrong)).then_rejected("2 downshifts")
    line.when(consolidate(downshifts=(*wrong, *_colder(tea)))).then(MemoryDownshifted, CommandRejected)


def test_a_forgotten_memory_moves_nowhere() -> None:
    line, tea, _ = _day()
    line.given(forget(tea)).when(consolidate(downshifts=_colder(tea))).then_rejected("1 downshifts")


def test_a_summary_and_downshifts_are_one_command() -> None:
    line, tea, _ = _day()
    line.when(consolidate("Tea", (tea,), downshifts=_colder(tea))).then(DaySummarised, MemoryDownshifted)
    line.given(forget(tea)).when(consolidate("Tea", (tea,), downshifts=_colder(tea)))
    line.then_rejected("made from")


def test_a_day_that_brought_nothing_is_noted() -> None:
    Scenario().when(consolidate()).then_noted("brought nothing")


def test_a_consolidation_that_is_sent_twice_is_decided_once() -> None:
    line, tea, _ = _day()
    line.given(consolidate("Tea", (tea,), id="night")).when(consolidate("Tea", (tea,), id="night")).then_noted("decided before")


def test_a_summary_of_a_message_goes_with_a_memory_that_was_extracted_from_it_later() -> None:
    line = Scenario().given(consolidate("Tea", messages=("m-1",)), extracted("t1", fact(TEA, "m-1")))
    assert line.when(forget(line.memory_id(TEA))).then_only(MemoryForgotten).summary_ids == (SUMMARY,)
