"""Deciding again: what agrees with the log, what does not, and what never got there."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from schemas.slices import Slice
from schemas.types import Command, MemoryAdded, MemoryEvent, Sealed
from streams.decider import EMPTY, OwnerState, decide, fold
from streams.redeciding import Findings, PartitionRedecider
from tests.streams.scenario import OWNER, extracted, forget

TEA, CHESS, LIMA = "User drinks green tea", "User plays chess", "User lives in Lima"
COMMANDS: list[Command] = [extracted("t0", TEA), extracted("t1", TEA, CHESS), extracted("t2"), extracted("t3", LIMA)]


def log_of(commands: list[Command]) -> list[tuple[MemoryEvent, ...]]:
    """Per command its events, as an undisturbed decider writes them."""
    state, out = EMPTY, []
    for cause, command in enumerate(commands):
        out.append(decide(state, command, cause))
        state = fold(state, out[-1])
    return out


def slice_of(*groups: tuple[MemoryEvent, ...], append_id: str = "a") -> Slice:
    events = tuple(event for group in groups for event in group)
    return Slice(OWNER, append_id, events[0].meta.sequence, events, 0)


def findings(commands: list[Command], slices: list[Slice], **kw: object) -> Findings:
    machine = PartitionRedecider(**kw)  # type: ignore[arg-type]
    for offset, command in enumerate(commands):
        machine.offer(offset, command)
    for slice_ in slices:
        machine.observe(slice_)
    return machine.finish()


def test_a_log_that_an_undisturbed_decider_wrote_is_the_same_event_by_event() -> None:
    a, b, c, d = log_of(COMMANDS)
    found = findings(COMMANDS, [slice_of(a), slice_of(b, c), slice_of(d)])
    assert (found.commands, found.decided, found.same, found.events) == (4, 4, 4, 5)
    assert (found.differing, found.passed_over, found.open, found.dropped_slices) == (0, 0, 0, 0)


def test_what_a_zombie_wrote_again_is_dropped_as_every_reader_drops_it() -> None:
    a, b, c, d = log_of(COMMANDS)
    found = findings(COMMANDS, [slice_of(a), slice_of(a, b, append_id="z"), slice_of(b), slice_of(c, d)])
    assert (found.same, found.differing, found.dropped_slices) == (4, 0, 1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"content": Sealed.of("User drinks coffee")}, "content"),
        ({"temperature": 74.0}, "temperature"),
        ({"memory_id": "00000000-0000-5000-8000-000000000000"}, "memory_id"),
    ],
)
def test_an_event_that_todays_rules_would_not_write_is_named_with_its_fields_and_never_with_their_content(
    change: dict[str, object], named: str
) -> None:
    a, *_ = log_of(COMMANDS)
    (added,) = a
    assert isinstance(added, MemoryAdded)
    found = findings(COMMANDS[:1], [slice_of((replace(added, **change),))])
    (difference,) = found.differences
    assert (found.differing, found.same) == (1, 0)
    assert (difference.cause, difference.sequence, difference.command_type) == (0, 1, "FactsExtracted")
    assert difference.what == f"MemoryAdded differs in {named}"


def test_one_difference_leads_to_no_others_as_the_log_is_what_later_commands_are_decided_from() -> None:
    a, *_ = log_of(COMMANDS)
    (added,) = a
    assert isinstance(added, MemoryAdded)
    warm = replace(added, temperature=50.0)
    state: OwnerState = fold(EMPTY, (warm,))
    found = findings(COMMANDS[:2], [slice_of((warm,)), slice_of(decide(state, COMMANDS[1], 1))])
    assert (found.differing, found.same) == (1, 1)


def test_events_of_another_version_with_another_outcome_are_counted_apart() -> None:
    a, *_ = log_of(COMMANDS)
    (added,) = a
    other = replace(added, temperature=50.0, meta=replace(added.meta, decider_version=99))
    assert findings(COMMANDS[:1], [slice_of((other,))]).other_version == 1
    alike = replace(added, meta=replace(added.meta, decider_version=99))
    assert findings(COMMANDS[:1], [slice_of((alike,))]).same == 1


def test_a_command_without_events_was_passed_over_or_is_still_open() -> None:
    a, *_ = log_of(COMMANDS)
    state = fold(EMPTY, a)
    found = findings([*COMMANDS, extracted("t4", TEA)], [slice_of(a), slice_of(decide(state, COMMANDS[3], 3))])
    assert (found.passed_over, found.open, found.same, found.differing) == (2, 1, 2, 0)


def test_events_whose_cause_is_no_command_are_a_difference() -> None:
    a, *_ = log_of(COMMANDS)
    found = findings([], [slice_of(a)])
    assert found.differing == 1
    assert "no command" in found.differences[0].what


def test_a_gap_and_events_that_cannot_be_folded_end_the_owner_once() -> None:
    a, _, c, d = log_of(COMMANDS)
    found = findings(COMMANDS, [slice_of(a), slice_of(c), slice_of(d)])
    assert found.differing == 1
    assert "gap" in found.differences[0].what
    foreign = log_of([extracted("t9", LIMA), extracted("t10", LIMA)])[1]
    alone = tuple(replace(e, meta=replace(e.meta, sequence=1, cause=0)) for e in foreign)
    broken = findings([forget("nobody")], [slice_of(alone), slice_of(alone)])
    assert any("cannot be folded" in d.what for d in broken.differences)


def test_findings_of_several_partitions_add_up() -> None:
    a, *_ = log_of(COMMANDS)
    total = Findings()
    total += findings(COMMANDS[:1], [slice_of(a)])
    total += findings([], [slice_of(a)])
    assert (total.same, total.differing, len(total.differences)) == (1, 1, 1)
