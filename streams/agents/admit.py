"""Admission: what an untrusted producer sent becomes a turn, or is parked with the reason.

JSON and Avro (``InboxTurn``) are told apart by the Avro marker. Validation errors name fields and rules, never values.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from schemas import codec, ids
from schemas.errors import BadOwner, ContractError
from schemas.owner import Owner
from schemas.types import ConversationTurn, InboxTurn, Message
from streams.stage import Refused

MAX_RECORD_BYTES = 900_000
MAX_MESSAGES = 200
MAX_CONTENT_CHARS = 100_000
MAX_ID_CHARS = 256
MAX_FUTURE = timedelta(days=1)
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
DEFAULT_AGENT = "default"


def _clean(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL byte")
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise ValueError("holds half of a surrogate pair")
    return text


Text = Annotated[str, AfterValidator(_clean)]
Id = Annotated[Text, Field(min_length=1, max_length=MAX_ID_CHARS)]


class InboxMessageForm(BaseModel):
    """Form of one message in the inbox; unknown fields are ignored, so that producers may send more."""

    model_config = ConfigDict(strict=False, str_strip_whitespace=False)
    role: Literal["user", "assistant", "system", "tool"]
    content: Annotated[Text, Field(min_length=1, max_length=MAX_CONTENT_CHARS)]
    id: Id | None = None
    name: Id | None = None
    image_caption: Annotated[Text, Field(max_length=MAX_CONTENT_CHARS)] | None = None
    sent_at: AwareDatetime | None = None


class InboxTurnForm(BaseModel):
    """Form of one turn in the inbox."""

    owner: Annotated[Text, Field(min_length=1, max_length=3 * MAX_ID_CHARS)]
    session_id: Id
    messages: Annotated[list[InboxMessageForm], Field(min_length=1, max_length=MAX_MESSAGES)]
    id: Id | None = None
    agent_id: Id | None = None
    occurred_at: AwareDatetime | None = None


@dataclass(frozen=True, slots=True)
class InboxPosition:
    """Where a record stands in the inbox, and the time that the broker or producer gave it."""

    topic: str
    partition: int
    offset: int
    timestamp: datetime


def admit(value: bytes | None, at: InboxPosition, now: datetime) -> ConversationTurn:
    """The turn in an inbox record. Raises Refused with a reason free of content. ``now`` only guards against dates to come."""
    form = _read(value)
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
        user_id=owner.id,
        agent_id=form.agent_id or DEFAULT_AGENT,
        session_id=form.session_id,
        occurred_at=occurred_at,
        messages=_messages(form, turn),
    )


def _messages(form: InboxTurnForm, turn: str) -> tuple[Message, ...]:
    messages = tuple(
        Message(
            message_id=m.id if m.id is not None else ids.message_id(turn, i),
            role=m.role,
            content=m.content,
            name=m.name,
            image_caption=m.image_caption,
            sent_at=m.sent_at.astimezone(UTC) if m.sent_at else None,
        )
        for i, m in enumerate(form.messages)
    )
    if len({m.message_id for m in messages}) < len(messages):
        raise Refused("two messages of the turn have the same id")
    return messages


def _read(value: bytes | None) -> InboxTurnForm:
    if not value:
        raise Refused("the record is empty")
    if len(value) > MAX_RECORD_BYTES:
        raise Refused(f"the record exceeds {MAX_RECORD_BYTES} bytes")
    try:
        if value[:2] == codec.MARKER:
            turn = codec.decode_as(InboxTurn, value)
            return InboxTurnForm.model_validate(turn, from_attributes=True)
        return InboxTurnForm.model_validate_json(value)
    except ValidationError as error:
        raise Refused(_explain(error)) from None
    except ContractError as error:
        raise Refused(f"broken Avro: {error}") from None
    except RecursionError:
        raise Refused("broken JSON: nested too deeply") from None


def _explain(error: ValidationError) -> str:
    """The first few faults as field and rule. Pydantic's own text can quote values, so only its error types are used."""
    faults = []
    for fault in error.errors(include_input=False, include_url=False, include_context=True)[:5]:
        # a location holds our field names and list places; a key that the producer made up cannot be in it
        where = ".".join(str(part) for part in fault["loc"]) or "record"
        rule = str(fault["msg"]) if fault["type"] == "value_error" else str(fault["type"]).replace("_", " ")
        faults.append(f"{where}: {rule.removeprefix('Value error, ')}")
    return "; ".join(faults)
