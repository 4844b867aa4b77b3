"""What is said where several views were made anew and some of them could not be."""

from __future__ import annotations

import psycopg
import pytest

from ops.cli.errors import CliError, NotRunning
from ops.cli.rebuilt import Rebuilt
from projections.building import NOT_COMPARED, Report
from projections.errors import DigestMismatch, RebuildRunning
from projections.together import Outcome


def report(view: str) -> Report:
    return Report(view, 1, 2, {}, NOT_COMPARED, NOT_COMPARED, True, False, False, 0, 0, 0.0, 0.0)


def rebuilt(**errors: Exception) -> Rebuilt:
    """One of thermal, then what went wrong."""
    found = Rebuilt(lambda _: lambda done, total: None)
    found.found(Outcome("thermal", report("thermal")))
    for view, error in errors.items():
        found.found(Outcome(view, error=error))
    return found


def test_what_is_done_is_shown_in_the_order_that_was_asked_for_and_what_is_left_is_named() -> None:
    found = rebuilt(graph=RebuildRunning("somebody rebuilds view graph already"))
    found.found(Outcome("mem0", report("mem0")))
    assert [each.view for each in found.reports_of(["mem0", "graph", "thermal", "audit"])] == ["mem0", "thermal"]
    assert found.left_of(["mem0", "graph", "thermal", "audit"], " ") == "graph audit"


def test_nothing_is_raised_where_all_went_well() -> None:
    rebuilt().must_be_sound()


def test_a_single_error_is_raised_as_it_is() -> None:
    error = DigestMismatch("the rebuilt graph differs")
    with pytest.raises(DigestMismatch) as raised:
        rebuilt(graph=error).must_be_sound()
    assert raised.value is error


def test_errors_of_several_views_are_one_with_each_text_once() -> None:
    away = "PostgreSQL cannot be reached"
    errors = {
        "graph": psycopg.OperationalError(),
        "mem0": psycopg.OperationalError(),
        "audit": RebuildRunning("audit is rebuilt"),
    }
    with pytest.raises(NotRunning) as raised:
        rebuilt(**errors).must_be_sound()
    assert str(raised.value) == f"graph, mem0: {away}\naudit is rebuilt"
    assert raised.value.hint == "see what runs with: emberlog status"
    assert isinstance(raised.value, CliError)


def test_a_fault_among_expected_errors_is_raised_as_the_fault_that_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        rebuilt(graph=RebuildRunning("it is rebuilt"), mem0=ZeroDivisionError()).must_be_sound()
