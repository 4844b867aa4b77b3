"""Rows of the thermal archive: what each event makes of them."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import orjson
from msgspec.structs import replace

from projections.records import Placed
from projections.rows import Int4, Json, Row, table_of, uuid_of
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


class Archived(Row, frozen=True):
    """A live memory."""

    id: UUID
    memory_hash: str
    original_content: str
    temperature_score: float
    memory_type: str
    metadata: Json
    tags: list[str]
    created_at: datetime
    last_access: datetime
    access_count: int
    version: int
    owner: UUID
    sequence: int
    sacred: bool
    salience: float
    floor: float
    half_life_days: float
    reheat: float
    maximum: float
    initial: float
    # turn, session and offset are null and the messages empty where a request asked for the memory
    turn_id: str | None
    session_id: str | None
    message_ids: list[str]
    producer_message_ids: list[str]
    source_offset: int | None
    extractor: str
    model: str
    rules: bool
    partition: Int4
    added_sequence: int
    added_offset: int
    added_cause: int
    event_offset: int
    cause: int


class Mentioned(Row, frozen=True):
    """A turn that brought a memory up."""

    memory_id: UUID
    sequence: int
    owner: UUID
    turn_id: str
    session_id: str
    message_ids: list[str]
    producer_message_ids: list[str]
    occurred_at: datetime
    partition: Int4
    event_offset: int
    cause: int
    source_offset: int


class Version(Row, frozen=True):
    """What a memory said from ``valid_from`` (``from_offset`` on its partition) until ``valid_to``; the newest has no end.

    Times may go back where a late turn revises, offsets never do.
    """

    memory_id: UUID
    version: int
    owner: UUID
    content: str
    slug: str | None
    category: str | None
    tags: list[str]
    valid_from: datetime
    valid_to: datetime | None
    partition: Int4
    from_offset: int
    to_offset: int | None


L = TypeVar("L", Archived, Mentioned)

ARCHIVE = table_of(
    Archived,
    "thermal_memory_archive",
    key=("id",),
    lookups=("id", "owner"),
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
MENTION = table_of(
    Mentioned, "memory_mention", key=("memory_id", "sequence"), lookups=("memory_id", "owner"), indexes=("(owner)",)
)
VERSION = table_of(
    Version,
    "memory_version",
    key=("memory_id", "version"),
    lookups=("memory_id", "owner"),
    indexes=("(owner, valid_from)",),
)


def added(placed: Placed, event: MemoryAdded) -> Archived:
    """The row of a new memory."""
    meta, source = event.meta, event.source
    user = left_of(event.user_id)
    metadata = {"source": REQUESTED if source is None else EXTRACTED, "user_id": user, "mem0_event": "ADD", **_named(event)}
    if source is not None:
        metadata["agent_id"] = source.agent_id
    base = ["mem0", "auto_extracted", user] if source is not None else ["emberlog", "request", user]
    return Archived(
        id=uuid_of(event.memory_id),
        **_words(event.content),
        temperature_score=event.temperature,
        memory_type=MEMORY_TYPE,
        metadata=metadata,
        tags=base + [left_of(tag) for tag in event.tags],
        created_at=meta.occurred_at,
        last_access=meta.occurred_at,
        access_count=1,
        version=1,
        owner=uuid_of(meta.owner),
        sacred=False,
        salience=event.salience,
        **_policy(event.policy),
        **(_NO_TURN if source is None else _turn(source)),
        extractor=event.extractor,
        model=event.model,
        rules=event.rules,
        partition=placed.partition,
        added_sequence=meta.sequence,
        added_offset=placed.offset,
        added_cause=meta.cause,
        **_event(placed),
    )


def reheated(row: Archived, placed: Placed, event: MemoryReheated) -> Archived:
    """A mention: warmer, and counted."""
    return replace(row, **_warmed(placed, event), metadata=row.metadata | {"mem0_event": "UPDATE"})


def revised(row: Archived, placed: Placed, event: MemoryRevised) -> Archived:
    """Other words. What the event leaves out stays as it is."""
    return replace(
        row,
        **_warmed(placed, event),
        **_words(event.content),
        version=event.version,
        metadata=row.metadata | {"mem0_event": "UPDATE", **_named(event)},
        tags=row.tags if event.tags is None else row.tags[:BASE_TAGS] + [left_of(tag) for tag in event.tags],
    )


def pinned(row: Archived, placed: Placed, event: MemoryPinned | MemoryUnpinned) -> Archived:
    """Sacred, or no longer so."""
    return replace(
        row,
        temperature_score=event.temperature,
        last_access=event.warmed_at,
        sacred=isinstance(event, MemoryPinned),
        **_event(placed),
    )


def mention(placed: Placed, source: SourceRef) -> Mentioned:
    """The row of a turn that mentions a memory."""
    meta = placed.record.meta
    return Mentioned(
        memory_id=uuid_of(placed.record.memory_id),
        owner=uuid_of(meta.owner),
        **_turn(source),
        occurred_at=meta.occurred_at,
        partition=placed.partition,
        **_event(placed),
    )


def first_version(placed: Placed, event: MemoryAdded) -> Version:
    """What a new memory says."""
    meta = event.meta
    return Version(
        memory_id=uuid_of(event.memory_id),
        version=1,
        owner=uuid_of(meta.owner),
        content=left_of(event.content),
        slug=_left(event.slug),
        category=_left(event.category),
        tags=[left_of(tag) for tag in event.tags],
        valid_from=meta.occurred_at,
        valid_to=None,
        partition=placed.partition,
        from_offset=placed.offset,
        to_offset=None,
    )


def next_version(before: Version, placed: Placed, event: MemoryRevised) -> tuple[Version, Version]:
    """The version before with its end, and the one that follows it."""
    at = event.meta.occurred_at
    after = replace(
        before,
        version=event.version,
        content=left_of(event.content),
        slug=before.slug if event.slug is None else left_of(event.slug),
        category=before.category if event.category is None else left_of(event.category),
        tags=before.tags if event.tags is None else [left_of(tag) for tag in event.tags],
        valid_from=at,
        from_offset=placed.offset,
    )
    return replace(before, valid_to=at, to_offset=placed.offset), after


def without_labels(row: L, destroyed: set[str]) -> L:
    """A destroyed message goes by our reference, as it does in a replay, which can no longer read its producer's id."""
    if destroyed.isdisjoint(row.message_ids):
        return row
    labels = [id if id in destroyed else label for id, label in zip(row.message_ids, row.producer_message_ids, strict=True)]
    return replace(row, producer_message_ids=labels)


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


