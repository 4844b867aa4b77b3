"""Simpler protocols that look as good, and the histories that refute them.

Each is the project's own code with one rule taken away (``simulated_mutants``). The search is that of
``test_protocol_exhaustive``, in a scope where it finds nothing against the protocol as it is. Where it can, a counterexample is a
finished history: a command lost, decided twice, or decided from a state that no reader has. It is printed (``pytest -s``), and no
history with fewer actions before the end shows as much.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.streams import simulated_mutants as simpler
from tests.streams.simulated_process import Process
from tests.streams.simulated_search import Search, show
from tests.streams.simulated_walk import random_numbers, walk, workload
from tests.streams.simulated_workloads import QUICK, Case
from tests.streams.simulated_world import Variant

SLIP = QUICK["one owner, an append that fails"]
SAVING = QUICK["one owner, saving"]
OWNERS = QUICK["two owners, appends that overtake"]
MORE = QUICK["version 2 finds more"]
LESS = QUICK["version 2 finds less"]
FIRST_POISONED = QUICK["the first poisoned"]
SECOND_POISONED = QUICK["the second poisoned"]
AT_MOST = 30_000


def _violation(case: Case, variant: Variant, *, ends_only: bool = True) -> str:
    """The shortest counterexample's kind."""
    found = Search(case.work, case.scope, variant, ends_only=ends_only).run(AT_MOST)
    show(found)
    return found.violation or ""


def test_accepting_single_events_instead_of_whole_slices_mixes_the_decisions_of_two_versions() -> None:
    assert _violation(MORE, Variant(simpler.EachEvent, rule=simpler.each_event)) == "INCOHERENT c0"


def test_skipping_by_the_partitions_position_loses_the_command_of_an_owner_whose_append_was_lost() -> None:
    assert _violation(OWNERS, Variant(simpler.PartitionPosition)) == "LOST c0"


def test_committing_what_was_acknowledged_loses_what_a_zombie_had_overtaken() -> None:
    assert _violation(SLIP, Variant(process=simpler.Acknowledging)) == "LOST c1"


def test_leaving_no_event_for_an_empty_decision_lets_a_zombie_decide_before_it() -> None:
    assert _violation(LESS, Variant(simpler.SilentMachine, code=simpler.Silent)) == "LOST c1"


def test_leaving_no_event_for_an_empty_extraction_lets_the_second_of_a_turn_count() -> None:
    case = Case((*LESS.work[:1], LESS.work[0]), LESS.scope, 0)
    silent = Variant(simpler.SilentMachine, code=simpler.Silent)
    assert _violation(case, silent).startswith(("TURN", "LOST"))


def test_materialising_what_was_not_read_back_hides_what_never_landed() -> None:
    assert _violation(SAVING, Variant(process=simpler.Speculating)) in ("READERS DISAGREE", "LOST c1")


def test_materialising_without_compare_and_set_leaves_a_state_that_is_no_fold_of_the_log() -> None:
    case = QUICK["two owners, saving"]
    assert _violation(case, Variant(process=simpler.Overwriting), ends_only=False) == "MATERIALISED is not the fold"


def test_looking_entries_up_after_another_decider_saved_folds_events_into_what_already_holds_them() -> None:
    case = QUICK["one owner, saving, entries looked up"]
    assert _violation(case, Variant(process=simpler.LookingUpBlindly)) == "RAISED AssertionError"


def test_loading_the_lot_and_the_log_before_the_committed_offset_is_read_passes_over_a_command_that_was_just_parked() -> None:
    assert _violation(FIRST_POISONED, Variant(process=simpler.LoadingFirst)) == "LOST c0"


def test_taking_the_acknowledgement_for_the_confirmation_loses_what_readers_dropped() -> None:
    assert _violation(SLIP, Variant(process=simpler.Trusting)).startswith("LOST")


def test_deciding_from_what_was_sent_makes_a_gap_where_appends_overtake() -> None:
    assert _violation(SLIP, Variant(simpler.Pipelining)) == "GAP"


def test_deciding_from_what_was_sent_mixes_two_versions_even_where_appends_land_in_order() -> None:
    case = replace(MORE, scope=replace(MORE.scope, overtaking=False))
    assert _violation(case, Variant(simpler.Pipelining)) == "INCOHERENT c1"


def test_going_on_after_a_failed_append_as_if_it_had_landed_loses_its_command() -> None:
    assert _violation(SLIP, Variant(process=simpler.TakingFailedForLanded)) == "LOST c0"


def test_going_on_after_a_failed_append_with_the_next_command_loses_the_failed_one() -> None:
    assert _violation(SLIP, Variant(process=simpler.LeavingFailed)) == "LOST c0"


def test_parking_a_command_before_the_earlier_ones_are_confirmed_loses_an_earlier_one() -> None:
    assert _violation(SECOND_POISONED, Variant(simpler.ParkingEarly)) == "LOST c0"


def test_keeping_parked_entries_that_the_log_has_passed_decides_them_twice() -> None:
    assert _violation(FIRST_POISONED, Variant(simpler.NeverVoid)) == "DOUBLED c0"


def test_voiding_such_entries_only_when_their_owner_is_met_decides_them_twice() -> None:
    assert _violation(FIRST_POISONED, Variant(simpler.VoidAtTheStart)) == "DOUBLED c0"


def test_letting_later_commands_of_an_owner_pass_a_parked_one_loses_it() -> None:
    assert _violation(FIRST_POISONED, Variant(simpler.Overtaking)) == "LOST c0"


@pytest.mark.parametrize(
    "variant",
    [
        Variant(simpler.EachEvent, rule=simpler.each_event),
        Variant(simpler.PartitionPosition),
        Variant(process=simpler.Acknowledging),
        Variant(process=simpler.LoadingFirst),
        Variant(process=simpler.LeavingFailed),
        Variant(simpler.ParkingEarly),
        Variant(simpler.NeverVoid),
    ],
    ids=lambda variant: (variant.machine if "PartitionDecider" not in variant.machine.__name__ else variant.process).__name__,
)
def test_random_histories_refute_them_too(variant: Variant) -> None:
    for seed in range(3_000):
        numbers = random_numbers(seed)
        try:
            problem = walk(workload(numbers), numbers, 20 + seed % 140, variant=variant)
        except (AssertionError, LookupError) as error:
            problem = repr(error)
        if problem:
            show(f"history {seed}: {problem}")
            return
    pytest.fail("no random history refutes it")


@pytest.mark.slow
@pytest.mark.parametrize("process", [simpler.DecidingInPlace, simpler.SendingAgain])
def test_what_a_failed_append_does_to_a_process_that_goes_on_with_the_same_commands_is_harmless(
    process: type[Process],
) -> None:
    """Rule 10 asks for more than safety needs: an owner has one append under way, and the first to land decides."""
    for case in (SLIP, OWNERS):
        case = replace(case, scope=replace(case.scope, failures=1))
        found = Search(case.work, case.scope, Variant(process=process)).run()
        show(found)
        assert found.violation is None, str(found)


@pytest.mark.slow
def test_loading_before_the_committed_offset_is_read_is_harmless_where_nothing_is_parked() -> None:
    """Whoever missed a part of the log appends below its end, and is dropped: every command leaves an event."""
    for case in (SLIP, SAVING, MORE):
        found = Search(case.work, case.scope, Variant(process=simpler.LoadingFirst)).run()
        show(found)
        assert found.violation is None, str(found)
