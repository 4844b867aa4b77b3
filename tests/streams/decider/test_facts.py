"""What an extractor found in a turn: facts are added, warmed, revised, forgotten or held back."""

from __future__ import annotations

import math
import uuid

import pytest
from msgspec.structs import replace

from schemas.codec import encode
from schemas.ids import NAMESPACE
from schemas.sealed import Sealed
from schemas.types import (
    CommandNoted,
    CommandRejected,
    Entity,
    FactAction,
    MemoryAdded,
    MemoryForgotten,
    MemoryReheated,
    MemoryRevised,
    MessageRef,
    ThermalPolicy,
    Triple,
)
from tests.streams.commands import OWNER, POLICY, extracted, fact, forget, later, remember
from tests.streams.decider.values import CHESS, COFFEE, DOG, IMPOSSIBLE, MATCHA, NOWHERE, TEA
from tests.streams.scenario import Scenario


def test_a_new_fact_is_added_with_what_the_extractor_said_of_it_and_where_it_comes_from() -> None:
    green = Sealed.of("green tea")
    said = replace(
        fact(TEA, "m-1", "m-2", salience=0.9),
        entities=(Entity(green, "drink"),),
        triples=(Triple(Sealed.of("user"), Sealed.of("drinks"), green),),
    )
    command = extracted("t1", said, DOG, at=later(hours=1), offset=7, failed=1)
    added = Scenario().given(extracted("t0")).when(command).events[0]
    assert isinstance(added, MemoryAdded)
    assert (added.content.text, added.fingerprint, added.salience) == (TEA, said.fingerprint, 0.9)
    assert (added.extractor, added.model, added.rules, added.policy) == ("mem0", "a-model", False, POLICY)
    assert (added.entities, added.triples, added.user_id) == (said.entities, said.triples, command.user_id)
    assert (added.meta.owner, added.meta.sequence, added.meta.cause) == (OWNER, 2, 1)
    assert (added.meta.occurred_at, added.meta.command_id) == (later(hours=1), "t1")
    source = added.source
    assert source is not None
    assert (source.turn_id, source.session_id, source.agent_id) == ("t1", command.session_id, "agent")
    assert (source.messages, source.source_offset) == ((MessageRef("m-1"), MessageRef("m-2")), 7)
    assert (source.facts_in_turn, source.failed_in_turn) == (2, 1)


def test_a_memory_is_named_by_its_owner_the_offset_of_its_command_and_its_place_in_it() -> None:
    line = Scenario().given(extracted("t0"), extracted("t1", TEA, DOG))
    names = [str(uuid.uuid5(NAMESPACE, "\x1f".join(("memory", OWNER, "1", str(place))))) for place in (0, 1)]
    assert [line.memory_id(TEA), line.memory_id(DOG)] == names


def test_the_same_fact_again_warms_its_memory_and_adds_none() -> None:
    line = Scenario().given(extracted("t1", fact(TEA, "m-1")))
    known = line.memory_id(TEA)
    reheated = line.when(extracted("t2", fact(TEA, "m-2"), offset=4)).then_only(MemoryReheated)
    assert (reheated.memory_id, reheated.access_count) == (known, 2)
    assert reheated.source is not None
    assert (reheated.source.turn_id, reheated.source.messages) == ("t2", (MessageRef("m-2"),))
    assert list(line.live) == [known]


def test_case_space_and_final_punctuation_make_no_new_fact() -> None:
    Scenario().given(extracted("t1", TEA)).when(extracted("t2", "  user drinks  GREEN tea. ")).then_only(MemoryReheated)


def test_one_turn_mentions_one_fact_once_however_often_it_lists_it() -> None:
    Scenario().when(extracted("t1", TEA, TEA + ".", DOG)).then(MemoryAdded, MemoryAdded)


def test_of_two_memories_with_the_same_words_the_older_is_warmed() -> None:
    line = Scenario().given(remember(TEA, "morning"))
    older = line.memory_id(TEA)
    line.given(remember(TEA, "evening"))
    assert line.when(extracted("t1", TEA)).then_only(MemoryReheated).memory_id == older


# -- one turn is decided once


def test_a_turn_published_twice_is_decided_once() -> None:
    line = Scenario().given(extracted("t1", TEA, offset=0))
    noted = line.when(extracted("t1", TEA, offset=1)).then_noted("decided before")
    assert noted.source is not None
    assert noted.source.turn_id == "t1"
    assert line.memory(TEA).access_count == 1


