"""The decider's specification, as given / when / then."""

from __future__ import annotations

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from schemas.types import (
    Command,
    CommandNoted,
    CommandRejected,
    MemoryAdded,
    MemoryForgotten,
    MemoryReheated,
)
from streams.decider import EMPTY, decide, fold
from tests.streams.scenario import OWNER, Scenario, extracted, fact, forget, later

TEA = "User drinks green tea"
DOG = "User has a dog named Toby"


def test_a_new_fact_is_added_at_75_degrees() -> None:
    (added,) = Scenario().when(extracted("t1", TEA)).then(MemoryAdded)
    assert isinstance(added, MemoryAdded)
    assert (added.content, added.temperature, added.meta.sequence) == (TEA, 75.0, 1)


def test_the_same_fact_again_at_the_same_time_is_one_memory_at_80_degrees_with_two_accesses() -> None:
    line = Scenario().given(extracted("t1", TEA)).when(extracted("t2", TEA))
    (event,) = line.then(MemoryReheated)
    assert isinstance(event, MemoryReheated)
    assert (event.temperature_before, event.temperature, event.access_count) == (75.0, 80.0, 2)
    assert len(line.state.memories) == 1


def test_a_mention_warms_what_has_cooled_since() -> None:
    line = Scenario().given(extracted("t1", TEA)).when(extracted("t2", TEA, at=later(days=30)))
    (event,) = line.then(MemoryReheated)
    assert isinstance(event, MemoryReheated)
    assert event.temperature_before == pytest.approx(20 + 55 / 2)
    assert event.temperature == pytest.approx(20 + 55 / 2 + 5)


def test_a_mention_from_imported_history_neither_cools_nor_turns_the_clock_back() -> None:
    line = Scenario().given(extracted("t1", TEA)).when(extracted("t2", TEA, at=later(days=-365)))
    (event,) = line.then(MemoryReheated)
    assert isinstance(event, MemoryReheated)
    assert event.temperature == 80.0
    assert line.state.memories[event.memory_id].warmed_at == later()


def test_no_mention_heats_beyond_100_degrees() -> None:
    line = Scenario().given(*(extracted(f"t{i}", TEA) for i in range(20)))
    assert line.state.memories[line.memory_id(TEA)].temperature == 100.0


def test_case_space_and_final_punctuation_make_no_new_fact() -> None:
    Scenario().given(extracted("t1", TEA)).when(extracted("t2", "  user drinks  GREEN tea. ")).then(MemoryReheated)


def test_one_turn_mentions_one_fact_once_however_often_it_is_listed() -> None:
    Scenario().when(extracted("t1", TEA, TEA + ".", DOG)).then(MemoryAdded, MemoryAdded)


def test_a_turn_extracted_twice_counts_once_and_the_first_on_the_log_wins() -> None:
    line = Scenario().given(extracted("t1", TEA)).when(extracted("t1", DOG))
    line.then(CommandNoted)
    assert [m.fingerprint for m in line.state.memories.values()] == [fact(TEA).fingerprint]


def test_a_turn_without_facts_leaves_a_note_with_its_turn_and_is_decided() -> None:
    line = Scenario().when(extracted("t1", failed=2))
    (note,) = line.then(CommandNoted)
    assert isinstance(note, CommandNoted)
    assert note.source is not None
    assert (note.source.turn_id, note.source.failed_in_turn) == ("t1", 2)
    line.when(extracted("t1", TEA)).then(CommandNoted)


def test_forgetting_removes_the_memory_and_names_the_messages_that_stay() -> None:
    line = Scenario().given(extracted("t1", TEA), extracted("t2", TEA))
    line.when(forget(line.memory_id(TEA)))
    (event,) = line.then(MemoryForgotten)
    assert isinstance(event, MemoryForgotten)
    assert event.kept_message_ids == ("t1-m", "t2-m")
    assert not line.state.memories


def test_an_extraction_in_flight_cannot_bring_a_forgotten_fact_back() -> None:
    line = Scenario().given(extracted("t1", TEA, offset=3))
    line.given(forget(line.memory_id(TEA), end_offset=10))
    line.when(extracted("t2", TEA, offset=9)).then(CommandNoted)


