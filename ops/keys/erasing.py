"""Forgetting carried out: the keys of what the log says is forgotten are destroyed.

A projection of the log like any other, but its tables stand in the key store's own database, so that a store brought back from an
old backup goes on from the log position of that backup and destroys again what was forgotten since. Destroying may be repeated,
and is never taken back: the event that asks for it is accepted.

What a memory says is found by what its events carried: the fingerprints of its words, old ones too, and the messages that it was
learnt from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from ops.keys.database import BY_KEY
from ops.keys.destroying import Destroyer
from projections.records import Kind, Placed, Source
from projections.view import Column, Table, Target
from schemas.errors import BrokenRecord
from schemas.ids import is_uuid, part_of
from schemas.topics import Topics
from schemas.types import (
    CommandRejected,
    ConsolidateDay,
    MemoryAdded,
    MemoryForgotten,
    MemoryReheated,
    MemoryRevised,
    OwnerErased,
    ParkedResolved,
    ParkedRetryRequested,
    ReceiptIssued,
    WorkParked,
)

STATEMENT = Table(
    "keyed_statement",
    (Column("memory_id", "uuid"), Column("fingerprint", "text"), Column("command_id", "text"), Column("owner", "uuid")),
    ("memory_id", "fingerprint", "command_id"),
    indexes=("(owner)",),
)
MESSAGE = Table(
    "keyed_message",
    (Column("memory_id", "uuid"), Column("message_id", "text"), Column("turn_id", "text"), Column("owner", "uuid")),
    ("memory_id", "message_id"),
    indexes=("(owner)",),
)
FORGETTING = Table(
    "forgetting",
    (
        Column("forget_id", "text"),
        Column("request_id", "text"),
        Column("complete", "bool"),
        Column("owner", "uuid"),
        Column("partition", "int4"),
        Column("event_offset", "int8"),
        Column("asked_at", "timestamptz"),
        Column("memories", "int8"),
        Column("keys", "int8"),
        Column("remaining", "text[]"),
        Column("receipt_id", "text", null=True),
        Column("receipt", "jsonb", null=True),
    ),
    ("forget_id",),
    indexes=("(owner, event_offset)", "(request_id)"),
)
"""What each command forgot. A request has several where it takes more than one; it is complete once the last was decided."""
_TOLD = (MemoryAdded, MemoryReheated, MemoryRevised)


@dataclass(slots=True)
class Forgetting:
    """What one command forgot: ``memories`` of an owner, or the owner as a whole."""

    owner: str
    partition: int
    offset: int
    asked_at: Any
    cause: int
    below: int
    include_source: bool = False
    erased: int | None = None
    """Memories that an erasure took; None for single memories."""
    memories: list[UUID] = field(default_factory=list)
    summaries: set[str] = field(default_factory=set)


class ErasingView:
    """The projection; see the module."""

    name = "keys"
    version = 3
    tables = (STATEMENT, MESSAGE, FORGETTING)

    def __init__(self, topics: Topics, destroyer: Destroyer) -> None:
        self._destroyer = destroyer
        self.sources = (
            Source(topics.events, topics.partitions, Kind.EVENTS),
            Source(topics.parked, topics.partitions, Kind.PLAIN, (WorkParked, ParkedRetryRequested, ParkedResolved)),
        )

    def check(self, placed: Placed) -> None:
        """Memories are named by UUIDs."""
        memory_id = getattr(placed.record, "memory_id", None)
        if memory_id is not None and not is_uuid(memory_id):
            raise BrokenRecord("memory_id is not a UUID")

    async def apply(self, target: Target, batch: Sequence[Placed]) -> None:
        """Fold a batch: note what memories say and where from, then destroy what was forgotten."""
        events = [placed for placed in batch if not isinstance(placed.record, WorkParked | ParkedRetryRequested | ParkedResolved)]
        resolved = [placed.record.parked_id for placed in batch if isinstance(placed.record, ParkedResolved)]
        forgettings = _forgettings(events)
        # with what is noted of it here: whoever is killed in between has done neither
        destroyer = self._destroyer.within(target.conn)
        settings = (*BY_KEY, "synchronous_commit = on")
        await target.conn.execute(";".join(f"SET LOCAL {setting}" for setting in settings))
        rejected = _rejected_summaries(p.record for p in events)
        await destroyer.hold({*(f.owner for f in forgettings.values()), *rejected, *([""] if resolved else [])})
        # before anything is destroyed: a request that was decided earlier than a forgetting goes with it
        await destroyer.settle({(p.record.meta.owner, p.record.meta.command_id): p.record.meta.cause for p in events})
        await self._note(target, [p.record for p in events if isinstance(p.record, _TOLD)])
        for forget_id, forgetting in forgettings.items():
            await self._carry_out(target, destroyer, forget_id, forgetting)
        for owner, commands in rejected.items():
            await destroyer.destroy_rejected_summaries(owner, commands)
        await self._complete(target, events)
        await self._receipts(target, [p.record for p in events if isinstance(p.record, ReceiptIssued)])
        if resolved:
            await destroyer.destroy_parked(resolved)

    async def _note(self, target: Target, events: Iterable[MemoryAdded | MemoryReheated | MemoryRevised]) -> None:
        statements: dict[tuple[UUID, str, str], list[Any]] = {}
        messages: dict[tuple[UUID, str], list[Any]] = {}
        for event in events:
            memory, owner = UUID(event.memory_id), UUID(event.meta.owner)
            if not isinstance(event, MemoryReheated):
                said = (memory, event.fingerprint, event.meta.command_id)
                statements[said] = [*said, owner]
            if event.source is not None:
                for message in event.source.messages:
                    messages[memory, message.message_id] = [memory, message.message_id, event.source.turn_id, owner]
        await target.upsert(STATEMENT, list(statements.values()))
        await target.upsert(MESSAGE, list(messages.values()))

    async def _carry_out(self, target: Target, destroyer: Destroyer, forget_id: str, forgetting: Forgetting) -> None:
        if forgetting.erased is not None:
            erased = await destroyer.destroy_owner(forgetting.owner)
            for table in (STATEMENT, MESSAGE):
                await target.conn.execute(f"DELETE FROM {target.name(table)} WHERE owner = %s", (UUID(forgetting.owner),))
            await self._record(target, forget_id, forgetting, forgetting.erased, erased.items + erased.owners, [])
            return
        fingerprints = [row[0] for row in await _of(target, STATEMENT, "fingerprint", forgetting.memories)]
        messages = await _of(target, MESSAGE, "message_id, turn_id", forgetting.memories)
        destroyed = await destroyer.destroy_statements(
            forgetting.owner, fingerprints, forgetting.below, forgetting.cause, await _others(target, forgetting, fingerprints)
        )
        if forgetting.summaries:
            destroyed += await destroyer.destroy_summaries(forgetting.owner, forgetting.summaries, forgetting.cause)
        if forgetting.include_source:
            turns = {row[1] for row in messages}
            destroyed += await destroyer.destroy_messages(forgetting.owner, {row[0] for row in messages}, turns)
        for table in (STATEMENT, MESSAGE):
            await target.conn.execute(f"DELETE FROM {target.name(table)} WHERE memory_id = ANY(%s)", (forgetting.memories,))
        remaining = [] if forgetting.include_source else sorted({row[0] for row in messages})
        await self._record(target, forget_id, forgetting, len(forgetting.memories), destroyed, remaining)

    async def _record(
        self, target: Target, forget_id: str, forgetting: Forgetting, memories: int, keys: int, remaining: list[str]
    ) -> None:
        # carried out again, as after a restore, the keys are gone already: what was counted first stays
        insert = (
            f"INSERT INTO {target.name(FORGETTING)} AS f "
            "(forget_id, request_id, complete, owner, partition, event_offset, asked_at, memories, keys, remaining) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (forget_id) DO NOTHING"
        )
        part = part_of(forget_id)
        request = (forget_id, part.request_id, part.of == 1, UUID(forgetting.owner))
        place = (forgetting.partition, forgetting.offset, forgetting.asked_at)
        await target.conn.execute(insert, (*request, *place, memories, keys, remaining))

    async def _complete(self, target: Target, events: Iterable[Placed]) -> None:
        """Note which requests of several commands have had their last one, whatever came of that: an owner's are in order."""
        parts = [(placed.record.meta.owner, part_of(placed.record.meta.command_id)) for placed in events]
        last = {(UUID(owner), part.request_id) for owner, part in parts if part.number == part.of > 1}
        update = f"UPDATE {target.name(FORGETTING)} SET complete = true WHERE owner = %s AND request_id = %s"
        await target.run(update, sorted(last))

    async def _receipts(self, target: Target, events: Iterable[ReceiptIssued]) -> None:
        update = f"UPDATE {target.name(FORGETTING)} SET receipt_id = %s, receipt = %s WHERE request_id = %s"
        await target.run(update, [(e.receipt_id, Jsonb(_told(e)), e.forget_id) for e in events])


