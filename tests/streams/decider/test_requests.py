"""What somebody asks of single memories: warm, pin, unpin, revise, link, unlink."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from schemas.types import (
    Command,
    MemoriesLinked,
    MemoriesUnlinked,
    MemoryAdded,
    MemoryPinned,
    MemoryReheated,
    MemoryRevised,
    MemoryUnpinned,
    ThermalPolicy,
)
from tests.streams.commands import extracted, forget, link, pin, prints, reheat, remember, revise, unlink, unpin
from tests.streams.decider.values import COFFEE, DOG, IMPOSSIBLE, NOWHERE, TEA
from tests.streams.scenario import Scenario


def _tea() -> tuple[Scenario, str]:
    line = Scenario().given(extracted("t1", TEA))
    return line, line.memory_id(TEA)


def _tea_and_dog() -> tuple[Scenario, str, str]:
    line = Scenario().given(extracted("t1", TEA, DOG))
    return line, line.memory_id(TEA), line.memory_id(DOG)


ON_A_MEMORY: dict[str, Callable[[str], Command]] = {
    "reheat": lambda m: reheat(m),
    "pin": lambda m: pin(m),
    "unpin": lambda m: unpin(m),
    "revise": lambda m: revise(m, COFFEE),
}


@pytest.mark.parametrize("make", ON_A_MEMORY.values(), ids=ON_A_MEMORY)
def test_what_is_asked_of_an_unknown_or_forgotten_memory_is_rejected_and_says_which_it_was(
    make: Callable[[str], Command],
) -> None:
    line, known = _tea()
    line.when(make(NOWHERE)).then_rejected("unknown")
    line.given(forget(known)).when(make(known)).then_rejected("forgotten")


def test_a_request_to_warm_a_memory_is_a_mention_without_a_source() -> None:
    line, known = _tea()
    reheated = line.when(reheat(known)).then_only(MemoryReheated)
    assert (reheated.memory_id, reheated.source, reheated.access_count) == (known, None, 2)


@pytest.mark.parametrize("policy", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_an_impossible_policy_is_rejected(policy: ThermalPolicy) -> None:
    line, known = _tea()
    line.when(reheat(known, policy)).then_rejected("impossible numbers")
    line.when(revise(known, COFFEE, policy=policy)).then_rejected("impossible numbers")


@pytest.mark.parametrize("make", [lambda m: reheat(m, id="r"), lambda m: pin(m, id="r")], ids=["reheat", "pin"])
def test_a_request_that_is_sent_twice_is_decided_once(make: Callable[[str], Command]) -> None:
    line, known = _tea()
    line.given(make(known)).when(make(known)).then_noted("decided before")


# -- pinning


def test_a_memory_is_pinned_and_unpinned_once() -> None:
    line, known = _tea()
    assert line.when(pin(known)).then_only(MemoryPinned).memory_id == known
    line.when(pin(known)).then_noted("sacred already")
    assert line.when(unpin(known)).then_only(MemoryUnpinned).memory_id == known
    line.when(unpin(known)).then_noted("not sacred")
    line.when(pin(known)).then_only(MemoryPinned)


def test_pinning_is_no_mention_and_outlives_mentions_and_revisions() -> None:
    line, known = _tea()
    line.given(pin(known))
    assert line.memory(TEA).access_count == 1
    line.given(reheat(known), revise(known, COFFEE)).when(pin(known)).then_noted("sacred already")


# -- revising


def test_a_revision_keeps_id_and_history_and_counts_versions() -> None:
    line, known = _tea()
    first = line.when(revise(known, COFFEE)).then_only(MemoryRevised)
    assert (first.memory_id, first.version, first.access_count, first.source) == (known, 2, 2, None)
    assert (first.slug, first.category, first.tags, first.extra) == (None, None, None, None), "what was not given is unchanged"
    second = line.when(revise(known, DOG)).then_only(MemoryRevised)
    assert (second.memory_id, second.version, second.access_count) == (known, 3, 3)


def test_after_a_revision_the_new_words_are_a_mention_and_the_old_ones_a_new_fact() -> None:
    line, known = _tea()
    line.given(revise(known, COFFEE))
    assert line.when(extracted("t2", COFFEE)).then_only(MemoryReheated).memory_id == known
    line.when(extracted("t3", TEA)).then_only(MemoryAdded)


def test_a_revision_that_expects_another_version_is_rejected_and_leaves_the_memory_as_it_was() -> None:
    line, known = _tea()
    line.given(revise(known, COFFEE, expected=1))
    before = line.memory(COFFEE)
    line.when(revise(known, DOG, expected=1)).then_rejected("version 2, not at 1")
    line.when(revise(known, DOG, expected=-1)).then_rejected("version 2")
    assert line.memory(COFFEE) == before
    assert line.when(revise(known, DOG, expected=2)).then_only(MemoryRevised).version == 3


def test_a_revision_to_the_same_words_is_noted_but_other_details_are_a_revision() -> None:
    line, known = _tea()
    line.when(revise(known, TEA + ".")).then_noted("says so already")
    line.when(revise(known, TEA, details="habits")).then_only(MemoryRevised)
    line.when(revise(known, TEA, details="habits")).then_noted("says so already")
    line.when(revise(known, COFFEE)).then_only(MemoryRevised)
    line.when(revise(known, COFFEE, details="habits")).then_noted("says so already")


def test_a_memory_may_be_revised_to_the_words_of_another_and_stays_a_memory_of_its_own() -> None:
    line, tea, dog = _tea_and_dog()
    line.when(revise(tea, DOG)).then_only(MemoryRevised)
    assert set(line.live) == {tea, dog}
    line.given(forget(dog))
    assert line.when(remember(DOG)).then_only(MemoryReheated).memory_id == tea


def test_revising_to_and_fro_leaves_nothing_behind_that_grows() -> None:
    line, known = _tea()
    sizes = []
    for _ in range(3):
        line.given(*(revise(known, text) for text in (COFFEE, TEA) for _ in range(10)))
        statements = [line.state.statement(prints(text)) for text in (COFFEE, TEA)]
        sizes.append([len(s.memory_ids) + len(s.former) for s in statements])
    assert sizes[0] == sizes[1] == sizes[2]


# -- linking


def test_two_memories_are_linked_in_one_direction_by_kinds_with_weights() -> None:
    line, tea, dog = _tea_and_dog()
    linked = line.when(link(tea, dog, "about", 0.25)).then_only(MemoriesLinked)
    assert (linked.source_id, linked.target_id, linked.kind, linked.weight) == (tea, dog, "about", 0.25)
    line.when(link(tea, dog, "contradicts", 0.25)).then_only(MemoriesLinked)
    line.when(link(dog, tea, "about", 0.25)).then_only(MemoriesLinked)
    line.when(link(tea, dog, "about", 0.25)).then_noted("exists already")
    assert line.when(link(tea, dog, "about", 0.75)).then_only(MemoriesLinked).weight == 0.75


def test_a_link_is_taken_away_with_its_newest_weight_and_only_once() -> None:
    line, tea, dog = _tea_and_dog()
    line.given(link(tea, dog, weight=0.25), link(tea, dog, weight=0.0))
    unlinked = line.when(unlink(tea, dog)).then_only(MemoriesUnlinked)
    assert (unlinked.source_id, unlinked.target_id, unlinked.kind, unlinked.weight) == (tea, dog, "about", 0.0)
    line.when(unlink(tea, dog)).then_rejected("no such link")
    line.when(link(tea, dog, weight=0.0)).then_only(MemoriesLinked)


def test_only_the_link_that_was_named_is_taken_away() -> None:
    line, tea, dog = _tea_and_dog()
    line.given(link(tea, dog))
    line.when(unlink(dog, tea)).then_rejected("no such link")
    line.when(unlink(tea, dog, "contradicts")).then_rejected("no such link")
    line.when(unlink(tea, dog)).then_only(MemoriesUnlinked)


@pytest.mark.parametrize("kind", ["", "About her sister", "über", "a" * 41, "1st", "a b"])
def test_a_links_kind_is_one_plain_word_as_it_stands_in_clear(kind: str) -> None:
    line, tea, dog = _tea_and_dog()
    line.when(link(tea, dog, kind)).then_rejected("one word")


@pytest.mark.parametrize("weight", [math.nan, math.inf, -math.inf, -0.01, 1.01])
def test_a_weight_that_is_none_is_rejected(weight: float) -> None:
    line, tea, dog = _tea_and_dog()
    line.when(link(tea, dog, weight=weight)).then_rejected("between 0 and 1")


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_lowest_and_the_highest_weight_are_possible(weight: float) -> None:
    line, tea, dog = _tea_and_dog()
    line.when(link(tea, dog, weight=weight)).then_only(MemoriesLinked)


def test_a_memory_cannot_be_linked_to_itself() -> None:
    line, tea = _tea()
    line.when(link(tea, tea)).then_rejected("to itself")


def test_a_link_needs_two_live_memories() -> None:
    line, tea, dog = _tea_and_dog()
    line.when(link(tea, NOWHERE)).then_rejected("unknown")
    line.when(link(NOWHERE, tea)).then_rejected("unknown")
    line.given(forget(dog)).when(link(tea, dog)).then_rejected("forgotten")
    line.when(link(dog, tea)).then_rejected("forgotten")


@pytest.mark.parametrize("gone", ["source", "target"])
def test_the_links_of_a_forgotten_memory_are_gone(gone: str) -> None:
    line, tea, dog = _tea_and_dog()
    line.given(link(tea, dog), forget({"source": tea, "target": dog}[gone]))
    line.when(unlink(tea, dog)).then_rejected("no such link")


def test_what_is_taught_anew_has_no_link_of_the_memory_before() -> None:
    line, tea, dog = _tea_and_dog()
    line.given(link(tea, dog), forget(tea), extracted("t2", TEA, offset=10))
    line.when(unlink(line.memory_id(TEA), dog)).then_rejected("no such link")


@pytest.mark.parametrize(
    "policy",
    [ThermalPolicy(reheat=-1.0), ThermalPolicy(maximum=1e9)],
    ids=["a mention that cools", "a highest temperature above 100 degrees"],
)
def test_a_policy_that_leaves_the_degrees_from_0_to_100_is_rejected(policy: ThermalPolicy) -> None:
    line, known = _tea()
    line.when(reheat(known, policy)).then_rejected("impossible numbers")