def _policy(policy: ThermalPolicy) -> dict[str, Any]:
    return {name: getattr(policy, name) for name in ("floor", "half_life_days", "reheat", "maximum", "initial")}


_NO_TURN: dict[str, Any] = {
    "turn_id": None, "session_id": None, "source_offset": None, "message_ids": [], "producer_message_ids": []
}  # fmt: skip


def _turn(source: SourceRef) -> dict[str, Any]:
    return {
        "turn_id": source.turn_id,
        "session_id": left_of(source.session_id),
        "source_offset": source.source_offset,
        "message_ids": [m.message_id for m in source.messages],
        "producer_message_ids": [text_of(m.producer_id) or m.message_id for m in source.messages],
    }


def _left(value: Sealed | None) -> str | None:
    return None if value is None else left_of(value)


def _named(event: MemoryAdded | MemoryRevised) -> dict[str, Any]:
    """Slug, category and further metadata, as far as the event has them."""
    named: dict[str, Any] = {name: left_of(value) for name in ("slug", "category") if (value := getattr(event, name)) is not None}
    if event.extra is not None:
        named["extra"] = json_of(left_of(event.extra))
    return named


def json_of(text: str) -> Any:
    """The value of a JSON text; the text itself where it is none, or one that PostgreSQL's jsonb cannot hold."""
    if "\\u0000" in text:
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
