"""Rows of the thermal archive: what each event makes of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from psycopg.types.json import Jsonb

from projections.records import Placed
from projections.view import Column, Row, Table
from schemas.sealed import Sealed, left_of, text_of
from schemas.types import (
    MemoryAdded,
    MemoryPinned,
    MemoryReheated,
    MemoryRevised,
    MemoryUnpinned,
    SourceRef,
    ThermalPolicy,
)

MEMORY_TYPE = "episodic"
EXTRACTED, REQUESTED = "mem0_extraction", "request"
"""``source`` in a memory's metadata: found in a conversation, or asked for by a request."""
BASE_TAGS = 3
"""The first tags are the archive's own; those of a request follow."""
SEARCHED_CHARACTERS = 20_000
"""Text beyond it stays out of full-text search: a tsvector holds 1 MB at most."""

_SEARCHED = f"left(original_content, {SEARCHED_CHARACTERS})"

ARCHIVE = Table(
    "thermal_memory_archive",
    (
        Column("id", "uuid"),
        Column("memory_hash", "text"),
        Column("original_content", "text"),
        Column("temperature_score", "float8"),
        Column("memory_type", "text"),
        Column("metadata", "jsonb"),
        Column("tags", "text[]"),
        Column("created_at", "timestamptz"),
        Column("last_access", "timestamptz"),
        Column("access_count", "int8"),
        Column("version", "int8"),
        Column("owner", "uuid"),
        Column("sequence", "int8"),
        Column("sacred", "bool"),
        Column("salience", "float8"),
        Column("floor", "float8"),
        Column("half_life_days", "float8"),
        Column("reheat", "float8"),
        Column("maximum", "float8"),
        Column("initial", "float8"),
        # turn, session and offset are null and the messages empty where a request asked for the memory
        Column("turn_id", "text", null=True),
        Column("session_id", "text", null=True),
        Column("message_ids", "text[]"),
        Column("producer_message_ids", "text[]"),
        Column("source_offset", "int8", null=True),
        Column("extractor", "text"),
        Column("model", "text"),
        Column("rules", "bool"),
        Column("partition", "int4"),
        Column("added_sequence", "int8"),
        Column("added_offset", "int8"),
        Column("added_cause", "int8"),
        Column("event_offset", "int8"),
        Column("cause", "int8"),
    ),
    ("id",),
    # both stems: contents are English or Spanish, and a query's words are stemmed both ways too
    generated=(
        (
            "tsv",
            f"tsvector GENERATED ALWAYS AS (to_tsvector('english', {_SEARCHED}) || to_tsvector('spanish', {_SEARCHED})) STORED",
        ),
    ),
    indexes=("(owner, added_offset)",),
    clustered=True,
)
MENTION = Table(
    "memory_mention",
    (
        Column("memory_id", "uuid"),
        Column("sequence", "int8"),
        Column("turn_id", "text"),
        Column("session_id", "text"),
        Column("message_ids", "text[]"),
        Column("producer_message_ids", "text[]"),
        Column("occurred_at", "timestamptz"),
        Column("partition", "int4"),
        Column("event_offset", "int8"),
        Column("cause", "int8"),
        Column("source_offset", "int8"),
    ),
    ("memory_id", "sequence"),
)

_AT = {name: i for i, name in enumerate(ARCHIVE.names)}
MESSAGE_IDS = MENTION.names.index("message_ids")


@dataclass(slots=True)
class Patch:
    """What later events change in a memory's row: whole columns, entries of its metadata, and the tags behind the base ones."""

    columns: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)
    tags: list[str] | None = None

    def then(self, later: Patch) -> Patch:
        """Both, the later one last."""
        tags = self.tags if later.tags is None else later.tags
        return Patch({**self.columns, **later.columns}, {**self.metadata, **later.metadata}, tags)

    def onto(self, row: list[Any]) -> None:
        """Change a row that is not written yet."""
        for name, value in self.columns.items():
            row[_AT[name]] = value
        row[_AT["metadata"]].obj.update(self.metadata)
        if self.tags is not None:
            row[_AT["tags"]] = row[_AT["tags"]][:BASE_TAGS] + self.tags

    def statement(self, archive: str) -> str:
        """UPDATE of a row; patches of one kind have the same. Its parameters are ``parameters``, then the memory."""
        changes = [f'"{name}" = %s' for name in self.columns]
        if self.metadata:
            changes.append('"metadata" = "metadata" || %s')
        if self.tags is not None:
            changes.append(f'"tags" = "tags"[1:{BASE_TAGS}] || %s::text[]')
        return f"UPDATE {archive} SET {', '.join(changes)} WHERE id = %s"

    def parameters(self) -> list[Any]:
        values = list(self.columns.values())
        if self.metadata:
            values.append(Jsonb(self.metadata))
        if self.tags is not None:
            values.append(self.tags)
        return values


