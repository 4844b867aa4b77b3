"""What operations put on record: exports, promotions, cleared stores, receipts, parked work that was given up."""

from __future__ import annotations

from schemas.types import (
    ConfirmCleared,
    DropParked,
    IssueReceipt,
    MemoriesExported,
    ParkedDropped,
    PromoteView,
    ReceiptIssued,
    RecordExport,
    StoreCleared,
    ViewPromoted,
)
from streams.decider.draft import Draft


def record_export(draft: Draft, command: RecordExport) -> None:
    """Counts are not negative."""
    if command.memories < 0:
        return draft.reject("a count is not negative")
    return draft.emit(
        MemoriesExported(draft.meta(), command.export_id, command.path, command.format, command.memories, command.sha256)
    )


def promote_view(draft: Draft, command: PromoteView) -> None:
    """Generations count from 1."""
    if command.generation < 1:
        return draft.reject("generations count from 1")
    return draft.emit(ViewPromoted(draft.meta(), command.view, command.generation, command.digest))


def confirm_cleared(draft: Draft, command: ConfirmCleared) -> None:
    """Only what was asked to be forgotten can be confirmed."""
    if not draft.state.did_forget(command.forget_id):
        return draft.reject("no forgetting of that id was decided")
    if command.outcome.removed < 0:
        return draft.reject("a count is not negative")
    return draft.emit(StoreCleared(draft.meta(), command.forget_id, command.outcome))


def issue_receipt(draft: Draft, command: IssueReceipt) -> None:
    """Only what was asked to be forgotten gets a receipt."""
    if not draft.state.did_forget(command.forget_id):
        return draft.reject("no forgetting of that id was decided")
    if any(outcome.removed < 0 for outcome in command.outcomes):
        return draft.reject("a count is not negative")
    return draft.emit(
        ReceiptIssued(draft.meta(), command.receipt_id, command.forget_id, command.outcomes, command.remaining_message_ids)
    )


def drop_parked(draft: Draft, command: DropParked) -> None:
    """Put on record that a person gave work up."""
    draft.emit(ParkedDropped(draft.meta(), command.parked_id, command.stage))
