"""Records of the topics, readable: a line for people, a JSON object for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
from rich.text import Text

from ops.cli.out import clean, degrees, moment, plain, to_jsonable
from schemas import codec
from schemas.errors import ContractError
from schemas.types import (
    CommandNoted,
    CommandRejected,
    ConversationTurn,
    FactsExtracted,
    Forget,
    InboxMessage,
    InboxTurn,
    MemoryAdded,
    MemoryEmbedding,
    MemoryForgotten,
    MemoryReheated,
    Message,
    ParkedResolved,
    ParkedRetryRequested,
    WorkParked,
)

EXCERPT = 200
SHORT_ID = 8
COLOURS = {
    "MemoryAdded": "green",
    "MemoryReheated": "yellow",
    "MemoryForgotten": "magenta",
    "CommandRejected": "red",
    "WorkParked": "red",
    "unreadable": "red",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """One record of a topic as it is shown. ``record`` is None where it cannot be read or is a tombstone."""

    topic: str
    partition: int
    offset: int
    time: datetime
    key: str | None
    kind: str
    record: Any
    problem: str | None
    headers: dict[str, str]


def shown(raw: Any) -> Shown:
    """A record of aiokafka, decoded as far as it goes; plain JSON (the inbox) is shown as it is."""
    record, problem, kind = None, None, "tombstone"
    if raw.value is not None:
        try:
            record = codec.decode(raw.value)
            kind = type(record).__name__
        except ContractError as error:
            record, kind, problem = _plain_json(raw.value, str(error))
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in raw.headers}
    key = raw.key.decode("utf-8", "replace") if raw.key is not None else None
    at = datetime.fromtimestamp(raw.timestamp / 1000, UTC)
    return Shown(raw.topic, raw.partition, raw.offset, at, key, kind, record, problem, headers)


def _plain_json(value: bytes, problem: str) -> tuple[Any, str, str | None]:
    try:
        return orjson.loads(value), "JSON", None
    except orjson.JSONDecodeError:
        return None, "unreadable", problem


def owner_of(item: Shown) -> str | None:
    """Owner reference that a record says it belongs to, else its key."""
    meta = getattr(item.record, "meta", None)
    said = meta.owner if meta is not None else getattr(item.record, "owner", None)
    return said if isinstance(said, str) and not isinstance(item.record, InboxTurn) else item.key


def as_json(item: Shown) -> dict[str, Any]:
    """A record as plain JSON types: bytes in base64, times in ISO 8601, a vector as numbers."""
    body = to_jsonable(item.record)
    if isinstance(item.record, MemoryEmbedding):
        body["vector"] = [round(float(v), 6) for v in np.frombuffer(item.record.vector, dtype="<f4")]
    return {
        "topic": item.topic,
        "partition": item.partition,
        "offset": item.offset,
        "time": item.time.isoformat(),
        "key": item.key,
        "type": item.kind,
        "record": body,
        "problem": item.problem,
        "headers": item.headers,
    }


def as_line(item: Shown) -> Text:
    """A record on one line: where it stands, when, what it is, what it says."""
    line = Text()
    line.append(f"{item.partition}@{item.offset:<6} ", style="dim")
    line.append(f"{moment(item.time)}  ", style="dim")
    line.append(f"{item.kind:<17}", style=f"bold {COLOURS.get(item.kind, 'cyan')}")
    line.append_text(plain(_says(item)))
    return line


def _says(item: Shown) -> str:
    record = item.record
    match record:
        case MemoryAdded() | MemoryReheated() | MemoryForgotten() | CommandNoted() | CommandRejected():
            return f"owner {short(record.meta.owner)} #{record.meta.sequence}  {_event(record)}"
        case ConversationTurn():
            return f"owner {short(record.owner)} ({record.user_id})  session {record.session_id}  {_messages(record.messages)}"
        case InboxTurn():
            return f"owner {record.owner}  session {record.session_id}  {_messages(record.messages)}"
        case FactsExtracted():
            facts = "; ".join(f"“{excerpt(f.text)}”" for f in record.facts) or "no facts"
            by = extracted_by(record.extractor, record.model, record.rules)
            failed = f", {record.failed} failed" if record.failed else ""
            return f"owner {short(record.owner)}  {facts}{failed}  ({by})"
        case Forget():
            return f"owner {short(record.owner)}  forget {', '.join(record.memory_ids)}"
        case MemoryEmbedding():
            return f"owner {short(record.owner)}  memory {record.memory_id}  {record.head}, {record.model}, {record.dimensions} d"
        case WorkParked():
            behind = f", behind {short(record.behind)}" if record.behind else ""
            place = f"{record.topic} {record.partition}@{record.offset}"
            return f"{record.parked_id}  {record.stage}: {record.reason}  ({place}, {record.attempts} attempts{behind})"
        case ParkedRetryRequested():
            return f"{record.parked_id}  retry asked for"
        case ParkedResolved():
            return f"{record.parked_id}  {record.outcome}"
        case None:
            return item.problem or f"key {item.key}"
    return excerpt(orjson.dumps(record).decode())


def _event(event: Any) -> str:
    match event:
        case MemoryAdded():
            return f"{degrees(event.temperature)}  “{excerpt(event.content)}”  memory {event.memory_id}"
        case MemoryReheated():
            warmth = f"{degrees(event.temperature_before)} → {degrees(event.temperature)}"
            return f"{warmth}  memory {event.memory_id}  mention {event.access_count}"
        case MemoryForgotten():
            return f"memory {event.memory_id}"
    return f"{event.command_type}: {event.reason}"


def _messages(messages: tuple[Message, ...] | tuple[InboxMessage, ...]) -> str:
    return "  ".join(f"{m.name or m.role}: “{excerpt(m.content)}”" for m in messages)


def excerpt(text: str, limit: int = EXCERPT) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(clean(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def extracted_by(extractor: str, model: str, rules: bool) -> str:
    """Who found a fact; of rules it is said that they are no model."""
    return "rules, not a model" if rules else f"{extractor}, {model}"


def short(id: str | None) -> str:
    """The first digits of an id."""
    return (id or "")[:SHORT_ID]


def messages_of(turn: ConversationTurn | None, ids: tuple[str, ...] | list[str]) -> list[Mapping[str, Any]]:
    """The messages of a turn that are named in ``ids`` (all, where none is), as role, name, content and id."""
    if turn is None:
        return []
    wanted = set(ids)
    chosen = [m for m in turn.messages if not wanted or m.message_id in wanted]
    return [{"message_id": m.message_id, "role": m.role, "name": m.name, "content": m.content} for m in chosen]
