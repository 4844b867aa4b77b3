"""Admission: what an untrusted producer sent becomes a turn, or is refused with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from schemas import ids
from schemas.errors import BadOwner
from schemas.owner import Owner
from schemas.sealed import Sealed, maybe
from schemas.types import ConversationTurn, Message, ToolCall
from streams.agents.inbox_form import InboxTurnForm, read_form
from streams.failures import Refused

MAX_FUTURE = timedelta(days=1)
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
DEFAULT_AGENT = "default"


@dataclass(frozen=True, slots=True)
class InboxPosition:
    """Where a record stands in the inbox, and the time that the broker or producer gave it."""

    topic: str
    partition: int
    offset: int
    timestamp: datetime


def admit(value: bytes | None, at: InboxPosition, now: datetime) -> ConversationTurn:
    """The turn in an inbox record. Raises Refused with a reason free of content. ``now`` only guards against dates to come."""
    form = read_form(value)
    try:
        owner = Owner.parse(form.owner)
    except BadOwner as error:
        raise Refused(str(error)) from None
    occurred_at = (form.occurred_at or at.timestamp).astimezone(UTC)
    for moment in (occurred_at, *(m.sent_at for m in form.messages if m.sent_at)):
        if moment > now + MAX_FUTURE:
            raise Refused("a time lies more than a day in the future: check the producer's clock")
        if moment < EARLIEST:
            raise Refused("a time lies before 1970")
    # where the producer gives no id, the inbox position is one: the same record delivered again is the same turn
    named = form.id if form.id is not None else ids.record_id(at.topic, at.partition, at.offset)
    turn = ids.turn_id(owner.reference, named)
    return ConversationTurn(
        turn_id=turn,
        owner=owner.reference,
        user_id=Sealed.of(owner.id),
        agent_id=form.agent_id or DEFAULT_AGENT,
        session_id=Sealed.of(form.session_id),
        occurred_at=occurred_at,
        messages=_messages(form, owner.reference, turn),
        tool_calls=tuple(ToolCall(c.name, maybe(c.arguments), maybe(c.result)) for c in form.tool_calls or ()),
        model_messages=maybe(form.model_messages),
        skill=form.skill,
        latency_ms=form.latency_ms or {},
    )


def _messages(form: InboxTurnForm, owner: str, turn: str) -> tuple[Message, ...]:
    messages = tuple(
        Message(
            message_id=ids.message_reference(owner, m.id) if m.id is not None else ids.message_id(turn, i),
            role=m.role,
            content=Sealed.of(m.content),
            producer_id=maybe(m.id),
            name=maybe(m.name),
            image_caption=maybe(m.image_caption),
            sent_at=m.sent_at.astimezone(UTC) if m.sent_at else None,
        )
        for i, m in enumerate(form.messages)
    )
    if len({m.message_id for m in messages}) < len(messages):
        raise Refused("two messages of the turn have the same id")
    return messages
