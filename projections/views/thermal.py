"""thermal: the thermal archive, one row per live memory; what has mentioned each memory; and every version of its words.

Every value comes from events, ``created_at`` too, so that a rebuild equals the live table. The temperature stored is that of
the last warming (T0); today's is computed when read, by schemas.temperature from T0, last_access, sacred and the policy columns.

``message_ids`` are our references of the messages, ``producer_message_ids`` the ids that their producers gave (the reference,
where one gave none). A memory that a request asked for has neither, and a mention by a request is counted but makes no row.
A forgotten memory leaves all three tables, old versions too.
"""

from __future__ import annotations

from projections.folding import FoldingView
from projections.records import Kind, Placed, Source, refuse_nul
from projections.rows import Rows, Wanted, uuid_of
from projections.view import ViewSettings
from projections.views import thermal_rows as make
from projections.views.thermal_rows import ARCHIVE, MENTION, VERSION, Archived, Mentioned, Version
from schemas.errors import BrokenRecord
from schemas.ids import is_uuid
from schemas.types import (
    MemoryAdded,
    MemoryForgotten,
    MemoryPinned,
    MemoryReheated,
    MemoryRevised,
    MemoryUnpinned,
    OwnerErased,
)

_CHANGES = (MemoryReheated, MemoryRevised, MemoryPinned, MemoryUnpinned)
_OF_A_MEMORY = (MemoryAdded, MemoryForgotten, *_CHANGES)


class ThermalView(FoldingView):
    """The archive, its mentions and its versions."""

    name = "thermal"
    version = 3
    tables = (ARCHIVE, MENTION, VERSION)

    def __init__(self, settings: ViewSettings) -> None:
        topics = settings.topics
        self.sources = (Source(topics.events, topics.partitions, Kind.EVENTS),)

    def check(self, placed: Placed) -> None:
        """Of the events that change rows: memory ids are UUIDs, texts are texts that PostgreSQL takes."""
        if isinstance(placed.record, _OF_A_MEMORY):
            refuse_nul(placed.record)
            if not is_uuid(placed.record.memory_id):
                raise BrokenRecord("memory_id is not a UUID")

    def wants(self, wanted: Wanted, placed: Placed) -> None:
        """The memory that changes; of one that is forgotten with its messages, what else of its owner names these."""
        match placed.record:
            case MemoryForgotten(include_source=True) as event:
                wanted.where(MENTION, "memory_id", uuid_of(event.memory_id))
                for table in (ARCHIVE, MENTION):
                    wanted.where(table, "owner", uuid_of(event.meta.owner))
            case MemoryReheated() | MemoryPinned() | MemoryUnpinned() as event:
                wanted.key(ARCHIVE, uuid_of(event.memory_id))
            case MemoryRevised() as event:
                wanted.key(ARCHIVE, uuid_of(event.memory_id))
                wanted.where(VERSION, "memory_id", uuid_of(event.memory_id))

    def fold(self, rows: Rows, placed: Placed) -> None:
        """Add, change, forget, erase."""
        match placed.record:
            case MemoryAdded() as event:
                rows.add(ARCHIVE, make.added(placed, event))
                rows.add(VERSION, make.first_version(placed, event))
                if event.source is not None:
                    rows.add(MENTION, make.mention(placed, event.source))
            case MemoryReheated() | MemoryRevised() | MemoryPinned() | MemoryUnpinned():
                _change(rows, placed)
            case MemoryForgotten() as event:
                _forget(rows, event)
            case OwnerErased(meta=meta):
                for table in self.tables:
                    rows.remove_where(table, "owner", uuid_of(meta.owner))


def _change(rows: Rows, placed: Placed) -> None:
    event = placed.record
    row = rows.get(Archived, ARCHIVE, uuid_of(event.memory_id))
    if row is None:
        return  # forgotten before
    match event:
        case MemoryReheated():
            rows.put(ARCHIVE, make.reheated(row, placed, event))
        case MemoryRevised():
            rows.put(ARCHIVE, make.revised(row, placed, event))
            newest = max(rows.where(Version, VERSION, "memory_id", row.id), key=lambda version: version.version)
            for version in make.next_version(newest, placed, event):
                rows.put(VERSION, version)
        case _:
            rows.put(ARCHIVE, make.pinned(row, placed, event))
    if isinstance(event, MemoryReheated | MemoryRevised) and event.source is not None:
        rows.add(MENTION, make.mention(placed, event.source))


def _forget(rows: Rows, event: MemoryForgotten) -> None:
    memory, owner = uuid_of(event.memory_id), uuid_of(event.meta.owner)
    if event.include_source:
        destroyed = {id for row in rows.where(Mentioned, MENTION, "memory_id", memory) for id in row.message_ids}
        for archived in rows.where(Archived, ARCHIVE, "owner", owner):
            rows.put(ARCHIVE, make.without_labels(archived, destroyed))
        for mentioned in rows.where(Mentioned, MENTION, "owner", owner):
            rows.put(MENTION, make.without_labels(mentioned, destroyed))
    rows.remove_where(ARCHIVE, "id", memory)
    for table in (MENTION, VERSION):
        rows.remove_where(table, "memory_id", memory)
