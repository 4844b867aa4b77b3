"""Records of the topics, readable: a line for people, a JSON object for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson
from rich.text import Text

from ops.cli.out import moment, plain, to_jsonable
from ops.cli.saying import says
from schemas import codec
from schemas.errors import BrokenRecord, ContractError, SealedValue
from schemas.sealed import Sealed, text_of
from schemas.sealing import Keys, opening
from schemas.types import ConversationTurn, InboxTurn, MemoryEmbedding, MessageEmbedding, WorkParked
from schemas.value import Value
from schemas.vectors import unpack
from streams.agents.rolling import NEUTRAL_HEADER

COLOURS = {
    "MemoryAdded": "green",
    "MemoryReheated": "yellow",
    "MemoryRevised": "yellow",
    "MemoryForgotten": "magenta",
    "OwnerErased": "magenta",
    "CommandRejected": "red",
    "WorkParked": "red",
    "unreadable": "red",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """One record of a topic as it is shown. ``record`` is None where it cannot be read, is a tombstone, or a neutral one."""

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
    record, problem, kind = None, None, "neutral" if any(name == NEUTRAL_HEADER for name, _ in raw.headers) else "tombstone"
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


async def opened(keys: Keys, items: Sequence[Shown]) -> list[Shown]:
    """``items`` with their values opened; one that was tampered with stays closed."""
    open_one = await opening(keys, [item.record for item in items if isinstance(item.record, Value)])
    return [_opened(item, open_one) for item in items]


def _opened(item: Shown, open_one: Callable[[Any], Any]) -> Shown:
    try:
        return replace(item, record=open_one(item.record)) if isinstance(item.record, Value) else item
    except SealedValue:
        return item


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
    """A record as plain JSON types: values opened, bytes in base64, times in ISO 8601, a vector as numbers."""
    body = to_jsonable(item.record)
    if isinstance(item.record, MemoryEmbedding | MessageEmbedding):
        body["vector"] = _numbers(item.record.vector, item.record.dimensions)
    if isinstance(item.record, WorkParked):  # bytes, even where they would make a text
        body |= to_jsonable({"key": _bytes(item.record.key), "value": _bytes(item.record.value)})
        body["headers"] = to_jsonable({name: _bytes(value) for name, value in item.record.headers.items()})
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


def _bytes(value: Sealed | None) -> bytes | None:
    try:
        return value.raw if value is not None else None
    except SealedValue:
        return None


def _numbers(vector: Sealed, dimensions: int) -> list[float] | None:
    raw = _bytes(vector)
    try:
        return None if raw is None else [round(float(v), 6) for v in unpack(raw, dimensions)]
    except BrokenRecord:
        return None


def as_line(item: Shown) -> Text:
    """A record on one line: where it stands, when, what it is, what it says."""
    line = Text()
    line.append(f"{item.partition}@{item.offset:<6} ", style="dim")
    line.append(f"{moment(item.time)}  ", style="dim")
    line.append(f"{item.kind:<17} ", style=f"bold {COLOURS.get(item.kind, 'cyan')}")
    line.append_text(plain((item.problem or f"key {item.key}") if item.record is None else says(item.record)))
    return line


def messages_of(turn: ConversationTurn | None, references: Sequence[str]) -> list[Mapping[str, Any]]:
    """The messages of a turn that ``references`` name (all, where it is empty): role, name, content, and both ids."""
    if turn is None:
        return []
    wanted = set(references)
    return [
        {
            "message_id": m.message_id,
            "producer_message_id": text_of(m.producer_id) or m.message_id,
            "role": m.role,
            "name": text_of(m.name),
            "content": m.content.text,
        }
        for m in turn.messages
        if (not wanted or m.message_id in wanted) and not m.content.is_destroyed
    ]
