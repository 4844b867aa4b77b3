"""parked: work that could not be done and waits for a person. A row vanishes when its work is resolved."""

from __future__ import annotations

import base64
from datetime import datetime
from uuid import UUID

from msgspec.structs import replace

from projections.folding import FoldingView
from projections.records import Kind, Placed, Source
from projections.rows import Int4, Json, Row, Rows, Wanted, table_of
from projections.view import ViewSettings
from schemas.errors import BrokenRecord
from schemas.ids import is_uuid
from schemas.sealed import PLAIN, Sealed
from schemas.types import ParkedResolved, ParkedRetryRequested, WorkParked


class ParkedWork(Row, frozen=True):
    """A piece of parked work. ``headers`` maps names to base64."""

    parked_id: UUID
    owner: UUID | None
    stage: str
    topic: str
    partition: Int4
    offset: int
    reason: str
    behind: UUID | None
    attempts: Int4
    parked_at: datetime
    retry_requested_at: datetime | None
    size: int
    key: bytes | None
    value: bytes | None
    headers: Json


PARKED_WORK = table_of(ParkedWork, "parked_work", key=("parked_id",), indexes=("(owner)",))


class ParkedView(FoldingView):
    """One row per parked piece of work."""

    name = "parked"
    version = 2
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

    def wants(self, wanted: Wanted, placed: Placed) -> None:
        """The row of the work."""
        wanted.key(PARKED_WORK, UUID(placed.record.parked_id))

    def fold(self, rows: Rows, placed: Placed) -> None:
        """The last word on each piece of work counts."""
        key = UUID(placed.record.parked_id)
        match placed.record:
            case WorkParked() as work:
                rows.put(PARKED_WORK, _row(key, work))
            case ParkedRetryRequested(requested_at=at):
                row = rows.get(ParkedWork, PARKED_WORK, key)
                if row is not None:
                    rows.put(PARKED_WORK, replace(row, retry_requested_at=at))
            case ParkedResolved():
                rows.remove(PARKED_WORK, key)


def _row(key: UUID, work: WorkParked) -> ParkedWork:
    return ParkedWork(
        parked_id=key,
        owner=None if work.owner is None else UUID(work.owner),
        stage=_clean(work.stage),
        topic=_clean(work.topic),
        partition=work.partition,
        offset=work.offset,
        reason=_clean(work.reason),
        behind=None if work.behind is None else UUID(work.behind),
        attempts=work.attempts,
        parked_at=work.parked_at,
        retry_requested_at=None,
        size=len(_opened(work.value) or b""),
        key=_opened(work.key),
        value=_opened(work.value),
        headers={_clean(name): base64.b64encode(_opened(value) or b"").decode() for name, value in work.headers.items()},
    )


def _opened(value: Sealed | None) -> bytes | None:
    """The bytes of a value, None where it is sealed: the work is listed all the same."""
    return value.raw if value is not None and value.cipher == PLAIN else None


def _clean(text: str) -> str:
    """Parked work must stay visible whatever its texts hold."""
    return text.replace("\0", "\ufffd")
