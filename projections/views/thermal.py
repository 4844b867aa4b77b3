"""thermal: the thermal archive, one row per live memory, and what has mentioned each memory.

Every value comes from events, ``created_at`` too, so that a rebuild equals the live table. The temperature stored is that of
the last warming (T0); today's is computed when read, by schemas.temperature from T0, last_access and the policy columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from projections.records import Kind, Placed, Source, refuse_nul
from projections.view import Column, Row, Table, Target, ViewSettings
from schemas.errors import BrokenRecord
from schemas.ids import is_uuid
from schemas.types import MemoryAdded, MemoryForgotten, MemoryReheated, ThermalPolicy

MEMORY_TYPE = "episodic"
SOURCE = "mem0_extraction"
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
        Column("owner", "uuid"),
        Column("sequence", "int8"),
        Column("sacred", "bool"),
        Column("salience", "float8"),
        Column("floor", "float8"),
        Column("half_life_days", "float8"),
        Column("reheat", "float8"),
        Column("maximum", "float8"),
        Column("initial", "float8"),
        Column("turn_id", "text"),
        Column("session_id", "text"),
        Column("message_ids", "text[]"),
        Column("source_offset", "int8"),
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
        Column("occurred_at", "timestamptz"),
        Column("partition", "int4"),
        Column("event_offset", "int8"),
        Column("cause", "int8"),
        Column("source_offset", "int8"),
    ),
    ("memory_id", "sequence"),
)

_AT = {name: i for i, name in enumerate(ARCHIVE.names)}
# what a mention changes, in the order of _patch; the last parameter is the memory
_PATCHED = (
    "temperature_score", "last_access", "access_count", "sequence", "event_offset", "cause",
    "floor", "half_life_days", "reheat", "maximum", "initial",
)  # fmt: skip


class ThermalView:
    """The archive and its mentions."""

    name = "thermal"
    version = 1
    tables = (ARCHIVE, MENTION)

    def __init__(self, settings: ViewSettings) -> None:
        topics = settings.topics
        self.sources = (Source(topics.events, topics.partitions, Kind.EVENTS),)

    def check(self, placed: Placed) -> None:
        """Memory ids are UUIDs, texts are texts that PostgreSQL takes."""
        refuse_nul(placed.record)
        memory_id = getattr(placed.record, "memory_id", None)
        if memory_id is not None and not is_uuid(memory_id):
            raise BrokenRecord("memory_id is not a UUID")

    async def apply(self, target: Target, batch: Sequence[Placed]) -> None:
        """Fold a batch: what it adds, changes and forgets is netted in memory first, then written."""
        fold = _Fold()
        for placed in batch:
            match placed.record:
                case MemoryAdded() as event:
                    fold.add(placed, event)
                case MemoryReheated() as event:
                    fold.reheat(placed, event)
                case MemoryForgotten() as event:
                    fold.forget(event)
        await fold.write(target)


class _Fold:
    def __init__(self) -> None:
        self._added: dict[UUID, list[Any]] = {}
        self._patched: dict[UUID, list[Any]] = {}
        self._gone: dict[UUID, None] = {}
        self._mentions: dict[tuple[UUID, int], Row] = {}
        self._late_mentions: dict[tuple[UUID, int], Row] = {}

    def add(self, placed: Placed, event: MemoryAdded) -> None:
        memory = UUID(event.memory_id)
        self._patched.pop(memory, None)
        self._added[memory] = _row(memory, placed, event)
        self._mentions[memory, event.meta.sequence] = _mention(memory, placed, event)

    def reheat(self, placed: Placed, event: MemoryReheated) -> None:
        memory = UUID(event.memory_id)
        patch = _patch(placed, event)
        mention = _mention(memory, placed, event)
        row = self._added.get(memory)
        if row is not None:
            for name, value in zip(_PATCHED, patch, strict=True):
                row[_AT[name]] = value
            row[_AT["metadata"]].obj["mem0_event"] = "UPDATE"
            self._mentions[memory, event.meta.sequence] = mention
        elif memory not in self._gone:
            self._patched[memory] = patch
            self._late_mentions[memory, event.meta.sequence] = mention

    def forget(self, event: MemoryForgotten) -> None:
        memory = UUID(event.memory_id)
        self._added.pop(memory, None)
        self._patched.pop(memory, None)
        for mentions in (self._mentions, self._late_mentions):
            for key in [k for k in mentions if k[0] == memory]:
                del mentions[key]
        self._gone[memory] = None

    async def write(self, target: Target) -> None:
        archive, mention = target.name(ARCHIVE), target.name(MENTION)
        if self._gone:
            gone = list(self._gone)
            await target.conn.execute(f"DELETE FROM {archive} WHERE id = ANY(%s)", (gone,))
            await target.conn.execute(f"DELETE FROM {mention} WHERE memory_id = ANY(%s)", (gone,))
        await target.upsert(ARCHIVE, list(self._added.values()))
        changes = ", ".join(f'"{n}" = %s' for n in _PATCHED)
        update = f'UPDATE {archive} SET {changes}, metadata = metadata || \'{{"mem0_event": "UPDATE"}}\' WHERE id = %s'
        await target.run(update, ([*patch, memory] for memory, patch in self._patched.items()))
        await target.upsert(MENTION, list(self._mentions.values()))
        # of a memory that is not there (forgotten before) no mention may stay behind
        marks = ", ".join(["%s"] * len(MENTION.names))
        insert = (
            f"INSERT INTO {mention} ({MENTION.quoted}) SELECT {marks} WHERE EXISTS (SELECT 1 FROM {archive} WHERE id = %s) "
            "ON CONFLICT DO NOTHING"
        )
        await target.run(insert, ([*row, row[0]] for row in self._late_mentions.values()))


def _policy(policy: ThermalPolicy) -> list[float]:
    return [policy.floor, policy.half_life_days, policy.reheat, policy.maximum, policy.initial]


def _row(memory: UUID, placed: Placed, event: MemoryAdded) -> list[Any]:
    meta, source = event.meta, event.source
    metadata = {"source": SOURCE, "user_id": event.user_id, "agent_id": source.agent_id, "mem0_event": "ADD"}
    return [
        memory,
        hashlib.sha256(event.content.encode()).hexdigest(),
        event.content,
        event.temperature,
        MEMORY_TYPE,
        Jsonb(metadata),
        ["mem0", "auto_extracted", event.user_id],
        meta.occurred_at,
        meta.occurred_at,
        1,
        UUID(meta.owner),
        meta.sequence,
        False,
        event.salience,
        *_policy(event.policy),
        source.turn_id,
        source.session_id,
        list(source.message_ids),
        source.source_offset,
        event.extractor,
        event.model,
        event.rules,
        placed.partition,
        meta.sequence,
        placed.offset,
        meta.cause,
        placed.offset,
        meta.cause,
    ]


def _patch(placed: Placed, event: MemoryReheated) -> list[Any]:
    meta = event.meta
    warmth = [event.temperature, event.warmed_at, event.access_count, meta.sequence, placed.offset, meta.cause]
    return warmth + _policy(event.policy)


def _mention(memory: UUID, placed: Placed, event: MemoryAdded | MemoryReheated) -> Row:
    source = event.source
    return [
        memory,
        event.meta.sequence,
        source.turn_id,
        source.session_id,
        list(source.message_ids),
        event.meta.occurred_at,
        placed.partition,
        placed.offset,
        event.meta.cause,
        source.source_offset,
    ]
