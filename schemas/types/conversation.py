"""Turns of conversations: as producers send them, and as they were admitted."""

from __future__ import annotations

from datetime import datetime

from msgspec import field

from schemas.sealed import Sealed
from schemas.types.values import ToolCall
from schemas.value import Value


class InboxMessage(Value, frozen=True):
    """One utterance as its producer sends it: plain."""

    role: str
    content: str
    id: str | None = None
    name: str | None = None
    image_caption: str | None = None
    sent_at: datetime | None = None


class InboxToolCall(Value, frozen=True):
    """One call of a tool as its producer sends it: plain."""

    name: str
    arguments: str | None = None
    result: str | None = None


class InboxTurn(Value, frozen=True):
    """One turn as an outside producer sends it: untrusted, plain."""

    owner: str
    session_id: str
    messages: tuple[InboxMessage, ...]
    id: str | None = None
    agent_id: str | None = None
    occurred_at: datetime | None = None
    tool_calls: tuple[InboxToolCall, ...] = ()
    model_messages: str | None = None
    skill: str | None = None
    latency_ms: dict[str, float] = field(default_factory=dict)


class Message(Value, frozen=True):
    """One utterance; message_id is unique within its owner."""

    message_id: str
    role: str
    content: Sealed
    producer_id: Sealed | None = None
    name: Sealed | None = None
    image_caption: Sealed | None = None
    sent_at: datetime | None = None


class ConversationTurn(Value, frozen=True):
    """One admitted turn of a conversation."""

    turn_id: str
    owner: str
    user_id: Sealed
    agent_id: str
    session_id: Sealed
    occurred_at: datetime
    messages: tuple[Message, ...]
    tool_calls: tuple[ToolCall, ...] = ()
    model_messages: Sealed | None = None
    skill: str | None = None
    latency_ms: dict[str, float] = field(default_factory=dict)
