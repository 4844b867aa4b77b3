"""parked: work that could not be done and waits for a person. A row vanishes when its work is resolved.

What was parked of an owner who is erased stays listed without what it held: its keys are destroyed, so a rebuild cannot read it.
"""

from __future__ import annotations

import base64
from datetime import datetime
from uuid import UUID

from msgspec.structs import replace

from projections.folding import FoldingView
from projections.records import Kind, Placed, Source
from projections.rows import Int4, Json, Row, Rows, Wanted, table_of, uuid_of
from projections.view import ViewSettings
from schemas.errors import BrokenRecord
from schemas.ids import is_uuid
from schemas.sealed import PLAIN, Sealed
from schemas.types import OwnerErased, ParkedResolved, ParkedRetryRequested, WorkParked


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


class Erased(Row, frozen=True):
    """An erased owner."""

    owner: UUID


PARKED_WORK = table_of(ParkedWork, "parked_work", key=("parked_id",), lookups=("owner",), indexes=("(owner)",))
ERASED = table_of(Erased, "parked_erased_owner", key=("owner",))


class ParkedView(FoldingView):
    """One row per parked piece of work."""

    name = "parked"
    version = 3
    tables = (PARKED_WORK, ERASED)

    def __init__(self, settings: ViewSettings) -> None:
        topics = settings.topics
        kinds = (WorkParked, ParkedRetryRequested, ParkedResolved)
        self.sources = (
            Source(topics.parked, topics.partitions, Kind.PLAIN, kinds),
            Source(topics.events, topics.partitions, Kind.EVENTS),
        )

    def check(self, placed: Placed) -> None:
        """Ids of parked work are UUIDs."""
        record = placed.record
        if not isinstance(record, WorkParked | ParkedRetryRequested | ParkedResolved):
            return
        behind = record.behind if isinstance(record, WorkParked) else None
        if not is_uuid(record.parked_id) or not all(value is None or is_uuid(value) for value in (record.owner, behind)):
            raise BrokenRecord("parked_id, owner or behind is not a UUID")

    def wants(self, wanted: Wanted, placed: Placed) -> None:
        """The row of the work, and whether its owner was erased; of an erased owner all of it."""
        match placed.record:
            case WorkParked(parked_id=id, owner=owner):
                wanted.key(PARKED_WORK, uuid_of(id))
                if owner is not None:
                    wanted.key(ERASED, uuid_of(owner))
            case ParkedRetryRequested(parked_id=id) | ParkedResolved(parked_id=id):
                wanted.key(PARKED_WORK, uuid_of(id))
            case OwnerErased(meta=meta):
                wanted.key(ERASED, uuid_of(meta.owner))
                wanted.where(PARKED_WORK, "owner", uuid_of(meta.owner))

    def fold(self, rows: Rows, placed: Placed) -> None:
        """The last word on each piece of work counts."""
        match placed.record:
            case WorkParked() as work:
                row = _row(work)
                is_erased = row.owner is not None and rows.get(Erased, ERASED, row.owner) is not None
                rows.put(PARKED_WORK, _emptied(row) if is_erased else row)
            case ParkedRetryRequested(parked_id=id, requested_at=at):
                found = rows.get(ParkedWork, PARKED_WORK, uuid_of(id))
                if found is not None:
                    rows.put(PARKED_WORK, replace(found, retry_requested_at=at))
            case ParkedResolved(parked_id=id):
                rows.remove(PARKED_WORK, uuid_of(id))
            case OwnerErased(meta=meta):
                owner = uuid_of(meta.owner)
                rows.put(ERASED, Erased(owner))
                for row in rows.where(ParkedWork, PARKED_WORK, "owner", owner):
                    rows.put(PARKED_WORK, _emptied(row))


def _emptied(row: ParkedWork) -> ParkedWork:
    """The row as it is made where none of its values can be opened."""
    return replace(row, size=0, key=None, value=None, headers=dict.fromkeys(row.headers, ""))


def _row(work: WorkParked) -> ParkedWork:
    return ParkedWork(
        parked_id=uuid_of(work.parked_id),
        owner=None if work.owner is None else uuid_of(work.owner),
        stage=_clean(work.stage),
        topic=_clean(work.topic),
        partition=work.partition,
        offset=work.offset,
        reason=_clean(work.reason),
        behind=None if work.behind is None else uuid_of(work.behind),
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
