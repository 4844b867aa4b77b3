"""current: the newest state of each live memory, for the topic ``memory.current.v1``.

Values stay sealed as they stand on the log: the view asks for no key, and what it holds of a memory is as unreadable as the log
once the keys are gone. Which memories changed it notes in an outbox, in the transaction of the change;
``projections.current_publisher`` sends them. The outbox, and how far it was sent, are no part of the digest.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec.structs import replace

from projections.folding import FoldingView
from projections.records import Kind, Placed, Source
from projections.rows import Int4, Row, Rows, Wanted, table_of, uuid_of
from projections.view import ViewSettings
from schemas.errors import BrokenRecord
from schemas.ids import is_uuid
from schemas.sealed import Sealed
from schemas.types import (
    MemoryAdded,
    MemoryCurrent,
    MemoryDownshifted,
    MemoryForgotten,
    MemoryPinned,
    MemoryReheated,
    MemoryRevised,
    MemoryUnpinned,
    OwnerErased,
    ThermalPolicy,
)

NEW_TIER = "hot"


class Current(Row, frozen=True):
    """A live memory. Values about a person are ``Sealed`` in MessagePack, ``tags`` a list of them."""

    memory_id: UUID
    owner: UUID
    partition: Int4
    user_id: bytes
    content: bytes
    slug: bytes | None
    category: bytes | None
    tags: bytes
    extra: bytes | None
    version: int
    salience: float
    temperature: float
    warmed_at: datetime
    initial: float
    reheat: float
    maximum: float
    floor: float
    half_life_days: float
    pinned: bool
    tier: str
    access_count: int
    created_at: datetime
    sequence: int


class Noted(Row, frozen=True):
    """A memory of which the topic is to be told; ``sequence`` is that of the event that changed or ended it."""

    owner: UUID
    memory_id: UUID
    partition: Int4
    sequence: int


class Sent(Row, frozen=True):
    """Up to where the publisher knows a partition of the topic."""

    partition: Int4
    end_offset: int


CURRENT = table_of(Current, "memory_current", key=("memory_id",), lookups=("owner",), indexes=("(owner)",))
OUTBOX = table_of(Noted, "memory_current_outbox", key=("owner", "memory_id"), lookups=("owner",), digested=False)
SENT = table_of(Sent, "memory_current_sent", key=("partition",), digested=False)

Change = MemoryReheated | MemoryRevised | MemoryPinned | MemoryUnpinned | MemoryDownshifted
_OF_A_MEMORY = (MemoryAdded, MemoryForgotten, MemoryReheated, MemoryRevised, MemoryPinned, MemoryUnpinned, MemoryDownshifted)
_pack = msgspec.msgpack.Encoder().encode
_one, _many = msgspec.msgpack.Decoder(Sealed).decode, msgspec.msgpack.Decoder(tuple[Sealed, ...]).decode


class CurrentView(FoldingView):
    """One row per live memory, and an outbox."""

    name = "current"
    version = 1
    opens = False
    bulk = False  # the loader opens what it folds
    tables = (CURRENT, OUTBOX, SENT)

    def __init__(self, settings: ViewSettings) -> None:
        topics = settings.topics
        self.sources = (Source(topics.events, topics.partitions, Kind.EVENTS),)

    def check(self, placed: Placed) -> None:
        """Memory ids are UUIDs; a tier, which stands in clear, is a text that PostgreSQL takes."""
        event = placed.record
        if isinstance(event, _OF_A_MEMORY) and not is_uuid(event.memory_id):
            raise BrokenRecord("memory_id is not a UUID")
        if isinstance(event, MemoryDownshifted) and "\0" in event.tier:
            raise BrokenRecord("a tier holds a NUL byte")

    def wants(self, wanted: Wanted, placed: Placed) -> None:
        """The memory, and whether it is noted already; of an erased owner all of both."""
        event = placed.record
        if isinstance(event, OwnerErased):
            for table in (CURRENT, OUTBOX):
                wanted.where(table, "owner", uuid_of(event.meta.owner))
        elif isinstance(event, _OF_A_MEMORY):
            wanted.key(OUTBOX, uuid_of(event.meta.owner), uuid_of(event.memory_id))
            if not isinstance(event, MemoryAdded):
                wanted.key(CURRENT, uuid_of(event.memory_id))

    def fold(self, rows: Rows, placed: Placed) -> None:
        """Keep the newest state; note what changed."""
        event = placed.record
        match event:
            case OwnerErased(meta=meta):
                for row in rows.where(Current, CURRENT, "owner", uuid_of(meta.owner)):
                    _note(rows, placed, row.memory_id)
                rows.remove_where(CURRENT, "owner", uuid_of(meta.owner))
            case MemoryForgotten(memory_id=memory_id):
                rows.remove(CURRENT, uuid_of(memory_id))
                _note(rows, placed, uuid_of(memory_id))
            case MemoryAdded(memory_id=memory_id):
                rows.add(CURRENT, _added(placed, event))
                _note(rows, placed, uuid_of(memory_id))
            case MemoryReheated() | MemoryRevised() | MemoryPinned() | MemoryUnpinned() | MemoryDownshifted():
                before = rows.get(Current, CURRENT, uuid_of(event.memory_id))
                if before is not None:  # else forgotten before
                    rows.put(CURRENT, _changed(before, event))
                    _note(rows, placed, before.memory_id)


def record_of(row: Current) -> MemoryCurrent:
    """The record of a memory as it stands on the topic. It follows from the row alone."""
    return MemoryCurrent(
        memory_id=str(row.memory_id),
        owner=str(row.owner),
        user_id=_one(row.user_id),
        content=_one(row.content),
        version=row.version,
        salience=row.salience,
        temperature=row.temperature,
        warmed_at=row.warmed_at.astimezone(UTC),
        policy=ThermalPolicy(row.initial, row.reheat, row.maximum, row.floor, row.half_life_days),
        pinned=row.pinned,
        tier=row.tier,
        access_count=row.access_count,
        created_at=row.created_at.astimezone(UTC),
        sequence=row.sequence,
        slug=None if row.slug is None else _one(row.slug),
        category=None if row.category is None else _one(row.category),
        tags=_many(row.tags),
        extra=None if row.extra is None else _one(row.extra),
    )


def _note(rows: Rows, placed: Placed, memory: UUID) -> None:
    meta = placed.record.meta
    rows.put(OUTBOX, Noted(uuid_of(meta.owner), memory, placed.partition, meta.sequence))


def _added(placed: Placed, event: MemoryAdded) -> Current:
    meta = event.meta
    return Current(
        memory_id=uuid_of(event.memory_id),
        owner=uuid_of(meta.owner),
        partition=placed.partition,
        user_id=_pack(event.user_id),
        content=_pack(event.content),
        slug=_packed(event.slug),
        category=_packed(event.category),
        tags=_pack(event.tags),
        extra=_packed(event.extra),
        version=1,
        salience=event.salience,
        temperature=event.temperature,
        warmed_at=meta.occurred_at,
        **_policy(event.policy),
        pinned=False,
        tier=NEW_TIER,
        access_count=1,
        created_at=meta.occurred_at,
        sequence=meta.sequence,
    )


def _changed(before: Current, event: Change) -> Current:
    changes: dict[str, Any] = {"sequence": event.meta.sequence}
    if isinstance(event, MemoryDownshifted):
        return replace(before, **changes, tier=event.tier)
    changes |= {"temperature": event.temperature, "warmed_at": event.warmed_at}
    if isinstance(event, MemoryPinned | MemoryUnpinned):
        return replace(before, **changes, pinned=isinstance(event, MemoryPinned))
    changes |= {"access_count": event.access_count, **_policy(event.policy)}
    if isinstance(event, MemoryRevised):
        changes |= {"version": event.version, "content": _pack(event.content)}
        # what a revision leaves out stays as it is
        said = {name: getattr(event, name) for name in ("slug", "category", "tags", "extra")}
        changes |= {name: _pack(value) for name, value in said.items() if value is not None}
    return replace(before, **changes)


def _packed(value: Sealed | None) -> bytes | None:
    return None if value is None else _pack(value)


def _policy(policy: ThermalPolicy) -> dict[str, float]:
    return {name: getattr(policy, name) for name in ("initial", "reheat", "maximum", "floor", "half_life_days")}
