"""parked: work that could not be done and waits for a person. A row vanishes when its work is resolved."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from psycopg.types.json import Jsonb

from projections.records import Kind, Placed, Source
from projections.view import Column, Row, Table, Target, ViewSettings
from schemas.errors import BrokenRecord
from schemas.ids import is_uuid
from schemas.sealed import PLAIN, Sealed
from schemas.types import ParkedResolved, ParkedRetryRequested, WorkParked

PARKED_WORK = Table(
    "parked_work",
    (
        Column("parked_id", "uuid"),
        Column("owner", "uuid", null=True),
        Column("stage", "text"),
        Column("topic", "text"),
        Column("partition", "int4"),
        Column("offset", "int8"),
        Column("reason", "text"),
        Column("behind", "uuid", null=True),
        Column("attempts", "int4"),
        Column("parked_at", "timestamptz"),
        Column("retry_requested_at", "timestamptz", null=True),
        Column("size", "int8"),
        Column("key", "bytea", null=True),
        Column("value", "bytea", null=True),
        Column("headers", "jsonb"),
    ),
    ("parked_id",),
    indexes=("(owner)",),
)


class ParkedView:
    """One row per parked piece of work. ``headers`` maps names to base64."""

    name = "parked"
    version = 1
    tables = (PARKED_WORK,)

    def __init__(self, settings: ViewSettings) -> None:
        topics = settings.topics
        kinds = (WorkParked, ParkedRetryRequested, ParkedResolved)
        self.sources = (Source(topics.parked, topics.partitions, Kind.PLAIN, kinds),)

    def check(self, placed: Placed) -> None:
        """Ids are UUIDs."""
        record = placed.record
        behind = record.behind if isinstance(record, WorkParked) else None
        if not is_uuid(record.parked_id) or not all(value is None or is_uuid(value) for value in (record.owner, behind)):
            raise BrokenRecord("parked_id, owner or behind is not a UUID")

    async def apply(self, target: Target, batch: Sequence[Placed]) -> None:
        """Fold a batch: the last word on each piece of work counts."""
        parked: dict[UUID, list[object]] = {}
        retried: dict[UUID, datetime] = {}
        gone: set[UUID] = set()
        for placed in batch:
            key = UUID(placed.record.parked_id)
            match placed.record:
                case WorkParked() as work:
                    parked[key] = list(_row(key, work))
                    retried.pop(key, None)
                case ParkedRetryRequested(requested_at=at):
                    if key in parked:
                        parked[key][PARKED_WORK.names.index("retry_requested_at")] = at
                    else:
                        retried[key] = at
                case ParkedResolved():
                    parked.pop(key, None)
                    retried.pop(key, None)
                    gone.add(key)
        table = target.name(PARKED_WORK)
        if gone:
            await target.conn.execute(f"DELETE FROM {table} WHERE parked_id = ANY(%s)", (list(gone),))
        await target.upsert(PARKED_WORK, list(parked.values()))
        update = f"UPDATE {table} SET retry_requested_at = %s WHERE parked_id = %s"
        await target.run(update, [(at, key) for key, at in retried.items()])


def _row(key: UUID, work: WorkParked) -> Row:
    headers = {_clean(name): base64.b64encode(_opened(value) or b"").decode() for name, value in work.headers.items()}
    return [
        key,
        None if work.owner is None else UUID(work.owner),
        _clean(work.stage),
        _clean(work.topic),
        work.partition,
        work.offset,
        _clean(work.reason),
        None if work.behind is None else UUID(work.behind),
        work.attempts,
        work.parked_at,
        None,
        len(_opened(work.value) or b""),
        _opened(work.key),
        _opened(work.value),
        Jsonb(headers),
    ]


def _opened(value: Sealed | None) -> bytes | None:
    """The bytes of a value, None where it is sealed: the work is listed all the same."""
    return value.raw if value is not None and value.cipher == PLAIN else None


def _clean(text: str) -> str:
    """Parked work must stay visible whatever its texts hold."""
    return text.replace("\0", "\ufffd")
