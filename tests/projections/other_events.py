"""One event of each type that is about no single memory, as the decider would write it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

from schemas import ids, types
from schemas.sealed import Sealed
from schemas.types import EventMeta, MemoryEvent, StoreOutcome, Triple
from tests.projections.record_log import T0

SECRET = "zanzibar"
"""Stands in every value of these events that could be about a person."""


def uuid(meta: EventMeta, what: str) -> str:
    """An id that follows from the event's owner and cause."""
    return ids.turn_id(meta.owner, f"{what} {meta.cause}")


def _summarised(meta: EventMeta) -> MemoryEvent:
    triple = Triple(Sealed.of(SECRET), Sealed.of("likes"), Sealed.of(SECRET))
    return types.DaySummarised(
        meta=meta,
        summary_id=ids.summary_id(meta.owner, "2024-03-01"),
        day=date(2024, 3, 1),
        revision=1,
        content=Sealed.of(SECRET),
        memory_ids=(uuid(meta, "memory"),),
        message_ids=(uuid(meta, "message"),),
        triples=(triple,),
        model=SECRET,
        prompt_version="1",
    )


def _asked(meta: EventMeta) -> MemoryEvent:
    return types.ApprovalRequested(
        meta=meta,
        request_id=uuid(meta, "approval"),
        operation=SECRET,
        operation_id=SECRET,
        items=7,
        instruction=Sealed.of(SECRET),
        requested_by=SECRET,
        expires_at=T0 + timedelta(days=1),
        requester_may_decide=False,
    )


def _access(meta: EventMeta, ended: bool) -> MemoryEvent:
    kind = types.AccessEnded if ended else types.AccessBegan
    return kind(meta=meta, access_id=uuid(meta, "access"), subject=SECRET, kind="session", session_id=Sealed.of(SECRET))


def _exported(meta: EventMeta) -> MemoryEvent:
    path = Sealed.of(f"/exports/{SECRET}.jsonl")
    return types.MemoriesExported(
        meta=meta, export_id=uuid(meta, "export"), path=path, format=SECRET, memories=12, sha256="ab" * 32
    )


OUTCOME = StoreOutcome(SECRET, 3)
OTHERS: dict[type[MemoryEvent], Callable[[EventMeta], MemoryEvent]] = {
    types.DaySummarised: _summarised,
    types.CommandRejected: lambda meta: types.CommandRejected(meta, "Pin", SECRET),
    types.AccessBegan: lambda meta: _access(meta, ended=False),
    types.AccessEnded: lambda meta: _access(meta, ended=True),
    types.OwnerAliased: lambda meta: types.OwnerAliased(meta, Sealed.of(SECRET), SECRET),
    types.PolicySet: lambda meta: types.PolicySet(meta, SECRET, SECRET, 2),
    types.SettingSet: lambda meta: types.SettingSet(meta, SECRET, Sealed.of(SECRET), SECRET, 3),
    types.ApprovalRequested: _asked,
    types.ApprovalGranted: lambda meta: types.ApprovalGranted(meta, uuid(meta, "approval"), SECRET),
    types.ApprovalDenied: lambda meta: types.ApprovalDenied(meta, uuid(meta, "approval"), SECRET),
    types.ApprovalExpired: lambda meta: types.ApprovalExpired(meta, uuid(meta, "approval")),
    types.MemoriesExported: _exported,
    types.ViewPromoted: lambda meta: types.ViewPromoted(meta, SECRET, 4, SECRET),
    types.StoreCleared: lambda meta: types.StoreCleared(meta, uuid(meta, "forget"), OUTCOME),
    types.ReceiptIssued: lambda meta: types.ReceiptIssued(
        meta, uuid(meta, "receipt"), uuid(meta, "forget"), (OUTCOME,), (SECRET,)
    ),
    types.ParkedDropped: lambda meta: types.ParkedDropped(meta, uuid(meta, "parked"), SECRET),
}