def test_an_extraction_recorded_twice_for_one_turn_counts_once_and_the_first_on_the_log_wins() -> None:
    line = Scenario().given(extracted("t1", TEA))
    line.when(extracted("t1", DOG)).then_only(CommandNoted)
    assert [m.fingerprint for m in line.live.values()] == [fact(TEA).fingerprint]


def test_a_turn_without_facts_leaves_a_note_with_its_turn_and_is_decided() -> None:
    line = Scenario().when(extracted("t1", failed=2))
    noted = line.then_noted("no facts")
    assert noted.source is not None
    assert (noted.source.turn_id, noted.source.failed_in_turn) == ("t1", 2)
    line.when(extracted("t1", TEA)).then_noted("decided before")


def test_a_turn_that_was_rejected_is_decided_as_well() -> None:
    line = Scenario().given(extracted("t1", TEA, policy=ThermalPolicy(initial=101.0)))
    line.when(extracted("t1", TEA)).then_noted("decided before")


# -- what the extractor proposes


def test_a_proposed_reheat_warms_its_target_however_the_mention_is_worded() -> None:
    line = Scenario().given(extracted("t1", TEA))
    mention = fact(MATCHA, "m-2", action="reheat", target=line.memory_id(TEA))
    line.when(extracted("t2", mention)).then_only(MemoryReheated)
    assert line.memory(TEA).access_count == 2


def test_a_proposed_revision_gives_its_target_other_words_and_keeps_its_id_and_history() -> None:
    line = Scenario().given(extracted("t1", TEA), extracted("t2", TEA))
    known = line.memory_id(TEA)
    revised = line.when(extracted("t3", fact(COFFEE, "m-3", action="revise", target=known))).then_only(MemoryRevised)
    assert (revised.memory_id, revised.version, revised.access_count) == (known, 2, 3)
    assert revised.content.text == COFFEE
    assert revised.source is not None
    assert revised.source.messages == (MessageRef("m-3"),)
    line.when(extracted("t4", fact(DOG, action="revise", target=known)))
    assert line.then_only(MemoryRevised).version == 3


def test_after_a_revision_the_new_words_are_a_mention_and_the_old_ones_a_new_fact() -> None:
    line = Scenario().given(extracted("t1", TEA))
    known = line.memory_id(TEA)
    line.given(extracted("t2", fact(COFFEE, action="revise", target=known)))
    assert line.when(extracted("t3", COFFEE)).then_only(MemoryReheated).memory_id == known
    assert line.when(extracted("t4", TEA)).then_only(MemoryAdded).memory_id != known


def test_a_proposed_revision_to_words_that_a_memory_has_is_a_mention_of_that_memory() -> None:
    line = Scenario().given(extracted("t1", TEA, COFFEE))
    line.when(extracted("t2", fact(COFFEE, action="revise", target=line.memory_id(TEA))))
    assert line.then_only(MemoryReheated).memory_id == line.memory_id(COFFEE)
    line.when(extracted("t3", fact(TEA, action="revise", target=line.memory_id(TEA)))).then_only(MemoryReheated)


@pytest.mark.parametrize("action", ["reheat", "revise"])
def test_a_target_that_a_model_made_up_leaves_the_fact_itself(action: FactAction) -> None:
    line = Scenario().given(extracted("t1", DOG))
    proposed = replace(fact(TEA), action=action, target=NOWHERE)
    assert line.when(extracted("t2", proposed)).then_only(MemoryAdded).content.text == TEA
    assert line.when(extracted("t3", proposed)).then_only(MemoryReheated).memory_id == line.memory_id(TEA)


@pytest.mark.parametrize("action", ["reheat", "revise"])
def test_a_target_that_was_forgotten_meanwhile_leaves_the_fact_itself(action: FactAction) -> None:
    line = Scenario().given(extracted("t1", fact(DOG, "m-1")))
    gone = line.memory_id(DOG)
    line.given(forget(gone)).when(extracted("t2", replace(fact(TEA, "m-2"), action=action, target=gone)))
    assert line.then_only(MemoryAdded).memory_id != gone


