"""Forget: what goes, what it holds back, and what may come again."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from schemas.types import CommandRejected, MemoryAdded, MemoryForgotten, MemoryReheated, MemoryRevised
from tests.streams.commands import erase, extracted, fact, forget, pin, remember, revise
from tests.streams.decider.values import CHESS, COFFEE, DOG, MATCHA, NOWHERE, TEA
from tests.streams.scenario import Scenario


def _forgotten(offset: int = 3, end_offset: int = 10) -> Scenario:
    """TEA was taught by message m-1 at ``offset`` and forgotten when the conversation ended at ``end_offset``."""
    line = Scenario().given(extracted("t1", fact(TEA, "m-1"), offset=offset))
    return line.given(forget(line.memory_id(TEA), end_offset=end_offset))


def test_a_forgotten_memory_is_live_no_more_and_its_event_says_what_was_asked() -> None:
    line = Scenario().given(extracted("t1", TEA, DOG))
    forgotten = line.when(forget(line.memory_id(TEA), end_offset=7, include_source=True)).then_only(MemoryForgotten)
    assert (forgotten.memory_id, forgotten.conversation_end_offset, forgotten.include_source) == (line.memory_id(TEA), 7, True)
    assert list(line.live) == [line.memory_id(DOG)]
    assert line.state.live == 1


def test_several_memories_go_with_one_request_and_one_that_is_named_twice_goes_once() -> None:
    line = Scenario().given(extracted("t1", TEA, DOG, CHESS))
    first, second = line.memory_id(TEA), line.memory_id(DOG)
    events = line.when(forget(first, second, first)).then(MemoryForgotten, MemoryForgotten)
    assert [e.memory_id for e in events if isinstance(e, MemoryForgotten)] == [first, second]


def test_a_sacred_memory_can_be_forgotten() -> None:
    line = Scenario().given(extracted("t1", TEA))
    line.given(pin(line.memory_id(TEA))).when(forget(line.memory_id(TEA))).then_only(MemoryForgotten)


def test_forgetting_what_was_forgotten_is_noted_and_what_was_never_there_is_rejected() -> None:
    line = _forgotten()
    line.when(forget(line.memory_id(TEA))).then_noted("forgotten before")
    line.when(forget(NOWHERE)).then_rejected("1 of 1 memories are unknown")


def test_forgetting_nothing_is_rejected() -> None:
    Scenario().when(forget()).then_rejected("no memory was named")


def test_forgetting_known_and_unknown_together_forgets_the_known_and_says_so() -> None:
    line = Scenario().given(extracted("t1", TEA))
    line.when(forget(NOWHERE, line.memory_id(TEA))).then(MemoryForgotten, CommandRejected)
    assert not line.live


def test_a_negative_conversation_offset_is_rejected_and_nothing_is_forgotten() -> None:
    line = Scenario().given(extracted("t1", TEA))
    line.when(forget(line.memory_id(TEA), end_offset=-1)).then_rejected("not negative")
    assert list(line.live) == [line.memory_id(TEA)]


# -- turns from before the request


def test_an_extraction_in_flight_cannot_bring_a_forgotten_fact_back() -> None:
    line = _forgotten(end_offset=10)
    noted = line.when(extracted("t2", fact(TEA, "m-2"), offset=9)).then_noted("1 facts held back")
    assert noted.source is not None
    assert noted.source.turn_id == "t2"


def test_a_new_mention_after_the_forget_teaches_the_fact_anew_as_another_memory() -> None:
    line = _forgotten(end_offset=10)
    first = line.memory_id(TEA)
    line.when(extracted("t2", fact(TEA, "m-2"), offset=10))
    assert line.then_only(MemoryAdded).memory_id != first


def test_positions_are_compared_never_clocks() -> None:
    line = _forgotten(end_offset=10)
    after, before = extracted("t2", fact(TEA, "m-2"), offset=9), extracted("t3", fact(TEA, "m-3"), offset=10)
    line.when(replace(after, meta=replace(after.meta, occurred_at=after.meta.occurred_at.replace(year=2030))))
    line.then_noted("held back")
    line.when(replace(before, meta=replace(before.meta, occurred_at=before.meta.occurred_at.replace(year=2020))))
    line.then_only(MemoryAdded)


def test_a_second_forget_holds_back_what_the_first_would_have_let_through() -> None:
    line = _forgotten(end_offset=10).given(extracted("t2", fact(TEA, "m-2"), offset=10))
    line.given(forget(line.memory_id(TEA), end_offset=20))
    line.when(extracted("t3", fact(TEA, "m-3"), offset=19)).then_noted("held back")
    line.when(extracted("t4", fact(TEA, "m-4"), offset=20)).then_only(MemoryAdded)


def test_an_earlier_end_of_a_later_forget_takes_nothing_back() -> None:
    line = _forgotten(end_offset=10).given(remember(TEA))
    line.given(forget(line.memory_id(TEA), end_offset=5))
    line.when(extracted("t2", fact(TEA, "m-2"), offset=9)).then_noted("held back")


def test_forgetting_one_memory_holds_back_no_other() -> None:
    line = _forgotten(end_offset=10)
    line.when(extracted("t2", fact(TEA, "m-2"), fact(DOG, "m-3"), offset=4))
    assert line.then_only(MemoryAdded).content.text == DOG


def test_a_forgotten_fact_does_not_come_back_as_the_revision_of_another() -> None:
    line = _forgotten(end_offset=10).given(extracted("t2", fact(DOG, "m-2"), offset=4))
    revision = fact(TEA, "m-3", action="revise", target=line.memory_id(DOG))
    line.when(extracted("t3", revision, offset=9)).then_noted("held back")
    line.when(extracted("t4", revision, offset=10)).then_only(MemoryRevised)


def test_the_words_that_a_memory_had_last_are_held_back_with_it() -> None:
    line = Scenario().given(extracted("t1", TEA))
    known = line.memory_id(TEA)
    line.given(revise(known, COFFEE), forget(known, end_offset=10))
    line.when(extracted("t2", fact(COFFEE, "m-2"), offset=9)).then_noted("held back")


# -- source messages


def test_the_source_messages_of_a_forgotten_memory_add_nothing_however_worded_not_even_in_a_later_re_extraction() -> None:
    line = _forgotten()
    line.when(extracted("re-extraction", fact(MATCHA, "m-1"), offset=12)).then_noted("held back")
    line.when(extracted("another", fact(MATCHA, "m-8", "m-1"), offset=13)).then_noted("held back")
    line.when(extracted("without it", fact(MATCHA, "m-8"), offset=14)).then_only(MemoryAdded)


@pytest.mark.parametrize("mention", ["the same words", "a proposed reheat", "a proposed revision"])
def test_the_message_of_every_mention_is_a_source_of_the_memory(mention: str) -> None:
    line = Scenario().given(extracted("t1", fact(TEA, "m-1")))
    known = line.memory_id(TEA)
    again = {
        "the same words": fact(TEA, "m-2"),
        "a proposed reheat": fact(MATCHA, "m-2", action="reheat", target=known),
        "a proposed revision": fact(COFFEE, "m-2", action="revise", target=known),
    }
    line.given(extracted("t2", again[mention]), forget(known))
    line.when(extracted("t3", fact(CHESS, "m-2"), offset=12)).then_noted("held back")
    line.when(extracted("t4", fact(CHESS, "m-1"), offset=13)).then_noted("held back")


def test_a_message_that_also_taught_something_else_warms_and_revises_nothing_either() -> None:
    line = Scenario().given(extracted("t1", fact(TEA, "m-1"), fact(DOG, "m-1")))
    line.given(forget(line.memory_id(TEA)))
    dog = line.memory_id(DOG)
    line.when(extracted("t2", fact(DOG, "m-1"), offset=12)).then_noted("held back")
    line.when(extracted("t3", fact(CHESS, "m-1", action="revise", target=dog), offset=12)).then_noted("held back")
    assert line.memory(DOG).access_count == 1


def test_a_memory_that_was_taught_anew_and_forgotten_again_holds_back_the_messages_of_both() -> None:
    line = _forgotten(end_offset=10).given(extracted("t2", fact(TEA, "m-2"), offset=10))
    line.given(forget(line.memory_id(TEA), end_offset=20))
    line.when(extracted("t3", fact(CHESS, "m-1"), offset=30)).then_noted("held back")
    line.when(extracted("t4", fact(CHESS, "m-2"), offset=30)).then_noted("held back")


# -- requests


def test_what_was_forgotten_may_be_remembered_on_request_and_extractions_from_before_still_add_nothing() -> None:
    line = _forgotten(end_offset=10)
    line.when(remember(TEA)).then_only(MemoryAdded)
    line.when(extracted("t2", fact(TEA, "m-2"), offset=9)).then_noted("held back")
    line.when(extracted("t3", fact(TEA, "m-3"), offset=10)).then_only(MemoryReheated)


def test_a_forget_that_is_sent_twice_is_decided_once() -> None:
    line = Scenario().given(extracted("t1", TEA))
    first = line.memory_id(TEA)
    line.given(forget(first, id="forget-1"), remember(TEA))
    line.when(forget(line.memory_id(TEA), id="forget-1")).then_noted("decided before")
    assert list(line.live) == [line.memory_id(TEA)]


def test_the_words_that_a_memory_had_before_a_revision_are_held_back_with_it() -> None:
    line = Scenario().given(extracted("t1", fact(TEA, "m-1"), offset=1))
    known = line.memory_id(TEA)
    line.given(extracted("t2", fact(COFFEE, "m-2", action="revise", target=known), offset=2), forget(known, end_offset=10))
    line.when(extracted("t3", fact(TEA, "m-3"), offset=3)).then_noted("held back")
    line.when(extracted("t4", fact(TEA, "m-4"), offset=10)).then_only(MemoryAdded)


def test_an_erasure_with_an_earlier_end_does_not_undo_what_a_forget_holds_back() -> None:
    line = _forgotten(offset=3, end_offset=10).given(erase(end_offset=5))
    line.when(extracted("t2", fact(TEA, "m-2"), offset=9)).then_noted("erasure")


def test_the_furthest_forget_counts_for_an_erasure_not_the_newest() -> None:
    line = _forgotten(offset=3, end_offset=10).given(extracted("t2", fact(DOG, "m-2"), offset=4))
    line.given(forget(line.memory_id(DOG), end_offset=6), erase(end_offset=5))
    line.when(extracted("t3", fact(TEA, "m-3"), offset=9)).then_noted("erasure")
