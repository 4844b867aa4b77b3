"""facts: how many facts were learnt about each owner on each day."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

from msgspec.structs import replace

from projections.folding import FoldingView
from projections.records import Kind, Placed, Source
from projections.rows import Row, Rows, Wanted, table_of
from projections.view import ViewSettings
from schemas.types import MemoryAdded, OwnerErased


class Day(Row, frozen=True):
    """A day of an owner, in UTC."""

    owner: UUID
    day: date
    facts: int
    last_at: datetime | None


DAY = table_of(Day, "facts_per_day", key=("owner", "day"), lookups=("owner",))


class FactsView(FoldingView):
    """One row per owner and day."""

    name = "facts"
    version = 1
    tables = (DAY,)

    def __init__(self, settings: ViewSettings) -> None:
        topics = settings.topics
        self.sources = (Source(topics.events, topics.partitions, Kind.EVENTS),)

    def wants(self, wanted: Wanted, placed: Placed) -> None:
        """The day of a new memory."""
        if isinstance(placed.record, MemoryAdded):
            meta = placed.record.meta
            wanted.key(DAY, UUID(meta.owner), meta.occurred_at.date())

    def fold(self, rows: Rows, placed: Placed) -> None:
        """Count a new memory; an erased owner has no days."""
        match placed.record:
            case MemoryAdded(meta=meta):
                owner, day = UUID(meta.owner), meta.occurred_at.date()
                row = rows.get(Day, DAY, owner, day) or Day(owner, day, 0, None)
                rows.put(DAY, replace(row, facts=row.facts + 1, last_at=meta.occurred_at))
            case OwnerErased(meta=meta):
                rows.remove_where(DAY, "owner", UUID(meta.owner))
