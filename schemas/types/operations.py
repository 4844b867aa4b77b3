"""Commands and events by which operations leave their trace: exports, promotions, cleared stores, receipts, dropped work."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.sealed import Sealed
from schemas.types.values import CommandMeta, EventMeta, StoreOutcome


@dataclass(frozen=True, slots=True)
class RecordExport:
    """Command: memories were written to a file."""

    meta: CommandMeta
    export_id: str
    path: Sealed
    format: str
    memories: int
    sha256: str


@dataclass(frozen=True, slots=True)
class MemoriesExported:
    """Event: memories were written to a file."""

    meta: EventMeta
    export_id: str
    path: Sealed
    format: str
    memories: int
    sha256: str


@dataclass(frozen=True, slots=True)
class PromoteView:
    """Command: readers see another generation of a view."""

    meta: CommandMeta
    view: str
    generation: int
    digest: str


@dataclass(frozen=True, slots=True)
class ViewPromoted:
    """Event: readers see another generation of a view."""

    meta: EventMeta
    view: str
    generation: int
    digest: str


@dataclass(frozen=True, slots=True)
class ConfirmCleared:
    """Command: a side store confirms that what was to be forgotten is gone."""

    meta: CommandMeta
    forget_id: str
    outcome: StoreOutcome


@dataclass(frozen=True, slots=True)
class StoreCleared:
    """Event: a side store confirmed that what was to be forgotten is gone."""

    meta: EventMeta
    forget_id: str
    outcome: StoreOutcome


@dataclass(frozen=True, slots=True)
class IssueReceipt:
    """Command: what a forgetting destroyed where."""

    meta: CommandMeta
    receipt_id: str
    forget_id: str
    outcomes: tuple[StoreOutcome, ...]
    remaining_message_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReceiptIssued:
    """Event: what a forgetting destroyed where."""

    meta: EventMeta
    receipt_id: str
    forget_id: str
    outcomes: tuple[StoreOutcome, ...]
    remaining_message_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DropParked:
    """Command: a person gave parked work up."""

    meta: CommandMeta
    parked_id: str
    stage: str


@dataclass(frozen=True, slots=True)
class ParkedDropped:
    """Event: a person gave parked work up."""

    meta: EventMeta
    parked_id: str
    stage: str
