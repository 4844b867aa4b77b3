"""Commands and events about owners: erasure, access, aliases, policies, settings, approvals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from schemas.sealed import Sealed
from schemas.types.values import CommandMeta, EventMeta

AccessKind = Literal["session", "member"]
ApprovalDecision = Literal["grant", "deny", "expire"]


@dataclass(frozen=True, slots=True)
class EraseOwner:
    """Command: forget everything of an owner."""

    meta: CommandMeta
    conversation_end_offset: int


@dataclass(frozen=True, slots=True)
class OwnerErased:
    """Event: everything of the owner leaves every store."""

    meta: EventMeta
    conversation_end_offset: int
    memories: int


@dataclass(frozen=True, slots=True)
class BeginAccess:
    """Command: somebody may read this owner's memories: during a session with a company, or as a member of a shared owner."""

    meta: CommandMeta
    access_id: str
    subject: str
    kind: AccessKind
    session_id: Sealed | None = None


@dataclass(frozen=True, slots=True)
class AccessBegan:
    """Event: from now on the subject may read."""

    meta: EventMeta
    access_id: str
    subject: str
    kind: AccessKind
    session_id: Sealed | None = None


@dataclass(frozen=True, slots=True)
class EndAccess:
    """Command: an access ends."""

    meta: CommandMeta
    access_id: str


@dataclass(frozen=True, slots=True)
class AccessEnded:
    """Event: from now on this access allows nothing."""

    meta: EventMeta
    access_id: str
    subject: str
    kind: AccessKind
    session_id: Sealed | None = None


@dataclass(frozen=True, slots=True)
class AliasOwner:
    """Command: the owner is also known by another id."""

    meta: CommandMeta
    alias: Sealed
    alias_fingerprint: str


@dataclass(frozen=True, slots=True)
class OwnerAliased:
    """Event: the owner is also known by another id."""

    meta: EventMeta
    alias: Sealed
    alias_fingerprint: str


@dataclass(frozen=True, slots=True)
class SetPolicy:
    """Command: a policy gets a value; issuers put the values in force into their commands."""

    meta: CommandMeta
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class PolicySet:
    """Event: a policy has a new value."""

    meta: EventMeta
    name: str
    value: str
    version: int


@dataclass(frozen=True, slots=True)
class SetSetting:
    """Command: a setting gets a value."""

    meta: CommandMeta
    name: str
    value: Sealed
    value_fingerprint: str


@dataclass(frozen=True, slots=True)
class SettingSet:
    """Event: a setting has a new value."""

    meta: EventMeta
    name: str
    value: Sealed
    value_fingerprint: str
    version: int


@dataclass(frozen=True, slots=True)
class RequestApproval:
    """Command: a command waits for somebody's word."""

    meta: CommandMeta
    request_id: str
    operation: str
    operation_id: str
    items: int
    instruction: Sealed | None
    expires_at: datetime
    requester_may_decide: bool = False


@dataclass(frozen=True, slots=True)
class ApprovalRequested:
    """Event: a command waits for somebody's word."""

    meta: EventMeta
    request_id: str
    operation: str
    operation_id: str
    items: int
    instruction: Sealed | None
    requested_by: str
    expires_at: datetime
    requester_may_decide: bool


@dataclass(frozen=True, slots=True)
class DecideApproval:
    """Command: somebody's word on a waiting command; a schedule says that it expired."""

    meta: CommandMeta
    request_id: str
    decision: ApprovalDecision


@dataclass(frozen=True, slots=True)
class ApprovalGranted:
    """Event: the waiting command may be issued until the approval expires."""

    meta: EventMeta
    request_id: str
    decided_by: str


@dataclass(frozen=True, slots=True)
class ApprovalDenied:
    """Event: the waiting command must not be issued."""

    meta: EventMeta
    request_id: str
    decided_by: str


@dataclass(frozen=True, slots=True)
class ApprovalExpired:
    """Event: nobody decided in time."""

    meta: EventMeta
    request_id: str
