"""thermal: the thermal archive, one row per live memory, and what has mentioned each memory.

Every value comes from events, ``created_at`` too, so that a rebuild equals the live table. The temperature stored is that of
the last warming (T0); today's is computed when read, by schemas.temperature from T0, last_access, sacred and the policy columns.

``message_ids`` are our references of the messages, ``producer_message_ids`` the ids that their producers gave (the reference,
where one gave none). A memory that a request asked for has neither, and a mention by a request is counted but makes no row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from projections.records import Kind, Placed, Source, refuse_nul
from projections.view import Row, Target, ViewSettings
from projections.views import thermal_rows
from projections.views.thermal_rows import ARCHIVE, MENTION, Patch
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
    SourceRef,
)

_OF_A_MEMORY = (MemoryAdded, MemoryReheated, MemoryRevised, MemoryPinned, MemoryUnpinned, MemoryForgotten)


class ThermalView:
    """The archive and its mentions."""

    name = "thermal"
    version = 2
    tables = (ARCHIVE, MENTION)

    def __init__(self, settings: ViewSettings) -> None:
        topics = settings.topics
        self.sources = (Source(topics.events, topics.partitions, Kind.EVENTS),)

    def check(self, placed: Placed) -> None:
        """Of the events that change rows: memory ids are UUIDs, texts are texts that PostgreSQL takes."""
        if isinstance(placed.record, _OF_A_MEMORY):
            refuse_nul(placed.record)
            if not is_uuid(placed.record.memory_id):
                raise BrokenRecord("memory_id is not a UUID")

    async def apply(self, target: Target, batch: Sequence[Placed]) -> None:
        """Fold a batch: what it adds, changes and forgets is netted in memory first, then written."""
        fold = _Fold()
        for placed in batch:
            match placed.record:
                case MemoryAdded() as event:
                    fold.add(placed, event)
                case MemoryReheated() as event:
                    fold.change(placed, thermal_rows.reheated(placed, event), event.source)
                case MemoryRevised() as event:
                    fold.change(placed, thermal_rows.revised(placed, event), event.source)
                case MemoryPinned() | MemoryUnpinned() as event:
                    fold.change(placed, thermal_rows.pinned(placed, event), None)
                case MemoryForgotten() as event:
                    fold.forget(UUID(event.memory_id), event.include_source)
                case OwnerErased() as event:
                    fold.erase(UUID(event.meta.owner))
        await fold.write(target)


class _Fold:
    """A batch in memory. ``late`` mentions are those of memories from earlier batches."""

    def __init__(self) -> None:
        self._added: dict[UUID, list[Any]] = {}
        self._patched: dict[UUID, Patch] = {}
        self._gone: dict[UUID, None] = {}
        self._erased: dict[UUID, None] = {}
        self._mentions: dict[UUID, list[Row]] = defaultdict(list)
        self._late: dict[UUID, list[Row]] = defaultdict(list)
        self._of_owner: dict[UUID, set[UUID]] = defaultdict(set)
        self._with_source: dict[UUID, None] = {}
        self._destroyed: set[str] = set()
        """Messages that were destroyed with a memory: their producers' ids leave the rows of other memories too."""

    def add(self, placed: Placed, event: MemoryAdded) -> None:
        memory = UUID(event.memory_id)
        self._added[memory] = thermal_rows.added(placed, event)
        self._of_owner[UUID(event.meta.owner)].add(memory)
        if event.source is not None:
            self._mentions[memory].append(thermal_rows.mention(placed, memory, event.source))

    def change(self, placed: Placed, patch: Patch, source: SourceRef | None) -> None:
        memory = UUID(placed.record.memory_id)
        row = self._added.get(memory)
        if row is not None:
            patch.onto(row)
            mentions = self._mentions
        elif memory not in self._gone:
            before = self._patched.get(memory)
            self._patched[memory] = patch if before is None else before.then(patch)
            self._of_owner[UUID(placed.record.meta.owner)].add(memory)
            mentions = self._late
        else:
            return
        if source is not None:
            mentions[memory].append(thermal_rows.mention(placed, memory, source))

    def forget(self, memory: UUID, include_source: bool) -> None:
        if include_source:
            self._with_source[memory] = None
            for rows in (self._mentions, self._late):
                self._destroyed.update(id for row in rows.get(memory, ()) for id in row[thermal_rows.MESSAGE_IDS])
        self._drop(memory)
        self._gone[memory] = None

    def erase(self, owner: UUID) -> None:
        for memory in self._of_owner.pop(owner, ()):
            self._drop(memory)
        self._erased[owner] = None

    def _drop(self, memory: UUID) -> None:
        for held in (self._added, self._patched, self._mentions, self._late):
            held.pop(memory, None)

    async def write(self, target: Target) -> None:
        if self._with_source:
            query = f"SELECT unnest(message_ids) FROM {target.name(MENTION)} WHERE memory_id = ANY(%s)"
            rows = await (await target.conn.execute(query, (list(self._with_source),))).fetchall()
            self._destroyed.update(row[0] for row in rows)
        await self._delete(target)
        await target.upsert(ARCHIVE, list(self._added.values()))
        alike: dict[str, list[Row]] = defaultdict(list)
        for memory, patch in self._patched.items():
            alike[patch.statement(target.name(ARCHIVE))].append([*patch.parameters(), memory])
        for statement, rows in alike.items():
            await target.run(statement, rows)
        await target.upsert(MENTION, [row for rows in self._mentions.values() for row in rows])
        # of a memory that is not there (forgotten before) no mention may stay behind
        marks = ", ".join(["%s"] * len(MENTION.names))
        insert = (
            f"INSERT INTO {target.name(MENTION)} ({MENTION.quoted}) SELECT {marks} "
            f"WHERE EXISTS (SELECT 1 FROM {target.name(ARCHIVE)} WHERE id = %s) ON CONFLICT DO NOTHING"
        )
        await target.run(insert, ([*row, memory] for memory, rows in self._late.items() for row in rows))
        await self._forget_labels(target)

    async def _forget_labels(self, target: Target) -> None:
        """A destroyed message goes by our reference, as it does in a replay, which can no longer read its producer's id."""
        if self._destroyed:
            for table in (ARCHIVE, MENTION):
                await target.conn.execute(
                    f"UPDATE {target.name(table)} SET producer_message_ids = ARRAY("
                    "SELECT CASE WHEN said.id = ANY(%(gone)s) THEN said.id ELSE said.label END "
                    "FROM unnest(message_ids, producer_message_ids) WITH ORDINALITY AS said (id, label, place) "
                    "ORDER BY said.place) WHERE message_ids && %(gone)s",
                    {"gone": sorted(self._destroyed)},
                )

    async def _delete(self, target: Target) -> None:
        archive, mention = target.name(ARCHIVE), target.name(MENTION)
        if self._erased:
            owners = list(self._erased)
            await target.conn.execute(
                f"DELETE FROM {mention} m USING {archive} a WHERE a.id = m.memory_id AND a.owner = ANY(%s)", (owners,)
            )
            await target.conn.execute(f"DELETE FROM {archive} WHERE owner = ANY(%s)", (owners,))
        if self._gone:
            gone = list(self._gone)
            await target.conn.execute(f"DELETE FROM {archive} WHERE id = ANY(%s)", (gone,))
            await target.conn.execute(f"DELETE FROM {mention} WHERE memory_id = ANY(%s)", (gone,))
