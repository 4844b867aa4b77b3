"""What a record says, in a few words for people. A type without words of its own is told field by field, values unopened."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import orjson
from msgspec.structs import fields

from ops.cli.out import degrees, moment
from ops.cli.words import excerpt, extracted_by, said, short
from schemas import types
from schemas.sealed import Sealed
from schemas.types import COMMANDS, EVENTS
from schemas.value import Value

UNSAID = ("meta", "policy")


def says(record: Any) -> str:
    """One line about any record, ours or plain JSON. It never fails on a record that could be read."""
    match record:
        case types.ConversationTurn():
            whose = f"owner {short(record.owner)} ({said(record.user_id)})"
            return f"{whose}  session {said(record.session_id)}  {_spoken(record.messages)}"
        case types.InboxTurn():
            return f"owner {record.owner}  session {record.session_id}  {_spoken(record.messages)}"
        case types.MemoryEmbedding():
            whose = f"owner {short(record.owner)}  memory {record.memory_id}"
            return f"{whose}  {record.head}, {record.model}, {record.dimensions} d"
        case types.MessageEmbedding():
            whose = f"owner {short(record.owner)}  message {record.message_id}"
            return f"{whose}  {record.head}, {record.model}, {record.dimensions} d"
        case types.WorkParked():
            behind = f", behind {short(record.behind)}" if record.behind else ""
            place = f"{record.topic} {record.partition}@{record.offset}"
            return f"{record.parked_id}  {record.stage}: {record.reason}  ({place}, {record.attempts} attempts{behind})"
        case types.ParkedRetryRequested():
            return f"{record.parked_id}  retry asked for"
        case types.ParkedResolved():
            return f"{record.parked_id}  {record.outcome}"
    if isinstance(record, EVENTS):
        return f"owner {short(record.meta.owner)} #{record.meta.sequence}  {_event(record)}"
    if isinstance(record, COMMANDS):
        return f"owner {short(record.meta.owner)}  {_command(record)}"
    return told(record) if isinstance(record, Value) else excerpt(orjson.dumps(record).decode())


def _event(event: types.MemoryEvent) -> str:
    match event:
        case types.MemoryAdded():
            return f"{degrees(event.temperature)}  “{said(event.content)}”  memory {event.memory_id}"
        case types.MemoryReheated():
            return f"{_warmer(event)}  memory {event.memory_id}  mention {event.access_count}"
        case types.MemoryRevised():
            return f"{_warmer(event)}  “{said(event.content)}”  memory {event.memory_id}  version {event.version}"
        case types.MemoryPinned() | types.MemoryUnpinned():
            return f"{degrees(event.temperature)}  memory {event.memory_id}"
        case types.MemoriesLinked() | types.MemoriesUnlinked():
            return f"{event.source_id} → {event.target_id}  {event.kind}, {event.weight:g}"
        case types.MemoryForgotten():
            return f"memory {event.memory_id}"
        case types.DaySummarised():
            return f"{event.day}  “{said(event.content)}”  summary {event.summary_id}  revision {event.revision}"
        case types.CommandNoted() | types.CommandRejected():
            return f"{event.command_type}: {event.reason}"
    return told(event)


def _command(command: types.Command) -> str:
    match command:
        case types.FactsExtracted():
            facts = "; ".join(f"“{said(fact.text)}”" for fact in command.facts) or "no facts"
            by = extracted_by(command.extractor, command.model, command.rules)
            failed = f", {command.failed} failed" if command.failed else ""
            return f"{facts}{failed}  ({by})"
        case types.Remember():
            slug = f"  slug {said(command.slug)}" if command.slug else ""
            return f"remember “{said(command.content)}”{slug}"
        case types.Revise():
            return f"revise {command.memory_id}  “{said(command.content)}”"
        case types.Forget():
            return f"forget {', '.join(command.memory_ids)}"
    return told(command)


def _warmer(event: types.MemoryReheated | types.MemoryRevised) -> str:
    return f"{degrees(event.temperature_before)} → {degrees(event.temperature)}"


def _spoken(messages: tuple[types.Message, ...] | tuple[types.InboxMessage, ...]) -> str:
    return "  ".join(f"{said(m.name or m.role)}: “{said(m.content)}”" for m in messages)


def told(record: Any) -> str:
    """The fields of a record with their values; those about a person stay unopened, empty ones are left out."""
    values = ((field.name, getattr(record, field.name)) for field in fields(record) if field.name not in UNSAID)
    return "  ".join(f"{name} {_value(value)}" for name, value in values if value not in (None, (), {}))


def _value(value: Any) -> str:
    if isinstance(value, Sealed):
        return repr(value)
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ", ".join(map(_value, value))
    if isinstance(value, Value):
        return f"({told(value)})"
    return excerpt(str(value))
