"""Rows of the graph: traces, and what is remembered of those that are gone. What each record makes of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from projections.records import Placed
from projections.rows import Json, Row, table_of, uuid_of
from schemas.sealed import Sealed, left_of, text_of
from schemas.types import ConversationTurn, DaySummarised, MemoryAdded, MemoryDownshifted, MemoryRevised, Message

MEMORY, MESSAGE, SUMMARY = "memory", "message", "summary"
"""Kinds of traces; a memory's and a summary's role has the same name, a message has the role of its speaker."""
HOT = "hot"
MIDDLING = 0.5
"""Salience of a summary of messages alone."""


class Trace(Row, frozen=True):
    """A memory, message or summary. ``sequence`` is that of the event that changed it last; a message has none.

    ``source`` is its place on the log, and its turn where it has one. ``dropped`` are heads that are not kept any more, each with
    the sequence of the event that says so.
    """

    id: UUID
    user_id: str | None
    content: str
    role: str
    created_at: datetime
    salience: float
    source: Json
    meta: Json
    owner: UUID
    kind: str
    tier: str
    sequence: int | None
    dropped: Json


class Forgotten(Row, frozen=True):
    """A memory that is gone, since the event of this number."""

    memory_id: UUID
    sequence: int


class Gone(Row, frozen=True):
    """A message that was forgotten with a memory that it taught."""

    message_id: UUID
    owner: UUID


class Erased(Row, frozen=True):
    """An owner who was erased by the event of this number."""

    owner: UUID
    sequence: int


TRACE = table_of(
    Trace,
    "memory_trace",
    key=("id",),
    lookups=("owner",),
    indexes=("(owner, kind)", "(created_at)", "(salience)", "USING gin (meta)"),
    clustered=True,
)
WAITING_MESSAGE = table_of(Trace, "waiting_message", key=("id",), lookups=("owner",), indexes=("(owner)",))
"""Messages that no fact makes salient enough: read by nobody, forgotten like traces."""
FORGOTTEN = table_of(Forgotten, "forgotten_memory", key=("memory_id",))
GONE = table_of(Gone, "gone_message", key=("message_id",))
ERASED = table_of(Erased, "erased_owner", key=("owner",))


def memory(placed: Placed, event: MemoryAdded) -> Trace:
    """A new memory."""
    turn = event.source
    source = _place(placed)
    if turn is not None:
        source |= {"turn_id": turn.turn_id, "session_id": left_of(turn.session_id), "agent_id": turn.agent_id}
    return Trace(
        id=uuid_of(event.memory_id),
        user_id=left_of(event.user_id),
        content=left_of(event.content),
        role=MEMORY,
        created_at=event.meta.occurred_at,
        salience=event.salience,
        source=source,
        meta={"tags": _texts(event.tags), **_named(event)},
        owner=uuid_of(event.meta.owner),
        kind=MEMORY,
        tier=HOT,
        sequence=event.meta.sequence,
        dropped={},
    )


def revised(row: Trace, event: MemoryRevised) -> Trace:
    """Other words. What the event leaves out stays as it is."""
    tags = {} if event.tags is None else {"tags": _texts(event.tags)}
    return replace(row, content=left_of(event.content), meta=row.meta | _named(event) | tags, sequence=event.meta.sequence)


def downshifted(row: Trace, event: MemoryDownshifted) -> Trace:
    """In another tier, with fewer heads."""
    sequence = event.meta.sequence
    return replace(row, tier=event.tier, dropped=row.dropped | dict.fromkeys(event.dropped_heads, sequence), sequence=sequence)


def message(placed: Placed, turn: ConversationTurn, said: Message) -> Trace:
    """What was said, salient in no way yet."""
    details = {name: text_of(getattr(said, name)) for name in ("name", "image_caption", "producer_id")}
    return Trace(
        id=uuid_of(said.message_id),
        user_id=left_of(turn.user_id),
        content=left_of(said.content),
        role=said.role,
        created_at=said.sent_at or turn.occurred_at,
        salience=0.0,
        source=_place(placed) | {"turn_id": turn.turn_id, "session_id": left_of(turn.session_id), "agent_id": turn.agent_id},
        meta={name: text for name, text in details.items() if text is not None},
        owner=uuid_of(turn.owner),
        kind=MESSAGE,
        tier=HOT,
        sequence=None,
        dropped={},
    )


def summary(placed: Placed, event: DaySummarised, memories: Iterable[Trace]) -> Trace:
    """A day's summary: its user is that of its memories, and it is as salient as the most salient of them."""
    known = list(memories)
    return Trace(
        id=uuid_of(event.summary_id),
        user_id=known[0].user_id if known else None,
        content=left_of(event.content),
        role=SUMMARY,
        created_at=event.meta.occurred_at,
        salience=max((row.salience for row in known), default=MIDDLING),
        source=_place(placed),
        meta={
            "day": event.day.isoformat(), "revision": event.revision,
            "model": event.model, "prompt_version": event.prompt_version,
        },
        owner=uuid_of(event.meta.owner),
        kind=SUMMARY,
        tier=HOT,
        sequence=event.meta.sequence,
        dropped={},
    )  # fmt: skip


def _place(placed: Placed) -> dict[str, Any]:
    return {"topic": placed.topic, "partition": placed.partition, "offset": placed.offset}


def _named(event: MemoryAdded | MemoryRevised) -> dict[str, str]:
    return {name: left_of(value) for name in ("slug", "category") if (value := getattr(event, name)) is not None}


def _texts(values: Iterable[Sealed]) -> list[str]:
    return [left_of(value) for value in values]