def _forgettings(events: Iterable[Placed]) -> dict[str, Forgetting]:
    """What was forgotten, by command, in the log's order."""
    found: dict[str, Forgetting] = {}
    for placed in events:
        event = placed.record
        if not isinstance(event, MemoryForgotten | OwnerErased):
            continue
        meta = event.meta
        made = Forgetting(
            meta.owner, placed.partition, placed.offset, meta.occurred_at, meta.cause, event.conversation_end_offset
        )
        forgetting = found.setdefault(meta.command_id, made)
        forgetting.offset = placed.offset
        if isinstance(event, OwnerErased):
            forgetting.erased = event.memories
        else:
            forgetting.memories.append(UUID(event.memory_id))
            forgetting.include_source |= event.include_source
            forgetting.summaries.update(event.summary_ids)
    return found


def _rejected_summaries(events: Iterable[Any]) -> dict[str, list[str]]:
    """By owner: commands whose summary was made from what is forgotten, and so was not taken over."""
    found: dict[str, list[str]] = {}
    for event in events:
        if isinstance(event, CommandRejected) and event.command_type == ConsolidateDay.__name__:
            found.setdefault(event.meta.owner, []).append(event.meta.command_id)
    return found


async def _of(target: Target, table: Table, columns: str, memories: list[UUID]) -> list[tuple[Any, ...]]:
    query = f"SELECT DISTINCT {columns} FROM {target.name(table)} WHERE memory_id = ANY(%s)"
    return await (await target.conn.execute(query, (memories,))).fetchall()


async def _others(target: Target, forgetting: Forgetting, fingerprints: list[str]) -> list[str]:
    """Commands by which memories that stay came to say the same words: two memories may, under different slugs."""
    query = (
        f"SELECT DISTINCT command_id FROM {target.name(STATEMENT)} "
        "WHERE owner = %s AND fingerprint = ANY(%s) AND memory_id <> ALL(%s)"
    )
    cursor = await target.conn.execute(query, (UUID(forgetting.owner), fingerprints, forgetting.memories))
    return [row[0] for row in await cursor.fetchall()]


def _told(event: ReceiptIssued) -> dict[str, Any]:
    stores = []
    for o in event.outcomes:
        until = None if o.pending_until is None else o.pending_until.isoformat()
        stores.append({"store": o.store, "removed": o.removed, "pending_until": until})
    return {
        "stores": stores,
        "remaining_message_ids": list(event.remaining_message_ids),
        "at": event.meta.occurred_at.isoformat(),
    }