@pytest.mark.parametrize("action", ["reheat", "revise"])
def test_a_proposal_without_a_target_is_decided_by_its_words(action: FactAction) -> None:
    Scenario().when(extracted("t1", replace(fact(TEA), action=action))).then_only(MemoryAdded)


def test_a_proposed_addition_ignores_a_target() -> None:
    line = Scenario().given(extracted("t1", TEA))
    line.when(extracted("t2", fact(DOG, action="add", target=line.memory_id(TEA)))).then_only(MemoryAdded)


def test_a_proposed_forgetting_forgets_and_only_a_later_turn_teaches_it_anew() -> None:
    line = Scenario().given(extracted("t1", fact(TEA, "m-1"), offset=1))
    known = line.memory_id(TEA)
    line.when(extracted("t4", fact("", "m-4", action="forget", target=known), offset=4))
    forgotten, noted = line.then(MemoryForgotten, CommandNoted)
    assert isinstance(forgotten, MemoryForgotten)
    assert isinstance(noted, CommandNoted)
    assert (forgotten.memory_id, forgotten.include_source) == (known, False)
    assert noted.source is not None, "whoever waits for the turn finds its outcome"
    assert noted.source.turn_id == "t4"
    line.when(extracted("t3", fact(TEA, "m-3"), offset=3)).then_noted("held back")
    line.when(extracted("same turn", fact(TEA, "m-4"), offset=4)).then_noted("held back")
    line.when(extracted("t5", fact(TEA, "m-5"), offset=5)).then_only(MemoryAdded)


@pytest.mark.parametrize("target", [None, NOWHERE, ""])
def test_a_proposed_forgetting_of_nothing_is_rejected_and_the_other_facts_are_decided(target: str | None) -> None:
    line = Scenario().when(extracted("t1", fact("", action="forget", target=target), TEA))
    _, rejected = line.then(MemoryAdded, CommandRejected)
    assert isinstance(rejected, CommandRejected)
    assert rejected.source is not None
    assert (rejected.source.turn_id, rejected.command_type) == ("t1", "FactsExtracted")
    line.when(extracted("t1", CHESS)).then_noted("decided before")


@pytest.mark.parametrize("policy", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_an_impossible_policy_is_rejected_with_its_turn(policy: ThermalPolicy) -> None:
    rejected = Scenario().when(extracted("t1", TEA, policy=policy)).then_rejected("impossible numbers")
    assert rejected.source is not None
    assert rejected.source.turn_id == "t1"


@pytest.mark.parametrize("salience", [math.nan, -0.1, 1.5])
def test_a_salience_of_an_extracted_fact_that_is_none_is_rejected_with_its_turn(salience: float) -> None:
    rejected = Scenario().when(extracted("t1", replace(fact(TEA), salience=salience))).then_rejected("salience")
    assert rejected.source is not None
    assert rejected.source.turn_id == "t1"


def test_a_turn_that_proposes_two_forgettings_in_the_same_words_forgets_both() -> None:
    line = Scenario().given(extracted("t1", TEA, DOG))
    targets = [line.memory_id(TEA), line.memory_id(DOG)]
    asked = "User wants these forgotten"
    line.when(extracted("t2", *(fact(asked, "m-9", action="forget", target=t) for t in targets)))
    line.then(MemoryForgotten, MemoryForgotten, CommandNoted)


def test_a_fact_that_one_turn_lists_twice_has_the_messages_of_both_as_its_sources() -> None:
    line = Scenario().given(extracted("t1", fact(TEA, "m-1"), fact(TEA + ".", "m-2"), offset=1))
    line.given(forget(line.memory_id(TEA), end_offset=10))
    line.when(extracted("re-extraction", fact(MATCHA, "m-2"), offset=12)).then_noted("held back")


def test_a_proposed_forgetting_in_a_turn_at_the_highest_offset_there_is_can_be_written() -> None:
    line = Scenario().given(extracted("t1", TEA))
    line.when(extracted("t2", fact("", action="forget", target=line.memory_id(TEA)), offset=2**63 - 1))
    for event in line.then(MemoryForgotten, CommandNoted):
        encode(event)


def test_a_forgetting_that_names_nothing_does_not_stand_in_the_way_of_a_fact_with_its_words() -> None:
    Scenario().when(extracted("t1", fact(TEA, action="forget"), TEA)).then(MemoryAdded, CommandRejected)
