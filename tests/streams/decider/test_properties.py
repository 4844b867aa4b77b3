"""What holds for any history of any commands, whatever they say."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given, settings
from immutables import Map
from msgspec.structs import replace

from schemas.codec import encode
from schemas.types import COMMANDS, Command, CommandNoted, MemoryAdded, MemoryEvent, MemoryReheated, MemoryRevised
from streams.decider import DECIDER_VERSION, EMPTY, MemoryState, OwnerState, decide, evolve, fold, step
from streams.decider.state import Statement
from tests.streams.commands import OWNER
from tests.streams.decider.any_command import BY_TYPE
from tests.streams.decider.histories import HISTORIES

any_history = given(HISTORIES)
often = settings(max_examples=60, deadline=None)


def test_histories_are_drawn_over_every_type_of_command() -> None:
    assert set(BY_TYPE) == set(COMMANDS)


@often
@any_history
def test_every_command_leaves_events_in_order_that_name_it_and_can_be_written(history: list[Command]) -> None:
    state = EMPTY
    for cause, command in enumerate(history):
        events = decide(state, command, cause)
        assert events, "every command leaves at least one event"
        for place, event in enumerate(events):
            meta = event.meta
            assert meta.sequence == state.last_sequence + 1 + place
            assert (meta.owner, meta.cause, meta.command_id) == (OWNER, cause, command.meta.command_id)
            assert (meta.occurred_at, meta.decider_version) == (command.meta.occurred_at, DECIDER_VERSION)
            encode(event)
        state = fold(state, events)
        assert (state.last_sequence, state.last_cause) == (events[-1].meta.sequence, cause)


@often
@any_history
def test_deciding_is_deterministic_and_changes_neither_state_nor_command(history: list[Command]) -> None:
    state = EMPTY
    for cause, command in enumerate(history):
        before, entries, wire = replace(state), dict(state.entries), encode(command)
        events = decide(state, command, cause)
        assert (state, dict(state.entries), encode(command)) == (before, entries, wire)
        assert list(map(encode, decide(_copy(state), command, cause))) == list(map(encode, events))
        state = fold(state, events)


def _copy(state: OwnerState) -> OwnerState:
    """The same state in a map that was built in another order."""
    return replace(state, entries=Map({key: state.entries[key] for key in sorted(state.entries, reverse=True)}))


@often
@any_history
def test_the_state_is_the_fold_of_the_events_one_by_one_and_nothing_else(history: list[Command]) -> None:
    state, log = EMPTY, list[MemoryEvent]()
    for cause, command in enumerate(history):
        events, after = step(state, command, cause)
        assert list(map(encode, events)) == list(map(encode, decide(state, command, cause)))
        for event in events:
            state = evolve(state, event)
        assert after == state, "what the decider thinks came of it is what readers make of its events"
        log.extend(events)
    assert fold(EMPTY, log) == state


@often
@any_history
def test_the_state_keeps_its_own_rules(history: list[Command]) -> None:
    state = EMPTY
    for cause, command in enumerate(history):
        state = fold(state, decide(state, command, cause))
        entries = state.entries.items()
        live = _live(state)
        assert state.live == len(live)
        said: defaultdict[str, set[str]] = defaultdict(set)
        for memory_id, memory in live.items():
            said[memory.fingerprint].add(memory_id)
        statements = {key[2:]: entry for key, entry in entries if isinstance(entry, Statement)}
        assert {f: set(s.memory_ids) for f, s in statements.items() if s.memory_ids} == said, "statements name what says them"
        assert all(len(set(ids)) == len(ids) for s in statements.values() for ids in (s.memory_ids, s.former))
        slugs = {key[2:]: entry for key, entry in entries if key.startswith("s:")}
        assert slugs == {m.slug_fingerprint: memory_id for memory_id, m in live.items() if m.slug_fingerprint is not None}
        assert all(key.startswith("e:") for key, entry in entries if type(entry) is tuple)


def _live(state: OwnerState) -> dict[str, MemoryState]:
    return {key.removeprefix("m:"): entry for key, entry in state.entries.items() if isinstance(entry, MemoryState)}


@often
@any_history
def test_versions_and_accesses_count_what_the_log_says_of_a_memory(history: list[Command]) -> None:
    state, log = EMPTY, list[MemoryEvent]()
    for cause, command in enumerate(history):
        events = decide(state, command, cause)
        state = fold(state, events)
        log.extend(events)
    for memory_id, memory in _live(state).items():
        of_it = [e for e in log if isinstance(e, MemoryAdded | MemoryReheated | MemoryRevised) and e.memory_id == memory_id]
        revisions = [e for e in of_it if isinstance(e, MemoryRevised)]
        assert [e.version for e in revisions] == list(range(2, memory.version + 1)), "versions have no gap"
        assert [e.access_count for e in of_it if not isinstance(e, MemoryAdded)] == list(range(2, memory.access_count + 1))
        assert len([e for e in of_it if isinstance(e, MemoryAdded)]) == 1, "a memory is added once"


@often
@any_history
def test_a_command_that_is_decided_again_later_leaves_one_note_and_changes_nothing(history: list[Command]) -> None:
    state = EMPTY
    for cause, command in enumerate(history):
        state = fold(state, decide(state, command, cause))
    for cause, command in enumerate(history, len(history)):
        (noted,) = decide(state, command, cause)
        assert type(noted) is CommandNoted
        after = evolve(state, noted)
        assert after == replace(state, last_sequence=noted.meta.sequence, last_cause=cause)
