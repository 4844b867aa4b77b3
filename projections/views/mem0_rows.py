"""Rows of the mem0 view, and a memory put together from them: what it says, and the vectors that there are for it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from projections.rows import Int4, Json, Row, Rows, Wanted, table_of
from projections.vectors import Vector
from schemas.sealed import left_of
from schemas.types import MemoryAdded, MemoryRevised


class Stored(Row, frozen=True):
    """A memory as Mem0's pgvector provider reads it."""

    id: UUID
    vector: Vector
    payload: Json


class Shown(Row, frozen=True):
    """Whose memory a row of ``mem0_memories`` is, and which of the memory's vectors stands there.

    ``sequence`` is that of the event whose words the vector was made from, ``place`` its place among the memory's vectors.
    """

    memory_id: UUID
    owner: UUID
    model: str
    sequence: int
    place: Int4


class Unembedded(Row, frozen=True):
    """A memory that has no vector yet."""

    memory_id: UUID
    owner: UUID
    payload: Json


class Spare(Row, frozen=True):
    """A vector that no row shows: its memory is not known yet, or has a newer one by another model."""

    memory_id: UUID
    model: str
    owner: UUID
    sequence: int
    place: Int4
    vector: Vector


class Forgotten(Row, frozen=True):
    """A memory that is gone."""

    memory_id: UUID


class Erased(Row, frozen=True):
    """An owner who was erased by the event of this number."""

    owner: UUID
    sequence: int


MEMORIES = table_of(
    Stored,
    "mem0_memories",
    key=("id",),
    # what Mem0 filters by; vectors of several lengths may stand here, so there is no index over them
    indexes=("((payload ->> 'user_id'))",),
    clustered=True,
    tuning=("ALTER TABLE {table} ALTER COLUMN vector SET STORAGE MAIN",),
)
SHOWN = table_of(Shown, "mem0_shown", key=("memory_id",), lookups=("owner",), indexes=("(owner)",))
UNEMBEDDED = table_of(Unembedded, "mem0_unembedded", key=("memory_id",), lookups=("owner",), indexes=("(owner)",))
SPARE = table_of(Spare, "mem0_spare_vector", key=("memory_id", "model"), lookups=("memory_id", "owner"), indexes=("(owner)",))
FORGOTTEN = table_of(Forgotten, "mem0_forgotten", key=("memory_id",))
ERASED = table_of(Erased, "mem0_erased", key=("owner",))


class Delivered(NamedTuple):
    """A vector by the model of this name, made from the words of the event ``sequence``."""

    model: str
    sequence: int
    vector: Vector


@dataclass(slots=True)
class Memory:
    """What is known of one memory. ``vectors``, one for each model, are in the order in which they were last delivered."""

    id: UUID
    owner: UUID | None = None
    payload: dict[str, Any] | None = None
    vectors: list[Delivered] = field(default_factory=list)

    @staticmethod
    def want(wanted: Wanted, id: UUID) -> None:
        """Ask for all rows of a memory."""
        for table in (MEMORIES, SHOWN, UNEMBEDDED):
            wanted.key(table, id)
        wanted.where(SPARE, "memory_id", id)

    @classmethod
    def load(cls, rows: Rows, id: UUID) -> Memory:
        """Put a memory together."""
        made, placed = cls(id), {}
        stored, shown = rows.get(Stored, MEMORIES, id), rows.get(Shown, SHOWN, id)
        if stored is not None and shown is not None:
            made.owner, made.payload = shown.owner, stored.payload
            placed[shown.place] = Delivered(shown.model, shown.sequence, stored.vector)
        waiting = rows.get(Unembedded, UNEMBEDDED, id)
        if waiting is not None:
            made.owner, made.payload = waiting.owner, waiting.payload
        for spare in rows.where(Spare, SPARE, "memory_id", id):
            made.owner = spare.owner
            placed[spare.place] = Delivered(spare.model, spare.sequence, spare.vector)
        made.vectors = [placed[place] for place in sorted(placed)]
        return made

    def save(self, rows: Rows) -> None:
        """Write the memory's rows: it is shown once it has words and a vector, with its newest."""
        newest = None
        if self.payload is not None and self.vectors:
            # of equals the one that was delivered last
            newest = max(range(len(self.vectors)), key=lambda place: (self.vectors[place].sequence, place))
        self._save_words(rows, newest)
        spare = {v.model for place, v in enumerate(self.vectors) if place != newest}
        for row in rows.where(Spare, SPARE, "memory_id", self.id):
            if row.model not in spare:
                rows.remove(SPARE, self.id, row.model)
        for place, (model, sequence, vector) in enumerate(self.vectors):
            if place != newest:
                rows.put(SPARE, Spare(self.id, model, self._owner, sequence, place, vector))

    def _save_words(self, rows: Rows, newest: int | None) -> None:
        if newest is None:
            for table in (MEMORIES, SHOWN):
                rows.remove(table, self.id)
        else:
            model, sequence, vector = self.vectors[newest]
            rows.put(MEMORIES, Stored(self.id, vector, self.payload))
            rows.put(SHOWN, Shown(self.id, self._owner, model, sequence, newest))
        if newest is None and self.payload is not None:
            rows.put(UNEMBEDDED, Unembedded(self.id, self._owner, self.payload))
        else:
            rows.remove(UNEMBEDDED, self.id)

    @property
    def _owner(self) -> UUID:
        assert self.owner is not None, "words and vectors name their owner"
        return self.owner

    def deliver(self, vector: Delivered) -> None:
        """Take a vector, unless there is one by its model that was made from later words."""
        before = next((v for v in self.vectors if v.model == vector.model), None)
        if before is not None and before.sequence > vector.sequence:
            return
        self.withdraw(vector.model)
        self.vectors.append(vector)

    def withdraw(self, model: str) -> None:
        """Take the vector of a model away."""
        self.vectors = [v for v in self.vectors if v.model != model]


def added(event: MemoryAdded) -> dict[str, Any]:
    """The payload of a new memory: what Mem0 itself writes, and the names that a request gave."""
    at = _time(event.meta.occurred_at)
    payload = {**_words(left_of(event.content)), "created_at": at, "updated_at": at}
    payload["user_id"] = left_of(event.user_id)
    if event.source is not None:
        payload["agent_id"] = event.source.agent_id
    return payload | _named(event)


def revised(payload: dict[str, Any], event: MemoryRevised) -> dict[str, Any]:
    """The payload of a memory that has other words; what the event leaves out stays as it is."""
    return payload | _words(left_of(event.content)) | {"updated_at": _time(event.meta.occurred_at)} | _named(event)


def _words(text: str) -> dict[str, Any]:
    # Mem0's own form: without spaCy its lemmas are the text itself, and its hash is MD5
    digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    return {"data": text, "text_lemmatized": text, "hash": digest}


def _named(event: MemoryAdded | MemoryRevised) -> dict[str, Any]:
    """Slug, category and tags, as far as the event has them; Mem0 shows them as metadata."""
    named: dict[str, Any] = {name: left_of(value) for name in ("slug", "category") if (value := getattr(event, name)) is not None}
    if event.tags or (isinstance(event, MemoryRevised) and event.tags is not None):
        named["tags"] = [left_of(tag) for tag in event.tags]
    return named


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()
