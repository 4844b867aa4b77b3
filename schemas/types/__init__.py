"""Python types of the records on the topics; field for field the Avro files in ``avro/``.

Times are aware UTC datetimes, ids are canonical UUID text, fingerprints hex. What is about a person is ``Sealed``.
"""

from __future__ import annotations

from schemas.sealed import Sealed
from schemas.types.conversation import ConversationTurn, InboxMessage, InboxToolCall, InboxTurn, Message
from schemas.types.memory_commands import (
    ConsolidateDay,
    Fact,
    FactAction,
    FactsExtracted,
    Forget,
    Link,
    Pin,
    Reheat,
    Remember,
    Revise,
    Unlink,
    Unpin,
)
from schemas.types.memory_events import (
    CommandNoted,
    CommandRejected,
    DaySummarised,
    MemoriesLinked,
    MemoriesUnlinked,
    MemoryAdded,
    MemoryDownshifted,
    MemoryForgotten,
    MemoryPinned,
    MemoryReheated,
    MemoryRevised,
    MemoryUnpinned,
)
from schemas.types.operations import (
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
from schemas.types.owner import (
    AccessBegan,
    AccessEnded,
    AccessKind,
    AliasOwner,
    ApprovalDecision,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRequested,
    BeginAccess,
    DecideApproval,
    EndAccess,
    EraseOwner,
    OwnerAliased,
    OwnerErased,
    PolicySet,
    RequestApproval,
    SetPolicy,
    SetSetting,
    SettingSet,
)
from schemas.types.stores import (
    MemoryCurrent,
    MemoryEmbedding,
    MessageEmbedding,
    ParkedResolved,
    ParkedRetryRequested,
    WorkParked,
)
from schemas.types.values import (
    CommandMeta,
    Downshift,
    Entity,
    EventMeta,
    MessageRef,
    SourceRef,
    StoreOutcome,
    ThermalPolicy,
    ToolCall,
    Triple,
)

Command = (
    FactsExtracted
    | Remember
    | Reheat
    | Pin
    | Unpin
    | Revise
    | Link
    | Unlink
    | Forget
    | ConsolidateDay
    | EraseOwner
    | BeginAccess
    | EndAccess
    | AliasOwner
    | SetPolicy
    | SetSetting
    | RequestApproval
    | DecideApproval
    | RecordExport
    | PromoteView
    | ConfirmCleared
    | IssueReceipt
    | DropParked
)
MemoryEvent = (
    MemoryAdded
    | MemoryReheated
    | MemoryRevised
    | MemoryPinned
    | MemoryUnpinned
    | MemoriesLinked
    | MemoriesUnlinked
    | MemoryDownshifted
    | MemoryForgotten
    | DaySummarised
    | CommandNoted
    | CommandRejected
    | OwnerErased
    | AccessBegan
    | AccessEnded
    | OwnerAliased
    | PolicySet
    | SettingSet
    | ApprovalRequested
    | ApprovalGranted
    | ApprovalDenied
    | ApprovalExpired
    | MemoriesExported
    | ViewPromoted
    | StoreCleared
    | ReceiptIssued
    | ParkedDropped
)
ParkedRecord = WorkParked | ParkedRetryRequested | ParkedResolved
Record = InboxTurn | ConversationTurn | Command | MemoryEvent | MemoryEmbedding | MessageEmbedding | MemoryCurrent | ParkedRecord

COMMANDS: tuple[type[Command], ...] = (
    FactsExtracted,
    Remember,
    Reheat,
    Pin,
    Unpin,
    Revise,
    Link,
    Unlink,
    Forget,
    ConsolidateDay,
    EraseOwner,
    BeginAccess,
    EndAccess,
    AliasOwner,
    SetPolicy,
    SetSetting,
    RequestApproval,
    DecideApproval,
    RecordExport,
    PromoteView,
    ConfirmCleared,
    IssueReceipt,
    DropParked,
)
EVENTS: tuple[type[MemoryEvent], ...] = (
    MemoryAdded,
    MemoryReheated,
    MemoryRevised,
    MemoryPinned,
    MemoryUnpinned,
    MemoriesLinked,
    MemoriesUnlinked,
    MemoryDownshifted,
    MemoryForgotten,
    DaySummarised,
    CommandNoted,
    CommandRejected,
    OwnerErased,
    AccessBegan,
    AccessEnded,
    OwnerAliased,
    PolicySet,
    SettingSet,
    ApprovalRequested,
    ApprovalGranted,
    ApprovalDenied,
    ApprovalExpired,
    MemoriesExported,
    ViewPromoted,
    StoreCleared,
    ReceiptIssued,
    ParkedDropped,
)
RECORDS: tuple[type[Record], ...] = (
    InboxTurn,
    ConversationTurn,
    *COMMANDS,
    *EVENTS,
    MemoryEmbedding,
    MessageEmbedding,
    MemoryCurrent,
    WorkParked,
    ParkedRetryRequested,
    ParkedResolved,
)

__all__ = [
    "COMMANDS",
    "EVENTS",
    "RECORDS",
    "AccessBegan",
    "AccessEnded",
    "AccessKind",
    "AliasOwner",
    "ApprovalDecision",
    "ApprovalDenied",
    "ApprovalExpired",
    "ApprovalGranted",
    "ApprovalRequested",
    "BeginAccess",
    "Command",
    "CommandMeta",
    "CommandNoted",
    "CommandRejected",
    "ConfirmCleared",
    "ConsolidateDay",
    "ConversationTurn",
    "DaySummarised",
    "DecideApproval",
    "Downshift",
    "DropParked",
    "EndAccess",
    "Entity",
    "EraseOwner",
    "EventMeta",
    "Fact",
    "FactAction",
    "FactsExtracted",
    "Forget",
    "InboxMessage",
    "InboxToolCall",
    "InboxTurn",
    "IssueReceipt",
    "Link",
    "MemoriesExported",
    "MemoriesLinked",
    "MemoriesUnlinked",
    "MemoryAdded",
    "MemoryCurrent",
    "MemoryDownshifted",
    "MemoryEmbedding",
    "MemoryEvent",
    "MemoryForgotten",
    "MemoryPinned",
    "MemoryReheated",
    "MemoryRevised",
    "MemoryUnpinned",
    "Message",
    "MessageEmbedding",
    "MessageRef",
    "OwnerAliased",
    "OwnerErased",
    "ParkedDropped",
    "ParkedRecord",
    "ParkedResolved",
    "ParkedRetryRequested",
    "Pin",
    "PolicySet",
    "PromoteView",
    "ReceiptIssued",
    "Record",
    "RecordExport",
    "Reheat",
    "Remember",
    "RequestApproval",
    "Revise",
    "Sealed",
    "SetPolicy",
    "SetSetting",
    "SettingSet",
    "SourceRef",
    "StoreCleared",
    "StoreOutcome",
    "ThermalPolicy",
    "ToolCall",
    "Triple",
    "Unlink",
    "Unpin",
    "ViewPromoted",
    "WorkParked",
]
