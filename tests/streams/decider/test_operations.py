"""What operations put on record: exports, promotions, cleared stores, receipts, parked work that was given up."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from schemas.sealed import Sealed
from schemas.types import (
    Command,
    MemoriesExported,
    ParkedDropped,
    ReceiptIssued,
    StoreCleared,
    StoreOutcome,
    ViewPromoted,
)
from tests.streams.commands import (
    confirm_cleared,
    drop_parked,
    erase,
    extracted,
    fact,
    forget,
    issue_receipt,
    later,
    promote_view,
    record_export,
    remember,
)
from tests.streams.decider.values import DOG, NOWHERE, TEA
from tests.streams.scenario import Scenario


def _forgotten() -> Scenario:
    """TEA was forgotten by the command "forget-1"."""
    line = Scenario().given(extracted("t1", TEA))
    return line.given(forget(line.memory_id(TEA), id="forget-1"))


def test_an_export_is_put_on_record() -> None:
    exported = Scenario().when(record_export("e-1", memories=3)).then_only(MemoriesExported)
    assert (exported.export_id, exported.path, exported.format) == ("e-1", Sealed.of("memories.ndjson"), "ndjson")
    assert (exported.memories, exported.sha256) == (3, "0" * 64)


def test_an_export_of_nothing_is_one_and_of_fewer_than_nothing_is_rejected() -> None:
    line = Scenario().when(record_export(memories=0))
    line.then_only(MemoriesExported)
    line.when(record_export(memories=-1)).then_rejected("not negative")


def test_a_promotion_is_put_on_record() -> None:
    promoted = Scenario().when(promote_view("thermal", 2)).then_only(ViewPromoted)
    assert (promoted.view, promoted.generation, promoted.digest) == ("thermal", 2, "a-digest")


@pytest.mark.parametrize("generation", [0, -1])
def test_generations_count_from_1(generation: int) -> None:
    Scenario().when(promote_view(generation=1)).then_only(ViewPromoted)
    Scenario().when(promote_view(generation=generation)).then_rejected("count from 1")


def test_every_store_confirms_what_it_cleared() -> None:
    line = _forgotten().when(confirm_cleared("forget-1", removed=1, store="thermal"))
    cleared = line.then_only(StoreCleared)
    assert (cleared.forget_id, cleared.outcome) == ("forget-1", StoreOutcome("thermal", 1))
    line.when(confirm_cleared("forget-1", removed=0, store="cache")).then_only(StoreCleared)


def test_a_receipt_says_what_was_destroyed_where_and_which_messages_remain() -> None:
    outcomes = (StoreOutcome("thermal", 1), StoreOutcome("backups", 0, pending_until=later(days=30)))
    issued = _forgotten().when(issue_receipt("forget-1", *outcomes, remaining=("m-1",))).then_only(ReceiptIssued)
    assert (issued.receipt_id, issued.forget_id) == ("receipt-1", "forget-1")
    assert (issued.outcomes, issued.remaining_message_ids) == (outcomes, ("m-1",))


def test_a_request_that_several_commands_carried_out_has_one_receipt() -> None:
    line = Scenario().given(extracted("t1", TEA, DOG))
    line.given(forget(line.memory_id(TEA), id="request/1/2"), forget(line.memory_id(DOG), id="request/2/2"))
    line.when(issue_receipt("request/1/3")).then_rejected("no forgetting")
    assert line.when(issue_receipt("request")).then_only(ReceiptIssued).forget_id == "request"


def test_an_erasure_is_confirmed_and_receipted_like_a_forgetting() -> None:
    line = Scenario().given(remember(TEA), erase(id="erase-1"))
    line.when(confirm_cleared("erase-1")).then_only(StoreCleared)
    line.when(issue_receipt("erase-1")).then_only(ReceiptIssued)


@pytest.mark.parametrize("make", [confirm_cleared, issue_receipt])
def test_what_nobody_asked_to_be_forgotten_is_neither_confirmed_nor_receipted(make: Callable[[str], Command]) -> None:
    line = _forgotten()
    line.when(make("forget-2")).then_rejected("no forgetting")
    line.when(make(line.memory_id(TEA))).then_rejected("no forgetting")


def test_a_forgetting_that_was_sent_again_or_followed_by_an_erasure_can_still_be_confirmed() -> None:
    line = _forgotten().given(forget(NOWHERE, id="forget-1"), erase(id="erase-1"), erase(id="erase-1"))
    line.when(confirm_cleared("forget-1")).then_only(StoreCleared)
    line.when(confirm_cleared("erase-1")).then_only(StoreCleared)


def test_an_extracted_forgetting_is_confirmed_by_its_turn() -> None:
    line = Scenario().given(extracted("t1", TEA))
    line.given(extracted("t2", fact("", action="forget", target=line.memory_id(TEA)), DOG))
    line.when(confirm_cleared("t2")).then_only(StoreCleared)
    line.when(confirm_cleared("t1")).then_rejected("no forgetting")


def test_a_store_cannot_remove_fewer_than_nothing() -> None:
    _forgotten().when(confirm_cleared("forget-1", removed=-1)).then_rejected("not negative")


def test_parked_work_that_a_person_gave_up_is_put_on_record() -> None:
    dropped = Scenario().when(drop_parked("parked-1", "decide")).then_only(ParkedDropped)
    assert (dropped.parked_id, dropped.stage) == ("parked-1", "decide")


REQUESTS = [record_export(id="c"), promote_view(id="c"), confirm_cleared("forget-1", id="c"), drop_parked(id="c")]


@pytest.mark.parametrize("command", [*REQUESTS, issue_receipt("forget-1", id="c")], ids=lambda c: type(c).__name__)
def test_a_request_that_is_sent_twice_is_decided_once(command: Command) -> None:
    _forgotten().given(command).when(command).then_noted("decided before")


@pytest.mark.parametrize(
    "command",
    [
        record_export(required=True),
        promote_view(required=True),
        confirm_cleared("forget-1", required=True),
        issue_receipt("forget-1", required=True),
        drop_parked(required=True),
        erase(required=True),
    ],
    ids=lambda c: type(c).__name__,
)
def test_an_operation_that_needs_an_approval_and_names_none_is_rejected(command: Command) -> None:
    _forgotten().when(command).then_rejected("names none")


@pytest.mark.parametrize("make", [confirm_cleared, issue_receipt])
def test_neither_another_command_nor_a_rejected_forgetting_is_confirmed_or_receipted(make: Callable[[str], Command]) -> None:
    line = Scenario().given(remember(TEA, id="r-1"), forget(NOWHERE, id="forget-1"))
    line.when(make("r-1")).then_rejected("no forgetting")
    line.when(make("forget-1")).then_rejected("no forgetting")


def test_a_receipt_about_fewer_than_nothing_is_rejected() -> None:
    _forgotten().when(issue_receipt("forget-1", StoreOutcome("thermal", -1))).then_rejected("not negative")
