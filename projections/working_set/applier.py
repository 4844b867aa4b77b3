"""From records to owners: the readers' rule of acceptance, sealed values opened, and the fold."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import structlog

from projections import metrics
from projections.errors import ProjectionError
from projections.intake import Candidate, Intake, Reader
from projections.records import Kind, LogRecord, Placed, Positions, Source, TopicPartition
from projections.working_set.fold import Windows
from projections.working_set.store import Owner, Store
from schemas.errors import SealedValue
from schemas.ids import is_uuid
from schemas.sealing import NO_KEYS, Keys, opening
from schemas.slices import Verdict, verdict
from schemas.topics import Topics
from schemas.types import ConversationTurn, MemoryForgotten, OwnerErased

log = structlog.get_logger(__name__)

NAME = "working-set"
ATTEMPTS = 20
"""Of one batch, while owners are evicted under it."""


def sources_of(topics: Topics) -> tuple[Source, Source]:
    """What is read, and in which order when all is made anew: where the messages are there, nothing forgotten waits for them."""
    return (
        Source(topics.conversation, topics.partitions, Kind.PLAIN, (ConversationTurn,)),
        Source(topics.events, topics.partitions, Kind.EVENTS),
    )


def partitions_of(sources: Iterable[Source]) -> list[TopicPartition]:
    """All partitions of the topics."""
    return [(source.topic, partition) for source in sources for partition in range(source.partitions)]


class Folder:
    """Takes records in and folds them into owners. After an error it must not be used again."""

    def __init__(self, topics: Topics, keys: Keys, only: Collection[str] | None = None) -> None:
        """With ``only``, records of other owners are passed over."""
        self._topics, self._keys, self._only = topics, keys, only
        self._reader = Reader(sources_of(topics))

    async def take(self, records: Iterable[LogRecord]) -> Intake:
        """What the records hold, opened; those of a slice that is not complete wait for the next call. Raises KeysUnavailable."""
        intake = self._reader.take(records)
        intake.candidates = [c for c in intake.candidates if self._is_wanted(owner_of(c))]
        if self._keys is not NO_KEYS:
            events = [placed for candidate in intake.candidates for placed in candidate.events]
            open_one = await opening(self._keys, [placed.record for placed in events])
            for candidate in intake.candidates:
                candidate.events = tuple(_opened(placed, open_one) for placed in candidate.events)
        return intake

    def _is_wanted(self, owner: str) -> bool:
        return is_uuid(owner) and (self._only is None or owner in self._only)

    def fold(self, intake: Intake, owners: Mapping[str, Owner], positions: Positions) -> bool:
        """Fold what was taken in; ``positions`` are those behind it. True where something was forgotten."""
        forgot, touched = False, dict[str, int]()
        for candidate in intake.candidates:
            reference = owner_of(candidate)
            owner, partition = owners[reference], candidate.events[0].partition
            if candidate.slice is not None and not _accepts(candidate, owner):
                continue
            touched[reference] = partition
            for placed in candidate.events:
                forgot |= isinstance(placed.record, MemoryForgotten | OwnerErased)
                _fold(owner, placed)
        for reference, partition in touched.items():
            windows = owners[reference].windows
            if windows is not None:
                windows.settle(positions[self._topics.conversation, partition])
        return forgot


class Applier:
    """Folds batches of records into Redis.

    ``apply`` raises Fenced, StateLost, KeysUnavailable and errors of Redis; nothing of the batch was written then, or all of it,
    and the object must not be used again.
    """

    def __init__(self, store: Store, topics: Topics, keys: Keys, positions: Positions) -> None:
        self.positions = positions
        self._store, self._folder = store, Folder(topics, keys)

    async def apply(self, records: Iterable[LogRecord]) -> bool:
        """Take records in and commit whatever is complete. True where something was forgotten."""
        intake = await self._folder.take(records)
        if intake.empty:
            return False
        _report(intake)
        after = self.positions | intake.borders
        moves = {tp: (self.positions[tp], border) for tp, border in intake.borders.items()}
        references = dict.fromkeys(owner_of(candidate) for candidate in intake.candidates)
        for _ in range(ATTEMPTS):
            owners = await self._store.owners(references)
            forgot = self._folder.fold(intake, owners, after)
            if await self._store.commit(owners, moves, forgot=forgot):
                self.positions = after
                metrics.APPLIED.labels(NAME).inc(sum(len(candidate.events) for candidate in intake.candidates))
                return forgot
        raise Crowded("Redis evicts owners faster than they are written: give it more memory (maxmemory)")


class Crowded(ProjectionError):
    """There is no room for what is to be written."""


def owner_of(candidate: Candidate) -> str:
    """The reference that a slice or a turn names."""
    return str(candidate.events[0].record.owner if candidate.slice is None else candidate.slice.owner)


def _opened(placed: Placed, open_one: Any) -> Placed:
    try:
        return replace(placed, record=open_one(placed.record))
    except SealedValue:
        return placed  # whatever needs its value says so


def _accepts(candidate: Candidate, owner: Owner) -> bool:
    piece = candidate.slice
    assert piece is not None
    if owner.fate == "gap":
        return False
    match verdict(piece.first, owner.sequence):
        case Verdict.ACCEPT:
            owner.sequence = piece.events[-1].meta.sequence
            return True
        case Verdict.GAP:
            owner.fate = owner.fate or "gap"
            at = candidate.events[0]
            metrics.ALARMS.labels(NAME).inc()
            where = {"partition": at.partition, "offset": at.offset}
            log.error("gap in an owner's log: the owner is parked in this view", view=NAME, **where)
        case Verdict.DROP:
            metrics.DROPPED.labels(NAME).inc()
    return False


def _fold(owner: Owner, placed: Placed) -> None:
    record, windows = placed.record, owner.windows
    if isinstance(record, OwnerErased):
        # for good: nobody comes back under this reference, and turns of it may still be on their way
        owner.fate, owner.windows = "erased", None
    elif windows is not None:
        try:
            _change(windows, placed)
        except SealedValue as error:
            metrics.PROBLEMS.labels(NAME).inc()
            where = {"topic": placed.topic, "partition": placed.partition, "offset": placed.offset}
            log.warning("record skipped", view=NAME, error=str(error), **where)


def _change(windows: Windows, placed: Placed) -> None:
    if isinstance(placed.record, ConversationTurn):
        windows.say(placed.record, placed.offset)
    else:
        windows.change(placed.record)


def _report(intake: Intake) -> None:
    if intake.problems:
        first = intake.problems[0]
        metrics.PROBLEMS.labels(NAME).inc(len(intake.problems))
        log.warning(
            "records skipped",
            view=NAME,
            count=len(intake.problems),
            topic=first.topic,
            partition=first.partition,
            offset=first.offset,
        )
