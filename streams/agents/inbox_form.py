"""The form of the inbox: what a producer may send, and how it is told what was wrong with it.

JSON and Avro (``InboxTurn``) are told apart by the framing. Validation errors name fields and rules, never values.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from schemas import codec
from schemas.errors import ContractError
from schemas.types import InboxMessage, InboxToolCall, InboxTurn
from schemas.wire import is_avro
from streams.failures import Refused

MAX_RECORD_BYTES = 900_000
MAX_MESSAGES = 200
MAX_CONTENT_CHARS = 100_000
MAX_MODEL_MESSAGES_CHARS = 500_000
MAX_TOOL_CALLS = 200
MAX_LATENCIES = 64
MAX_ID_CHARS = 256


def _clean(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL byte")
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise ValueError("holds half of a surrogate pair")
    return text


def _as_json(value: Any) -> str | None:
    """JSON text of any JSON value. A text that is JSON already stays as it is: clients of models hand arguments on as text."""
    if value is None or (isinstance(value, str) and _is_json(value)):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError):
        # not chained, and not its text: that quotes numbers
        raise ValueError("holds a value that JSON text cannot hold") from None


def _is_json(text: str) -> bool:
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError:
        return False
    return True


Text = Annotated[str, AfterValidator(_clean)]
Id = Annotated[Text, Field(min_length=1, max_length=MAX_ID_CHARS)]
Json = Annotated[Text, BeforeValidator(_as_json), Field(max_length=MAX_CONTENT_CHARS)]
ModelMessages = Annotated[Text, BeforeValidator(_as_json), Field(max_length=MAX_MODEL_MESSAGES_CHARS)]
Milliseconds = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]


class _Form(BaseModel):
    """Unknown fields are ignored, so that producers may send more."""

    model_config = ConfigDict(protected_namespaces=())


class InboxMessageForm(_Form):
    """Form of one message in the inbox."""

    role: Literal["user", "assistant", "system", "tool"]
    content: Annotated[Text, Field(min_length=1, max_length=MAX_CONTENT_CHARS)]
    id: Id | None = None
    name: Id | None = None
    image_caption: Annotated[Text, Field(max_length=MAX_CONTENT_CHARS)] | None = None
    sent_at: AwareDatetime | None = None


class InboxToolCallForm(_Form):
    """Form of one call of a tool."""

    name: Id
    arguments: Json | None = None
    result: Json | None = None


class InboxTurnForm(_Form):
    """Form of one turn in the inbox."""

    owner: Annotated[Text, Field(min_length=1, max_length=3 * MAX_ID_CHARS)]
    session_id: Id
    messages: Annotated[list[InboxMessageForm], Field(min_length=1, max_length=MAX_MESSAGES)]
    id: Id | None = None
    agent_id: Id | None = None
    occurred_at: AwareDatetime | None = None
    tool_calls: Annotated[list[InboxToolCallForm], Field(max_length=MAX_TOOL_CALLS)] | None = None
    model_messages: ModelMessages | None = None
    skill: Id | None = None
    latency_ms: Annotated[dict[Id, Milliseconds], Field(max_length=MAX_LATENCIES)] | None = None

    def turn(self) -> InboxTurn:
        """The same in the contract's type, as a producer sends it in Avro."""
        return InboxTurn(
            owner=self.owner,
            session_id=self.session_id,
            messages=tuple(InboxMessage(m.role, m.content, m.id, m.name, m.image_caption, m.sent_at) for m in self.messages),
            id=self.id,
            agent_id=self.agent_id,
            occurred_at=self.occurred_at,
            tool_calls=tuple(InboxToolCall(c.name, c.arguments, c.result) for c in self.tool_calls or ()),
            model_messages=self.model_messages,
            skill=self.skill,
            latency_ms=self.latency_ms or {},
        )


_FIELDS = {name for form in (InboxTurnForm, InboxMessageForm, InboxToolCallForm) for name in form.model_fields}


def read_form(value: bytes | None) -> InboxTurnForm:
    """The filled form in an inbox record. Raises Refused with a reason free of content."""
    if not value:
        raise Refused("the record is empty")
    if len(value) > MAX_RECORD_BYTES:
        raise Refused(f"the record exceeds {MAX_RECORD_BYTES} bytes")
    try:
        if is_avro(value):
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
        # a key that the producer made up, as of a latency, is content: only places in lists and our own names are shown
        where = ".".join(str(part) for part in fault["loc"] if isinstance(part, int) or part in _FIELDS) or "record"
        rule = str(fault["msg"]) if fault["type"] == "value_error" else str(fault["type"]).replace("_", " ")
        faults.append(f"{where}: {rule.removeprefix('Value error, ')}")
    return "; ".join(faults)
