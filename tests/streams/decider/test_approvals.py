"""Approvals: asked for, decided by somebody else, good for one command and until they expire."""

from __future__ import annotations

from datetime import datetime

import pytest

from schemas.sealed import Sealed
from schemas.types import (
    ApprovalDecision,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRequested,
    CommandRejected,
    MemoryForgotten,
    OwnerErased,
)
from tests.streams.commands import NOON, ask, erase, extracted, forget, later, remember, word
from tests.streams.decider.values import DOG, TEA
from tests.streams.scenario import Scenario

TOMORROW = later(days=1)
JUST_BEFORE = later(days=1, microseconds=-1)


def _asked(*, requester_may_decide: bool = False) -> Scenario:
    """TEA is there; an approval of the command "forget-1" was asked for by "assistant" and expires tomorrow."""
    line = Scenario().given(extracted("t1", TEA, DOG))
    return line.given(ask("Forget", "forget-1", requester_may_decide=requester_may_decide, actor="assistant"))


def _forget(line: Scenario, id: str = "forget-1", approval: str | None = "request-1", days: float = 0.5) -> Scenario:
    return line.when(forget(line.memory_id(TEA), id=id, approval=approval, required=True, at=later(days=days)))


# -- asking


def test_a_request_is_put_on_record_with_what_it_is_for_and_who_asks() -> None:
    line = Scenario().when(ask("Forget", "forget-1", expires_at=TOMORROW, items=3, actor="assistant", requester_may_decide=True))
    asked = line.then_only(ApprovalRequested)
    assert (asked.request_id, asked.operation, asked.operation_id, asked.items) == ("request-1", "Forget", "forget-1", 3)
    assert (asked.requested_by, asked.expires_at, asked.requester_may_decide) == ("assistant", TOMORROW, True)
    assert asked.instruction == Sealed.of("please")


def test_a_request_that_is_asked_again_opens_no_second_and_changes_nothing() -> None:
    line = _asked().given(word("deny"))
    line.when(ask("Forget", "forget-1", expires_at=later(days=9), requester_may_decide=True)).then_noted("asked for before")
    line.when(word("grant")).then_rejected("denied already")


@pytest.mark.parametrize("expires_at", [NOON, later(days=-1)], ids=["now", "yesterday"])
def test_a_request_that_would_have_expired_before_it_was_asked_for_is_rejected(expires_at: datetime) -> None:
    line = Scenario().when(ask("Forget", "forget-1", expires_at=expires_at))
    line.then_rejected("would have expired")
    line.when(word("grant")).then_rejected("unknown")


# -- deciding


def test_somebody_else_grants_it_and_the_event_says_who() -> None:
    granted = _asked().when(word("grant", actor="reviewer")).then_only(ApprovalGranted)
    assert (granted.request_id, granted.decided_by) == ("request-1", "reviewer")


def test_somebody_denies_it_and_the_event_says_who() -> None:
    denied = _asked().when(word("deny", actor="reviewer")).then_only(ApprovalDenied)
    assert (denied.request_id, denied.decided_by) == ("request-1", "reviewer")


def test_the_requester_may_not_approve_but_may_deny() -> None:
    line = _asked().when(word("grant", actor="assistant"))
    line.then_rejected("requester may not approve")
    line.when(word("deny", actor="assistant")).then_only(ApprovalDenied)


def test_a_refused_word_of_the_requester_leaves_the_request_open() -> None:
    _asked().given(word("grant", actor="assistant")).when(word("grant", actor="reviewer")).then_only(ApprovalGranted)


def test_the_requester_may_approve_where_the_policy_in_the_request_says_so() -> None:
    _asked(requester_may_decide=True).when(word("grant", actor="assistant")).then_only(ApprovalGranted)


@pytest.mark.parametrize(
    ("first", "second", "status"), [("grant", "deny", "granted"), ("deny", "grant", "denied"), ("grant", "expire", "granted")]
)
def test_the_first_decision_counts(first: ApprovalDecision, second: ApprovalDecision, status: str) -> None:
    line = _asked().given(word(first))
    line.when(word(first, actor="another")).then_noted(f"{status} already")
    line.when(word(second, at=later(days=2))).then_rejected(f"{status} already")


def test_an_approval_that_was_never_asked_for_cannot_be_decided() -> None:
    _asked().when(word("grant", "request-2")).then_rejected("unknown")