def test_source_messages_of_a_forgotten_memory_add_nothing_however_worded() -> None:
    line = Scenario().given(extracted("t1", fact(TEA, "m-7")))
    line.given(forget(line.memory_id(TEA), end_offset=10))
    line.when(extracted("re-extraction", fact("User is fond of matcha", "m-7"), offset=12)).then(CommandNoted)


def test_a_new_mention_after_the_forget_teaches_the_fact_anew_as_another_memory() -> None:
    line = Scenario().given(extracted("t1", TEA))
    first = line.memory_id(TEA)
    line.given(forget(first, end_offset=10)).when(extracted("t2", TEA, offset=10)).then(MemoryAdded)
    assert line.memory_id(TEA) != first


def test_forgetting_one_memory_holds_back_no_other() -> None:
    line = Scenario().given(extracted("t1", fact(TEA, "m-1")))
    line.given(forget(line.memory_id(TEA), end_offset=10)).when(extracted("t2", fact(DOG, "m-2"), offset=4)).then(MemoryAdded)


def test_forgetting_what_was_forgotten_is_noted_and_what_was_never_there_is_rejected() -> None:
    line = Scenario().given(extracted("t1", TEA))
    known = line.memory_id(TEA)
    line.given(forget(known)).when(forget(known)).then(CommandNoted)
    line.when(forget("00000000-0000-4000-8000-000000000000")).then(CommandRejected)
    line.when(forget()).then(CommandRejected)


def test_forgetting_known_and_unknown_together_forgets_the_known_and_says_so() -> None:
    line = Scenario().given(extracted("t1", TEA))
    line.when(forget(line.memory_id(TEA), "no-such-memory")).then(MemoryForgotten, CommandRejected)


TEXTS = st.sampled_from([TEA, DOG, "User lives in Lima", "User plays chess", TEA.upper()])
EXTRACTIONS = st.builds(
    lambda turn, texts, day, offset: extracted(f"t{turn}", *texts, at=later(days=day), offset=offset),
    st.integers(0, 6),
    st.lists(TEXTS, max_size=4),
    st.integers(-40, 40),
    st.integers(0, 12),
)
FORGETS = st.builds(lambda place, end: ("forget", place, end), st.integers(0, 5), st.integers(0, 12))
HISTORIES = st.lists(st.one_of(EXTRACTIONS, FORGETS), max_size=25)


def _played(history: list[Command | tuple[str, int, int]]) -> Scenario:
    line = Scenario()
    for item in history:
        if isinstance(item, tuple):
            _, place, end = item
            ids = sorted(line.state.memories) + sorted(line.state.forgotten) or ["unknown"]
            line.when(forget(ids[place % len(ids)], end_offset=end))
        else:
            line.when(item)
        assert line.events, "every command leaves an event"
    return line


@settings(max_examples=300, deadline=None)
@for_all(HISTORIES)
def test_any_history_keeps_the_owners_invariants(history: list[Command | tuple[str, int, int]]) -> None:
    line = _played(history)
    assert [e.meta.sequence for e in line.log] == list(range(1, len(line.log) + 1))
    assert fold(EMPTY, line.log) == line.state, "state is the fold of the events and nothing else"
    live = line.state.memories
    assert {m.fingerprint: m.memory_id for m in live.values()} == dict(line.state.by_fingerprint), "one memory per fact"
    assert not set(live) & set(line.state.forgotten)
    for memory in live.values():
        assert 20.0 <= memory.temperature <= 100.0
        mentions = [e for e in line.log if getattr(e, "memory_id", None) == memory.memory_id]
        assert memory.access_count == len(mentions)


@settings(max_examples=100, deadline=None)
@for_all(HISTORIES)
def test_deciding_the_same_history_again_gives_the_same_events(history: list[Command | tuple[str, int, int]]) -> None:
    assert _played(history).log == _played(history).log


def test_the_decider_reads_no_clock_and_no_settings() -> None:
    command = extracted("t1", TEA, at=later(days=-4000))
    (event,) = decide(EMPTY, command, 7)
    assert (event.meta.owner, event.meta.cause, event.meta.occurred_at) == (OWNER, 7, later(days=-4000))
