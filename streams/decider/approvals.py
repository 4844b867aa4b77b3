"""Approvals: asked for, decided by somebody else, good for one command and until they expire."""

from __future__ import annotations

from schemas.types import (
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRequested,
    DecideApproval,
    RequestApproval,
)
from streams.decider.draft import Draft
from streams.decider.state import ApprovalState


def obstacle(draft: Draft) -> str:
    """Why the command's approval does not allow it now; empty where nothing stands in its way.

    An approval names one command by its id, and an id is decided once: it cannot be used twice.
    """
    command = draft.command
    if command.approval_id is None:
        return "it needs an approval and names none" if command.approval_required else ""
    approval = draft.state.approval(command.approval_id)
    if approval is None:
        return "its approval is unknown"
    if approval.operation_id != command.command_id or approval.operation != draft.command_type:
        return "its approval is for another command"
    if approval.status != "granted":
        return f"its approval is {approval.status}"
    return "its approval has expired" if draft.now >= approval.expires_at else ""


def request_approval(draft: Draft, command: RequestApproval) -> None:
    """A request is opened once; what has expired before it was asked for is rejected."""
    if draft.state.approval(command.request_id) is not None:
        return draft.note("the approval was asked for before")
    if command.items < 0:
        return draft.reject("a count is not negative")
    if command.expires_at <= draft.now:
        return draft.reject("it would have expired before it was asked for")
    return draft.emit(
        ApprovalRequested(
            meta=draft.meta(),
            request_id=command.request_id,
            operation=command.operation,
            operation_id=command.operation_id,
            items=command.items,
            instruction=command.instruction,
            requested_by=draft.command.actor,
            expires_at=command.expires_at,
            requester_may_decide=command.requester_may_decide,
        )
    )


def decide_approval(draft: Draft, command: DecideApproval) -> None:
    """The first decision counts. One that comes too late is rejected, and the approval's expiry is put on the log."""
    approval = draft.state.approval(command.request_id)
    if approval is None:
        return draft.reject("the approval is unknown")
    if approval.status != "open":
        same = approval.status == {"grant": "granted", "deny": "denied", "expire": "expired"}[command.decision]
        reason = f"the approval is {approval.status} already"
        return draft.note(reason) if same else draft.reject(reason)
    expired = draft.now >= approval.expires_at
    if command.decision == "expire":
        return _expire(draft, command) if expired else draft.reject("the approval has not expired yet")
    if expired:
        _expire(draft, command)
        return draft.reject("the approval has expired")
    return _word(draft, command, approval)


def _word(draft: Draft, command: DecideApproval, approval: ApprovalState) -> None:
    actor = draft.command.actor
    if command.decision == "deny":
        return draft.emit(ApprovalDenied(draft.meta(), command.request_id, actor))
    if actor == approval.requested_by and not approval.requester_may_decide:
        return draft.reject("the requester may not approve")
    return draft.emit(ApprovalGranted(draft.meta(), command.request_id, actor))


def _expire(draft: Draft, command: DecideApproval) -> None:
    draft.emit(ApprovalExpired(draft.meta(), command.request_id))