def added(placed: Placed, event: MemoryAdded) -> list[Any]:
    """The row of a new memory, in the order of the archive's columns."""
    meta, source = event.meta, event.source
    user = left_of(event.user_id)
    metadata = {"source": REQUESTED if source is None else EXTRACTED, "user_id": user, "mem0_event": "ADD", **_named(event)}
    if source is not None:
        metadata["agent_id"] = source.agent_id
    base = ["mem0", "auto_extracted", user] if source is not None else ["emberlog", "request", user]
    values = {
        "id": UUID(event.memory_id),
        **_words(event.content),
        "temperature_score": event.temperature,
        "memory_type": MEMORY_TYPE,
        "metadata": Jsonb(metadata),
        "tags": base + [left_of(tag) for tag in event.tags],
        "created_at": meta.occurred_at,
        "last_access": meta.occurred_at,
        "access_count": 1,
        "version": 1,
        "owner": UUID(meta.owner),
        "sacred": False,
        "salience": event.salience,
        **_policy(event.policy),
        **_turn(source),
        "extractor": event.extractor,
        "model": event.model,
        "rules": event.rules,
        "partition": placed.partition,
        "added_sequence": meta.sequence,
        "added_offset": placed.offset,
        "added_cause": meta.cause,
        **_event(placed),
    }
    return [values[name] for name in ARCHIVE.names]


def reheated(placed: Placed, event: MemoryReheated) -> Patch:
    """A mention: warmer, and counted."""
    return Patch(_warmed(placed, event), {"mem0_event": "UPDATE"})


def revised(placed: Placed, event: MemoryRevised) -> Patch:
    """Other words. What the event leaves out stays as it is."""
    columns = {**_warmed(placed, event), **_words(event.content), "version": event.version}
    tags = None if event.tags is None else [left_of(tag) for tag in event.tags]
    return Patch(columns, {"mem0_event": "UPDATE", **_named(event)}, tags)


def pinned(placed: Placed, event: MemoryPinned | MemoryUnpinned) -> Patch:
    """Sacred, or no longer so."""
    warmth = {"temperature_score": event.temperature, "last_access": event.warmed_at}
    return Patch({**warmth, "sacred": isinstance(event, MemoryPinned), **_event(placed)})


def mention(placed: Placed, memory: UUID, source: SourceRef) -> Row:
    """The row of a turn that mentions a memory."""
    meta = placed.record.meta
    values = {
        "memory_id": memory,
        **_turn(source),
        "occurred_at": meta.occurred_at,
        "partition": placed.partition,
        **_event(placed),
    }
    return [values[name] for name in MENTION.names]


def _warmed(placed: Placed, event: MemoryReheated | MemoryRevised) -> dict[str, Any]:
    warmth = {"temperature_score": event.temperature, "last_access": event.warmed_at, "access_count": event.access_count}
    return {**warmth, **_policy(event.policy), **_event(placed)}


def _words(content: Sealed) -> dict[str, Any]:
    # of a memory that was forgotten the words are gone when a replay comes by; its forgetting takes the row away
    text = left_of(content)
    return {"memory_hash": hashlib.sha256(text.encode()).hexdigest(), "original_content": text}


def _event(placed: Placed) -> dict[str, Any]:
    meta = placed.record.meta
    return {"sequence": meta.sequence, "event_offset": placed.offset, "cause": meta.cause}


def _policy(policy: ThermalPolicy) -> dict[str, float]:
    return {name: getattr(policy, name) for name in ("floor", "half_life_days", "reheat", "maximum", "initial")}


def _turn(source: SourceRef | None) -> dict[str, Any]:
    if source is None:
        return {"turn_id": None, "session_id": None, "source_offset": None, "message_ids": [], "producer_message_ids": []}
    return {
        "turn_id": source.turn_id,
        "session_id": left_of(source.session_id),
        "source_offset": source.source_offset,
        "message_ids": [m.message_id for m in source.messages],
        "producer_message_ids": [text_of(m.producer_id) or m.message_id for m in source.messages],
    }


def _named(event: MemoryAdded | MemoryRevised) -> dict[str, Any]:
    """Slug, category and further metadata, as far as the event has them."""
    named: dict[str, Any] = {name: left_of(value) for name in ("slug", "category") if (value := getattr(event, name)) is not None}
    if event.extra is not None:
        named["extra"] = _json(left_of(event.extra))
    return named


def _json(text: str) -> Any:
    """The value of a JSON text; the text itself where it is none, or one that PostgreSQL's jsonb cannot hold."""
    if "\\u0000" in text:
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
