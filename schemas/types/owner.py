"""Commands and events about owners: erasure, access, aliases, policies, settings, approvals."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from schemas.sealed import Sealed
from schemas.types.values import CommandMeta, EventMeta
from schemas.value import Value

AccessKind = Literal["session", "member"]
ApprovalDecision = Literal["grant", "deny", "expire"]


class EraseOwner(Value, frozen=True):
    """Command: forget everything of an owner."""

    meta: CommandMeta
    conversation_end_offset: int


class OwnerErased(Value, frozen=True):
    """Event: everything of the owner leaves every store."""

    meta: EventMeta
    conversation_end_offset: int
    memories: int


class BeginAccess(Value, frozen=True):
    """Command: somebody may read this owner's memories: during a session with a company, or as a member of a shared owner."""

    meta: CommandMeta
    access_id: str
    subject: str
    kind: AccessKind
    session_id: Sealed | None = None


class AccessBegan(Value, frozen=True):
    """Event: from now on the subject may read."""

    meta: EventMeta
    access_id: str
    subject: str
    kind: AccessKind
    session_id: Sealed | None = None


class EndAccess(Value, frozen=True):
    """Command: an access ends."""

    meta: CommandMeta
    access_id: str


class AccessEnded(Value, frozen=True):
    """Event: from now on this access allows nothing."""

    meta: EventMeta
    access_id: str
    subject: str
    kind: AccessKind
    session_id: Sealed | None = None


class AliasOwner(Value, frozen=True):
    """Command: the owner is also known by another id."""

    meta: CommandMeta
    alias: Sealed
    alias_fingerprint: str


class OwnerAliased(Value, frozen=True):
    """Event: the owner is also known by another id."""

    meta: EventMeta
    alias: Sealed
    alias_fingerprint: str


class SetPolicy(Value, frozen=True):
    """Command: a policy gets a value; issuers put the values in force into their commands."""

    meta: CommandMeta
    name: str
    value: str


class PolicySet(Value, frozen=True):
    """Event: a policy has a new value."""

    meta: EventMeta
    name: str
    value: str
    version: int


class SetSetting(Value, frozen=True):
    """Command: a setting gets a value."""

    meta: CommandMeta
    name: str
    value: Sealed
    value_fingerprint: str


class SettingSet(Value, frozen=True):
    """Event: a setting has a new value."""

    meta: EventMeta
    name: str
    value: Sealed
    value_fingerprint: str
    version: int


class RequestApproval(Value, frozen=True):
    """Command: a command waits for somebody's word."""

    meta: CommandMeta
    request_id: str
    operation: str
    operation_id: str
    items: int
    instruction: Sealed | None
    expires_at: datetime
    requester_may_decide: bool = False


class ApprovalRequested(Value, frozen=True):
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


class DecideApproval(Value, frozen=True):
    """Command: somebody's word on a waiting command; a schedule says that it expired."""

    meta: CommandMeta
    request_id: str
    decision: ApprovalDecision


class ApprovalGranted(Value, frozen=True):
    """Event: the waiting command may be issued until the approval expires."""

    meta: EventMeta
    request_id: str
    decided_by: str


class ApprovalDenied(Value, frozen=True):
    """Event: the waiting command must not be issued."""

    meta: EventMeta
    request_id: str
    decided_by: str


class ApprovalExpired(Value, frozen=True):
    """Event: nobody decided in time."""

    meta: EventMeta
    request_id: str