# -- expiry, by the time of the events


def test_a_grant_just_in_time_counts() -> None:
    _asked().when(word("grant", at=JUST_BEFORE)).then_only(ApprovalGranted)


@pytest.mark.parametrize("decision", ["grant", "deny"])
@pytest.mark.parametrize("actor", ["reviewer", "assistant"])
def test_a_decision_that_comes_too_late_puts_the_expiry_on_record_and_is_rejected(decision: ApprovalDecision, actor: str) -> None:
    line = _asked().when(word(decision, at=TOMORROW, actor=actor))
    expired, rejected = line.then(ApprovalExpired, CommandRejected)
    assert isinstance(expired, ApprovalExpired)
    assert isinstance(rejected, CommandRejected)
    assert (expired.request_id, rejected.command_type) == ("request-1", "DecideApproval")
    line.when(word("grant")).then_rejected("expired already")
    _forget(line).then_rejected("its approval is expired")


def test_a_schedule_may_say_that_it_expired_but_not_too_early() -> None:
    line = _asked().when(word("expire", at=JUST_BEFORE))
    line.then_rejected("not expired yet")
    line.when(word("expire", at=TOMORROW)).then_only(ApprovalExpired)
    line.when(word("expire", at=TOMORROW)).then_noted("expired already")
    line.when(word("grant", at=NOON)).then_rejected("expired already")


# -- using


def test_a_granted_approval_lets_its_command_through() -> None:
    _forget(_asked().given(word("grant"))).then_only(MemoryForgotten)


def test_a_command_that_needs_an_approval_and_names_none_is_rejected() -> None:
    line = _asked().given(word("grant"))
    rejected = _forget(line, "forget-2", approval=None).then_rejected("names none")
    assert rejected.command_type == "Forget"
    line.when(erase(required=True)).then_rejected("names none")
    assert line.state.live == 2


@pytest.mark.parametrize("decisions", [(), ("deny",)], ids=["open", "denied"])
def test_an_approval_that_is_not_granted_lets_nothing_through(decisions: tuple[ApprovalDecision, ...]) -> None:
    line = _asked().given(*map(word, decisions))
    _forget(line).then_rejected("its approval is " + ("denied" if decisions else "open"))


def test_an_unknown_approval_lets_nothing_through() -> None:
    _forget(_asked(), approval="request-2").then_rejected("unknown")


def test_an_approval_that_is_named_must_hold_even_where_none_is_needed() -> None:
    line = _asked()
    line.when(forget(line.memory_id(TEA), approval="request-1", id="forget-1")).then_rejected("open")


def test_an_approval_is_good_for_its_one_command_by_id_and_by_type() -> None:
    line = _asked().given(word("grant"))
    _forget(line, "forget-2").then_rejected("another command")
    line.when(erase(id="forget-1", approval="request-1", required=True)).then_rejected("another command")
    assert line.state.live == 2


def test_a_granted_approval_expires_all_the_same() -> None:
    _forget(_asked().given(word("grant")), days=1).then_rejected("has expired")
    line = _asked().given(word("grant"))
    line.when(forget(line.memory_id(TEA), id="forget-1", approval="request-1", at=JUST_BEFORE)).then_only(MemoryForgotten)


def test_an_approved_command_cannot_be_used_twice() -> None:
    line = _forget(_asked().given(word("grant"))).given(remember(TEA))
    _forget(line).then_noted("decided before")
    assert line.state.live == 2


def test_a_command_that_was_rejected_for_want_of_an_approval_is_decided_and_needs_a_new_id() -> None:
    line = _forget(_asked())
    _forget(line.given(word("grant"))).then_noted("decided before")


def test_an_erasure_can_be_approved_and_takes_its_approval_with_it() -> None:
    line = Scenario().given(ask("EraseOwner", "erase-1"), word("grant"))
    line.when(erase(id="erase-1", approval="request-1", required=True)).then_only(OwnerErased)
    line.when(erase(id="erase-1", approval="request-1", required=True)).then_noted("decided before")
    line.when(erase(id="erase-2", approval="request-1", required=True)).then_rejected("unknown")


def test_a_request_about_fewer_than_no_items_is_rejected() -> None:
    Scenario().when(ask("Forget", "forget-1", items=-1)).then_rejected("not negative")
