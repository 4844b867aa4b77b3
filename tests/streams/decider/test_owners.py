"""What is asked of a whole owner: erasure, access, aliases, policies and settings."""

from __future__ import annotations

import sys

import pytest

from schemas.sealed import Sealed
from schemas.types import (
    AccessBegan,
    AccessEnded,
    MemoryAdded,
    OwnerAliased,
    OwnerErased,
    PolicySet,
    SettingSet,
)
from streams.decider import EMPTY, decide
from tests.streams.commands import (
    COMPANY,
    NOON,
    OWNER,
    alias,
    begin_access,
    consolidate,
    end_access,
    erase,
    extracted,
    fact,
    forget,
    link,
    pin,
    remember,
    set_policy,
    set_setting,
)
from tests.streams.decider.values import DOG, MATCHA, TEA
from tests.streams.scenario import Scenario

# -- erasure


def test_an_erasure_leaves_no_memory_and_says_how_many_went() -> None:
    line = Scenario().given(extracted("t1", TEA, DOG), extracted("t2", TEA))
    erased = line.when(erase(end_offset=7)).then_only(OwnerErased)
    assert (erased.memories, erased.conversation_end_offset) == (2, 7)
    assert (line.live, line.state.live) == ({}, 0)


def test_nothing_but_the_ids_of_decided_commands_outlives_an_erasure() -> None:
    line = Scenario().given(remember(TEA, "drink", id="r-1"), extracted("t1", fact(DOG, "m-1")))
    tea, dog = line.memory_id(TEA), line.memory_id(DOG)
    line.given(pin(tea), link(tea, dog), consolidate("Tea", (tea,)), forget(dog), begin_access(), alias("another"))
    line.given(set_policy("p", "1"), set_setting("s", "1"), erase(id="erase-1"))
    assert {key[:2] for key in line.state.entries} == {"d:"}
    for known in ("r-1", "t1", "erase-1"):
        assert line.state.was_decided(known)


def test_an_owner_without_memories_is_erased_all_the_same_as_turns_may_be_under_way() -> None:
    line = Scenario().when(erase(end_offset=10))
    assert line.then_only(OwnerErased).memories == 0
    line.when(extracted("t1", TEA, offset=9)).then_noted("erasure")


def test_facts_of_turns_from_before_the_erasure_are_dropped_and_those_of_later_turns_are_not() -> None:
    line = Scenario().given(extracted("t1", TEA), erase(end_offset=10))
    noted = line.when(extracted("t2", TEA, MATCHA, offset=9)).then_noted("before the owner's erasure")
    assert noted.source is not None
    assert noted.source.turn_id == "t2"
    line.when(extracted("t3", TEA, offset=10)).then_only(MemoryAdded)


def test_a_turn_from_before_the_erasure_that_comes_again_adds_nothing() -> None:
    line = Scenario().given(extracted("t1", TEA, offset=3), erase(end_offset=10))
    line.when(extracted("t1", TEA, offset=12)).then_noted("decided before")


def test_no_later_erasure_reaches_less_far() -> None:
    line = Scenario().given(erase(end_offset=10))
    assert line.when(erase(end_offset=5)).then_only(OwnerErased).conversation_end_offset == 10
    line.when(extracted("t1", TEA, offset=9)).then_noted("erasure")


def test_what_was_erased_is_unknown_afterwards() -> None:
    line = Scenario().given(remember(TEA, "drink"), begin_access(), erase())
    line.when(forget(line.memory_id(TEA))).then_rejected("unknown")
    line.when(end_access()).then_rejected("unknown")
    line.when(remember(TEA, "drink")).then_only(MemoryAdded)


def test_an_erasure_that_is_sent_twice_is_decided_once() -> None:
    line = Scenario().given(erase(id="erase-1"), remember(TEA)).when(erase(id="erase-1"))
    line.then_noted("decided before")
    assert list(line.live) == [line.memory_id(TEA)]


def test_an_erasure_with_a_negative_offset_is_rejected_and_erases_nothing() -> None:
    line = Scenario().given(remember(TEA)).when(erase(end_offset=-1))
    line.then_rejected("not negative")
    assert list(line.live) == [line.memory_id(TEA)]


# -- access


def test_an_access_begins_and_ends_with_what_its_beginning_said() -> None:
    line = Scenario().when(begin_access("s-1", COMPANY, "session", session="chat-1"))
    began = line.then_only(AccessBegan)
    assert (began.access_id, began.subject, began.kind, began.session_id) == ("s-1", COMPANY, "session", Sealed.of("chat-1"))
    ended = line.when(end_access("s-1")).then_only(AccessEnded)
    assert (ended.access_id, ended.subject, ended.kind, ended.session_id) == ("s-1", COMPANY, "session", Sealed.of("chat-1"))


