"""Rows of the capture view: an utterance with its answer, and what must be remembered to pair and to forget them."""

from __future__ import annotations

from collections.abc import Set
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from msgspec.structs import replace

from projections.records import Placed
from projections.rows import Int4, Json, Row, table_of, uuid_of
from schemas.sealed import Sealed, left_of
from schemas.types import ConversationTurn, Message, SourceRef


class Interaction(Row, frozen=True):
    """An utterance of a user with the answer to it.

    ``tool_calls`` are objects of name, args and result. What a turn says beside its messages belongs to the utterance that is
    the session's last when the turn ends; ``turn_ids`` are these turns, ``answer_ids`` the messages that answer. Once a message
    of the answer is destroyed the response is null, once one of the turns is (``details_gone``) ``tool_calls`` and
    ``llm_messages`` are empty: for good.
    """

    owner: UUID
    message_id: str
    session_id: str
    user_id: str
    timestamp: datetime
    user_transcript: str
    llm_messages: Json
    tool_calls: Json
    assistant_response: str | None
    skill_used: str | None
    latency_ms: Json
    answer_ids: list[str]
    turn_ids: list[str]
    details_gone: bool
    partition: Int4
    conversation_offset: int
    place: Int4


class Seen(Row, frozen=True):
    """A message that was taken: one that comes again changes nothing."""

    owner: UUID
    message_id: str


class Session(Row, frozen=True):
    """The last utterance of a session, to which the next answer belongs, whether it is still there or not."""

    owner: UUID
    session_id: str
    message_id: str


class Evidence(Row, frozen=True):
    """A message that a memory was learnt from, and its turn."""

    memory_id: UUID
    message_id: str
    owner: UUID
    turn_id: str


class Gone(Row, frozen=True):
    """A message or turn whose key is destroyed."""

    owner: UUID
    id: str


class Erased(Row, frozen=True):
    """An owner who was erased."""

    owner: UUID


INTERACTION = table_of(
    Interaction,
    "interactions",
    key=("owner", "message_id"),
    lookups=("owner",),
    indexes=("(owner, timestamp)", "(timestamp)"),
    clustered=True,
)
SEEN = table_of(Seen, "capture_message", key=("owner", "message_id"), lookups=("owner",))
SESSION = table_of(Session, "capture_session", key=("owner", "session_id"), lookups=("owner",))
EVIDENCE = table_of(
    Evidence, "capture_evidence", key=("memory_id", "message_id"), lookups=("memory_id", "owner"), indexes=("(owner)",)
)
GONE = table_of(Gone, "capture_gone", key=("owner", "id"), lookups=("owner",))
ERASED = table_of(Erased, "capture_erased", key=("owner",))


def asked(placed: Placed, turn: ConversationTurn, place: int, message: Message) -> Interaction:
    """The row of an utterance that nobody has answered yet."""
    return Interaction(
        owner=uuid_of(turn.owner),
        message_id=message.message_id,
        session_id=left_of(turn.session_id),
        user_id=left_of(turn.user_id),
        timestamp=message.sent_at or turn.occurred_at,
        user_transcript=message.content.text,
        llm_messages=[],
        tool_calls=[],
        assistant_response=None,
        skill_used=None,
        latency_ms={},
        answer_ids=[],
        turn_ids=[],
        details_gone=False,
        partition=placed.partition,
        conversation_offset=placed.offset,
        place=place,
    )


def answered(row: Interaction, message: Message, gone: bool) -> Interaction:
    """With a message of the answer; several are one answer, line by line, and lack none of them."""
    before, whole = row.assistant_response, not gone and (row.assistant_response is not None or not row.answer_ids)
    text = message.content.text if whole else None
    response = text if text is None or before is None else f"{before}\n{text}"
    return replace(row, assistant_response=response, answer_ids=[*row.answer_ids, message.message_id])


def with_details(row: Interaction, turn: ConversationTurn, gone: bool) -> Interaction:
    """With what a turn says beside its messages."""
    row = replace(
        row,
        turn_ids=[*row.turn_ids, turn.turn_id],
        skill_used=turn.skill or row.skill_used,
        latency_ms=row.latency_ms | turn.latency_ms,
    )
    if gone or row.details_gone:
        return _without_details(row)
    calls = [{"name": call.name, "args": _json(call.arguments), "result": _json(call.result)} for call in turn.tool_calls]
    said = row.llm_messages if turn.model_messages is None else _json(turn.model_messages)
    return replace(row, tool_calls=[*row.tool_calls, *calls], llm_messages=said)


def details_destroyed(turn: ConversationTurn) -> bool:
    """Whether the turn's own key is gone."""
    values = [turn.model_messages, *(value for call in turn.tool_calls for value in (call.arguments, call.result))]
    return any(value is not None and value.is_destroyed for value in values)


def without(row: Interaction, gone: Set[str]) -> Interaction:
    """What is left of an interaction, whose utterance stays, without messages and turns that are gone."""
    if not gone.isdisjoint(row.answer_ids):
        row = replace(row, assistant_response=None)
    return row if gone.isdisjoint(row.turn_ids) else _without_details(row)


def evidence(memory: UUID, owner: UUID, source: SourceRef) -> list[Evidence]:
    """The messages that a memory was learnt from."""
    return [Evidence(memory, message.message_id, owner, source.turn_id) for message in source.messages]


def _without_details(row: Interaction) -> Interaction:
    return replace(row, llm_messages=[], tool_calls=[], details_gone=True)


def _json(value: Sealed | None) -> Any:
    """The value of a JSON text; the text itself where it is none, or one that PostgreSQL's jsonb cannot hold."""
    if value is None:
        return None
    text = value.text
    if "\\u0000" in text:
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
