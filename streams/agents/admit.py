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


@dataclass(frozen=True, slots=True)
class Admissible:
    """What an inbox record says, checked. ``named`` is the turn's id as its producer gave it, else the record's own."""

    owner: Owner
    form: InboxTurnForm
    occurred_at: datetime
    named: str

    def turn(self, reference: str) -> ConversationTurn:
        """The turn of the owner who goes by ``reference``, in plain."""
        form, turn = self.form, ids.turn_id(reference, self.named)
        return ConversationTurn(
            turn_id=turn,
            owner=reference,
            user_id=Sealed.of(self.owner.id),
            agent_id=form.agent_id or DEFAULT_AGENT,
            session_id=Sealed.of(form.session_id),
            occurred_at=self.occurred_at,
            messages=_messages(form, reference, turn),
            tool_calls=tuple(ToolCall(c.name, maybe(c.arguments), maybe(c.result)) for c in form.tool_calls or ()),
            model_messages=maybe(form.model_messages),
            skill=form.skill,
            latency_ms=form.latency_ms or {},
        )


def admit(value: bytes | None, at: InboxPosition, now: datetime) -> Admissible:
    """What is in an inbox record. Raises Refused with a reason free of content. ``now`` only guards against dates to come."""
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
    _check_ids(form)
    return Admissible(owner, form, occurred_at, named)


def _check_ids(form: InboxTurnForm) -> None:
    given = [m.id for m in form.messages if m.id is not None]
    if len(set(given)) < len(given):
        raise Refused("two messages of the turn have the same id")


def _messages(form: InboxTurnForm, owner: str, turn: str) -> tuple[Message, ...]:
    return tuple(
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