def test_an_access_has_one_beginning_and_one_end() -> None:
    line = Scenario().given(begin_access(kind="member")).when(begin_access(kind="member"))
    line.then_noted("begun already")
    line.given(end_access()).when(end_access()).then_noted("ended already")
    line.when(begin_access(kind="member")).then_rejected("has ended")
    line.when(begin_access("another-id", kind="member")).then_only(AccessBegan)


def test_an_access_is_not_taken_over_by_somebody_else() -> None:
    line = Scenario().given(begin_access("s-1", COMPANY))
    line.when(begin_access("s-1", "somebody-else")).then_rejected("another's")
    assert line.when(end_access("s-1")).then_only(AccessEnded).subject == COMPANY


def test_an_access_that_never_began_cannot_end() -> None:
    Scenario().when(end_access("s-1")).then_rejected("unknown")


def test_an_owner_needs_no_access_to_its_own_memories() -> None:
    Scenario().when(begin_access(subject=OWNER)).then_rejected("its own")


# -- aliases


def test_an_alias_is_put_on_record_once() -> None:
    line = Scenario().when(alias("76.543.210-K"))
    assert line.then_only(OwnerAliased).alias == Sealed.of("76.543.210-K")
    line.when(alias("76.543.210-k")).then_noted("known already")
    line.when(alias("another")).then_only(OwnerAliased)


# -- policies and settings


def test_a_policy_counts_its_versions_and_the_same_value_again_is_noted() -> None:
    line = Scenario().when(set_policy("export", '{"approval": true}'))
    policy = line.then_only(PolicySet)
    assert (policy.name, policy.value, policy.version) == ("export", '{"approval": true}', 1)
    line.when(set_policy("export", '{"approval": true}')).then_noted("this value already")
    assert line.when(set_policy("export", '{"approval": false}')).then_only(PolicySet).version == 2
    assert line.when(set_policy("erasure", "1")).then_only(PolicySet).version == 1


@pytest.mark.parametrize("value", ["", "{", "tru", "{'a': 1}", "[1,]", "\0", '"\n"', "1 2", "[" * 100_000])
def test_a_policy_that_is_no_json_is_rejected(value: str) -> None:
    Scenario().when(set_policy("export", value)).then_rejected("no JSON")


def test_a_setting_counts_its_versions_and_is_compared_by_its_fingerprint_alone() -> None:
    line = Scenario().when(set_setting("language", "Spanish"))
    setting = line.then_only(SettingSet)
    assert (setting.name, setting.value, setting.version) == ("language", Sealed.of("Spanish"), 1)
    line.when(set_setting("language", "spanish")).then_noted("this value already")
    assert line.when(set_setting("language", "English")).then_only(SettingSet).version == 2


def test_a_policy_and_a_setting_of_one_name_are_two_things() -> None:
    line = Scenario().given(set_policy("language", "1"), set_policy("language", "2"))
    assert line.when(set_setting("language", "English")).then_only(SettingSet).version == 1


@pytest.mark.parametrize("value", ["NaN", "Infinity", '{"half_life_days": -Infinity}'])
def test_a_policy_with_a_number_that_json_does_not_have_is_rejected(value: str) -> None:
    Scenario().when(set_policy("thermal", value)).then_rejected("no JSON")


def _outcome_at_depth(frames: int, value: str) -> type:
    """What is decided of a policy's ``value`` with ``frames`` more frames on the stack."""
    if frames:
        return _outcome_at_depth(frames - 1, value)
    (event,) = decide(EMPTY, set_policy("p", value, id="c", at=NOON), 0)
    return type(event)


def test_what_is_decided_of_a_policy_does_not_depend_on_how_deep_its_decider_was_called() -> None:
    for depth in range(50, 1_000, 50):
        value = "[" * depth + "]" * depth
        assert _outcome_at_depth(0, value) is _outcome_at_depth(400, value), depth


def test_what_is_decided_of_a_policy_does_not_depend_on_the_settings_of_the_interpreter() -> None:
    before, value = sys.get_int_max_str_digits(), "9" * 5_000
    outcomes = []
    try:
        for limit in (4_300, 0):
            sys.set_int_max_str_digits(limit)
            outcomes.append(_outcome_at_depth(0, value))
    finally:
        sys.set_int_max_str_digits(before)
    assert outcomes[0] is outcomes[1]
