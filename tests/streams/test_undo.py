"""Undoing: each event by the command that takes it back, decided by the project's own rules, or the reason why there is none."""

from __future__ import annotations

import pytest

from schemas.sealed import Sealed
from schemas.types import (
    EVENTS,
    AccessBegan,
    AccessEnded,
    BeginAccess,
    Command,
    CommandRejected,
    EndAccess,
    Link,
    MemoriesLinked,
    MemoriesUnlinked,
    MemoryEvent,
    MemoryPinned,
    MemoryRevised,
    MemoryUnpinned,
    Pin,
    PolicySet,
    SetPolicy,
    SetSetting,
    SettingSet,
    Unlink,
    Unpin,
)
from streams.undo import Before, Impossible, compensation, undoable
from tests.streams.scenario import Scenario, forget, meta, remember, revise

TEA, COFFEE, LIMA = "User drinks green tea", "User drinks coffee now", "User lives in Lima"


def undone(line: Scenario, place: int = -1) -> Scenario:
    """The line after the event at ``place`` of its log was undone."""
    events = line.log
    event = events[place]
    command = compensation(event, Before(events[: events.index(event)]), meta())
    assert not isinstance(command, Impossible)
    return line.when(command)


def two_memories() -> tuple[Scenario, str, str]:
    line = Scenario().given(remember(TEA), remember(LIMA))
    return line, line.memory_id(TEA), line.memory_id(LIMA)


def test_a_pin_is_undone_by_an_unpin_and_an_unpin_by_a_pin() -> None:
    line, tea, _ = two_memories()
    undone(line.when(Pin(meta(), tea))).then(MemoryUnpinned)
    assert isinstance(line.events[0], MemoryUnpinned)
    undone(line).then(MemoryPinned)
    line.when(Unpin(meta(), tea))
    undone(line).then(MemoryPinned)


def test_a_link_is_undone_by_taking_it_away_and_back_with_its_weight() -> None:
    line, tea, lima = two_memories()
    undone(line.when(Link(meta(), tea, lima, "related", 0.4))).then(MemoriesUnlinked)
    (linked,) = undone(line).then(MemoriesLinked)
    assert isinstance(linked, MemoriesLinked)
    assert linked.weight == 0.4
    line.when(Unlink(meta(), tea, lima, "related")).then(MemoriesUnlinked)


def test_a_link_that_got_another_weight_gets_the_weight_before() -> None:
    line, tea, lima = two_memories()
    line.given(Link(meta(), tea, lima, "related", 0.4), Link(meta(), tea, lima, "related", 0.9))
    (linked,) = undone(line).then(MemoriesLinked)
    assert isinstance(linked, MemoriesLinked)
    assert linked.weight == 0.4


def test_a_revision_is_undone_by_the_text_before_and_history_keeps_both() -> None:
    line, tea, _ = two_memories()
    line.given(revise(tea, COFFEE))
    (back,) = undone(line).then(MemoryRevised)
    assert isinstance(back, MemoryRevised)
    assert (back.content.text, back.version) == (TEA, 3)


def test_undoing_a_revision_that_was_revised_again_is_rejected_and_says_why() -> None:
    line, tea, _ = two_memories()
    line.given(revise(tea, COFFEE), revise(tea, "User drinks nothing at all"))
    (rejected,) = undone(line, -2).then(CommandRejected)
    assert isinstance(rejected, CommandRejected)
    assert rejected.reason == "the memory is at version 3, not at 2"


def test_an_access_is_undone_by_its_end_and_an_end_by_a_new_access() -> None:
    company = Scenario()
    began = BeginAccess(meta(), "access-1", "somebody", "session", Sealed.of("s-1"))
    undone(company.when(began)).then(AccessEnded)
    (again,) = undone(company).then(AccessBegan)
    assert isinstance(again, AccessBegan)
    assert (again.subject, again.access_id != "access-1", again.session_id) == ("somebody", True, Sealed.of("s-1"))
    company.when(EndAccess(meta(), again.access_id)).then(AccessEnded)


def test_a_policy_and_a_setting_get_the_value_before_where_there_was_one() -> None:
    line = Scenario().given(SetPolicy(meta(), "reheat", "5"), SetPolicy(meta(), "reheat", "9"))
    (policy,) = undone(line).then(PolicySet)
    assert isinstance(policy, PolicySet)
    assert (policy.value, policy.version) == ("5", 3)
    line.given(SetSetting(meta(), "tone", Sealed.of('"kind"'), "f1"), SetSetting(meta(), "tone", Sealed.of('"dry"'), "f2"))
    (setting,) = undone(line).then(SettingSet)
    assert isinstance(setting, SettingSet)
    assert setting.value.text == '"kind"'
    first = Scenario().when(SetPolicy(meta(), "reheat", "5")).log
    assert isinstance(compensation(first[0], Before([]), meta()), Impossible)


def test_what_was_forgotten_cannot_be_undone_and_the_answer_says_what_can_be_done() -> None:
    line, tea, _ = two_memories()
    (forgotten,) = line.when(forget(tea)).events
    answer = compensation(forgotten, Before(line.log[:-1]), meta())
    assert isinstance(answer, Impossible)
    assert "key is destroyed" in answer.reason
    assert "anew" in answer.instead


@pytest.mark.parametrize("kind", EVENTS)
def test_every_event_type_can_be_undone_or_says_why_not(kind: type[MemoryEvent]) -> None:
    answer = undoable(kind)
    assert answer is True or (isinstance(answer, Impossible) and answer.reason)


def test_commands_made_for_undoing_are_those_of_the_contract() -> None:
    line, tea, _ = two_memories()
    line.when(Pin(meta(), tea))
    command: Command | Impossible = compensation(line.log[-1], Before(line.log[:-1]), meta("undo-1"))
    assert isinstance(command, Unpin)
    assert command.meta.command_id == "undo-1"
