"""Remember: a statement that somebody asks to keep, under a slug or without one."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from schemas.sealed import Sealed
from schemas.types import CommandNoted, MemoryAdded, MemoryForgotten, MemoryReheated, MemoryRevised, ThermalPolicy
from tests.streams.commands import extracted, forget, meta, prints, remember, revise
from tests.streams.decider.values import COFFEE, DOG, IMPOSSIBLE, TEA
from tests.streams.scenario import Scenario


def test_a_statement_is_kept_as_it_was_given_and_comes_from_no_turn() -> None:
    command = replace(
        remember(TEA, "drink", details="habits", salience=0.8), tags=(Sealed.of("tea"),), extra=Sealed.of('{"a": 1}')
    )
    added = Scenario().when(command).then_only(MemoryAdded)
    assert (added.content, added.fingerprint, added.salience) == (command.content, command.fingerprint, 0.8)
    assert (added.slug, added.slug_fingerprint) == (command.slug, command.slug_fingerprint)
    assert (added.category, added.tags, added.extra) == (command.category, command.tags, command.extra)
    assert (added.source, added.extractor, added.details_fingerprint) == (None, "request", prints("habits"))


def test_what_is_about_a_person_is_copied_without_being_opened() -> None:
    closed = Sealed(b"\xff\x00", "a-cipher", "key-1")
    whole = remember(TEA, "drink", details="habits")
    command = replace(whole, user_id=closed, content=closed, slug=closed, category=closed, extra=closed)
    added = Scenario().when(command).then_only(MemoryAdded)
    assert (added.user_id, added.content, added.slug, added.category, added.extra) == (closed,) * 5
    line = Scenario().given(command).when(replace(command, meta=meta(), fingerprint=prints(COFFEE)))
    assert line.then_only(MemoryRevised).content == closed


def test_the_same_statement_again_is_a_mention_whether_it_was_extracted_or_asked_for() -> None:
    line = Scenario().given(remember(TEA)).when(remember(TEA + "."))
    assert line.then_only(MemoryReheated).source is None
    line.when(extracted("t1", TEA)).then_only(MemoryReheated)
    line = Scenario().given(extracted("t1", TEA)).when(remember(TEA))
    line.then_only(MemoryReheated)


def test_a_slug_that_exists_is_revised_never_doubled() -> None:
    line = Scenario().given(remember(TEA, "drink"))
    known = line.memory_id(TEA)
    revised = line.when(remember(COFFEE, "drink")).then_only(MemoryRevised)
    assert (revised.memory_id, revised.version, revised.access_count) == (known, 2, 2)
    assert line.when(remember(TEA, "drink")).then_only(MemoryRevised).version == 3
    assert list(line.live) == [known]


def test_after_a_slug_was_revised_its_old_words_are_a_new_fact() -> None:
    line = Scenario().given(remember(TEA, "drink"), remember(COFFEE, "drink"))
    line.when(extracted("t1", TEA)).then_only(MemoryAdded)


def test_a_slug_that_says_so_already_is_a_mention() -> None:
    line = Scenario().given(remember(TEA, "drink", details="habits"))
    line.when(remember(TEA, "drink", details="habits")).then_only(MemoryReheated)
    line.when(remember(TEA, "drink")).then_only(MemoryReheated)


@pytest.mark.parametrize("slug", [None, "drink"])
def test_the_same_words_with_other_details_are_a_revision(slug: str | None) -> None:
    line = Scenario().given(remember(TEA, slug, details="habits"))
    assert line.when(remember(TEA, slug, details="drinks")).then_only(MemoryRevised).category == Sealed.of("drinks")
    line.when(remember(TEA, slug, details="drinks")).then_only(MemoryReheated)
    line.when(remember(TEA, slug, details="habits")).then_only(MemoryRevised)


def test_a_statement_without_a_slug_gets_the_first_that_it_is_given_and_is_found_by_it() -> None:
    line = Scenario().given(extracted("t1", TEA))
    known = line.memory_id(TEA)
    revised = line.when(remember(TEA, "drink")).then_only(MemoryRevised)
    assert (revised.memory_id, revised.slug, revised.version) == (known, Sealed.of("drink"), 2)
    assert line.when(remember(COFFEE, "drink")).then_only(MemoryRevised).memory_id == known


def test_a_slug_stays_with_its_memory_when_other_words_come_without_it() -> None:
    line = Scenario().given(remember(TEA, "drink"))
    known = line.memory_id(TEA)
    line.given(revise(known, COFFEE))
    assert line.when(remember(DOG, "drink")).then_only(MemoryRevised).memory_id == known


def test_the_same_words_under_two_slugs_are_two_memories_and_each_is_found_by_its_slug() -> None:
    line = Scenario().given(remember(TEA, "morning"))
    morning = line.memory_id(TEA)
    evening = line.when(remember(TEA, "evening")).then_only(MemoryAdded).memory_id
    assert morning != evening
    assert line.when(remember(TEA, "morning")).then_only(MemoryReheated).memory_id == morning
    assert line.when(remember(TEA, "evening")).then_only(MemoryReheated).memory_id == evening


@pytest.mark.parametrize("gone", ["morning", "evening"])
def test_forgetting_one_of_two_memories_with_the_same_words_leaves_the_other_found_by_its_statement(gone: str) -> None:
    line = Scenario().given(remember(TEA, "morning"))
    by_slug = {"morning": line.memory_id(TEA)}
    line.given(remember(TEA, "evening"))
    by_slug["evening"] = line.memory_id(TEA)
    line.when(forget(by_slug.pop(gone))).then_only(MemoryForgotten)
    (left,) = by_slug.values()
    assert line.when(remember(TEA)).then_only(MemoryReheated).memory_id == left
    assert line.when(extracted("t1", TEA, offset=10)).then_only(MemoryReheated).memory_id == left


def test_what_was_forgotten_may_be_remembered_on_request_and_is_another_memory() -> None:
    line = Scenario().given(remember(TEA, "drink"))
    first = line.memory_id(TEA)
    line.given(forget(first)).when(remember(TEA, "drink"))
    assert line.then_only(MemoryAdded).memory_id != first


def test_a_slug_is_free_after_its_memory_was_forgotten() -> None:
    line = Scenario().given(remember(TEA, "drink"))
    line.given(forget(line.memory_id(TEA))).when(remember(COFFEE, "drink")).then_only(MemoryAdded)


def test_a_request_that_is_sent_twice_is_decided_once() -> None:
    line = Scenario().given(remember(TEA, id="request-7"))
    noted = line.when(remember(TEA, id="request-7")).then_noted("decided before")
    assert (noted.command_type, noted.source) == ("Remember", None)
    line.when(remember(DOG, id="request-7")).then_only(CommandNoted)
    assert line.memory(TEA).access_count == 1


def test_a_slug_without_its_fingerprint_is_rejected_and_so_is_a_fingerprint_without_its_slug() -> None:
    whole = remember(TEA, "drink")
    Scenario().when(replace(whole, slug_fingerprint=None)).then_rejected("come together")
    Scenario().when(replace(whole, slug=None)).then_rejected("come together")


@pytest.mark.parametrize("detail", ["category", "extra"])
def test_details_without_their_fingerprint_are_rejected_and_not_dropped_in_silence(detail: str) -> None:
    bare = replace(remember(TEA), **{detail: Sealed.of("habits")})
    Scenario().when(bare).then_rejected("come together")
    line = Scenario().given(remember(TEA))
    line.when(replace(revise(line.memory_id(TEA), COFFEE), **{detail: Sealed.of("habits")})).then_rejected("come together")


def test_tags_without_the_fingerprint_of_the_details_are_rejected() -> None:
    Scenario().when(replace(remember(TEA), tags=(Sealed.of("habits"),))).then_rejected("come together")


@pytest.mark.parametrize("salience", [math.nan, math.inf, -math.inf, -0.01, 1.01])
def test_a_salience_that_is_none_is_rejected(salience: float) -> None:
    Scenario().when(remember(TEA, salience=salience)).then_rejected("salience")


@pytest.mark.parametrize("salience", [0.0, 1.0])
def test_the_lowest_and_the_highest_salience_are_possible(salience: float) -> None:
    Scenario().when(remember(TEA, salience=salience)).then_only(MemoryAdded)


@pytest.mark.parametrize("policy", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_an_impossible_policy_is_rejected(policy: ThermalPolicy) -> None:
    Scenario().when(remember(TEA, policy=policy)).then_rejected("impossible numbers")


def test_an_empty_fingerprint_of_a_slug_leads_to_no_exception() -> None:
    empty = replace(remember(TEA), slug=Sealed.of(""), slug_fingerprint="")
    line = Scenario().given(remember(TEA), empty)
    line.given(forget(line.memory_id(TEA))).when(replace(empty, meta=remember(TEA).meta))
