"""Commands and events by which operations leave their trace: exports, promotions, cleared stores, receipts, dropped work."""

from __future__ import annotations

from schemas.sealed import Sealed
from schemas.types.values import CommandMeta, EventMeta, StoreOutcome
from schemas.value import Value


class RecordExport(Value, frozen=True):
    """Command: memories were written to a file."""

    meta: CommandMeta
    export_id: str
    path: Sealed
    format: str
    memories: int
    sha256: str


class MemoriesExported(Value, frozen=True):
    """Event: memories were written to a file."""

    meta: EventMeta
    export_id: str
    path: Sealed
    format: str
    memories: int
    sha256: str


class PromoteView(Value, frozen=True):
    """Command: readers see another generation of a view."""

    meta: CommandMeta
    view: str
    generation: int
    digest: str


class ViewPromoted(Value, frozen=True):
    """Event: readers see another generation of a view."""

    meta: EventMeta
    view: str
    generation: int
    digest: str


class ConfirmCleared(Value, frozen=True):
    """Command: a side store confirms that what was to be forgotten is gone."""

    meta: CommandMeta
    forget_id: str
    outcome: StoreOutcome


class StoreCleared(Value, frozen=True):
    """Event: a side store confirmed that what was to be forgotten is gone."""

    meta: EventMeta
    forget_id: str
    outcome: StoreOutcome


class IssueReceipt(Value, frozen=True):
    """Command: what a forgetting destroyed where."""

    meta: CommandMeta
    receipt_id: str
    forget_id: str
    outcomes: tuple[StoreOutcome, ...]
    remaining_message_ids: tuple[str, ...]


class ReceiptIssued(Value, frozen=True):
    """Event: what a forgetting destroyed where."""

    meta: EventMeta
    receipt_id: str
    forget_id: str
    outcomes: tuple[StoreOutcome, ...]
    remaining_message_ids: tuple[str, ...]


class DropParked(Value, frozen=True):
    """Command: a person gave parked work up."""

    meta: CommandMeta
    parked_id: str
    stage: str


class ParkedDropped(Value, frozen=True):
    """Event: a person gave parked work up."""

    meta: EventMeta
    parked_id: str
    stage: str
