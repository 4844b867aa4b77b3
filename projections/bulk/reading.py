"""First stage: one pass over the topics. Every record is decoded once and judged; what is accepted goes to its owner's bucket.

Slices are put together and judged here, in the order of the partitions, as a runner does it; and here rows are made that hang
together by partition. Nothing is opened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from projections.bulk.loading import Loader
from projections.bulk.plan import Done, Work, sources_of
from projections.bulk.spill import Spill
from projections.checkpoint import NO_POSITION, OwnerPosition
from projections.errors import CatchUpTimeout
from projections.folding import FoldingView
from projections.intake import Candidate, Reader, foreign_owner
from projections.log_reader import KafkaLog, ReaderConfig
from projections.records import Kind, LogRecord, Placed, Positions, Problem, Source
from projections.rows import Rows
from projections.tables import OWNER_ALARM, OWNER_POSITION, VIEW_PROBLEM
from schemas.codec import decode
from schemas.errors import BrokenRecord, ContractError
from schemas.ids import is_uuid
from schemas.slices import Verdict, verdict

STALLED_S = 30.0
CHAINED_AT_ONCE = 5_000


class PartsLog(KafkaLog):
    """Some partitions of the topics."""

    def __init__(self, config: ReaderConfig, sources: Sequence[Source], partitions: frozenset[int]) -> None:
        super().__init__(config, sources)
        self._tps = [tp for tp in self._tps if tp.partition in partitions]


class Intake:
    """Takes the records of some partitions in, and spills them."""

    def __init__(self, work: Work, spill: Spill, loader: Loader) -> None:
        self._work, self._spill, self._loader = work, spill, loader
        self._sources = sources_of(work.builds)
        self._events = {topic: Reader([found[0][1]]) for topic, found in self._sources.items() if _is_log(found)}
        self._chaining = [(place, view) for place, (view, _) in enumerate(work.folding()) if view.chained]
        self._chains = {place: Rows(view.tables, complete=True) for place, view in self._chaining}
        self._chained = dict.fromkeys(self._chains, 0)
        self._borders: Positions = {}
        self._read: Positions = {}
        self._owners: dict[str, OwnerPosition] = {}
        self._alarms: dict[str, tuple[Any, ...]] = {}
        self._problems: dict[int, list[Problem]] = {place: [] for place in range(len(work.builds))}

    def take(self, records: Iterable[LogRecord]) -> None:
        """Take records in, those of each partition in their order."""
        runs: dict[str, list[LogRecord]] = {}
        for record in records:
            runs.setdefault(record.topic, []).append(record)
        for topic, run in runs.items():
            if topic in self._events:
                self._take_events(topic, run)
            else:
                for record in run:
                    self._take_plain(record)
        for place, view in self._chaining:
            if self._chained[place] >= CHAINED_AT_ONCE:
                self._load_chained(place, view)

    def _take_events(self, topic: str, records: list[LogRecord]) -> None:
        intake = self._events[topic].take(records)
        for record in records:
            self._read[topic, record.partition] = record.offset + 1
        self._borders.update(intake.borders)
        self._note(topic, intake.problems)
        for candidate in intake.candidates:
            problem = foreign_owner(candidate)
            if problem is not None:
                self._note(topic, [problem])
            elif self._accepts(candidate):
                for placed in candidate.events:
                    self._chain(placed)
                    self._spill.put(placed.record.meta.owner, placed)

    def _accepts(self, candidate: Candidate) -> bool:
        piece = candidate.slice
        assert piece is not None
        last = self._owners.get(piece.owner, NO_POSITION)[0]
        found = verdict(piece.first, last)
        if found is Verdict.DROP or piece.owner in self._alarms:
            return False
        if found is Verdict.GAP:
            at = candidate.events[0]
            self._alarms[piece.owner] = (piece.owner, at.topic, at.partition, at.offset, last + 1, piece.first)
            return False
        self._owners[piece.owner] = (piece.events[-1].meta.sequence, piece.last_cause)
        return True

    def _take_plain(self, record: LogRecord) -> None:
        sources = self._sources[record.topic]
        try:
            found = None if record.value is None else decode(record.value)
        except ContractError as error:
            self._note(record.topic, [_problem(record, error)])
            return
        is_wanted = False
        for place, source in sources:
            try:
                is_wanted |= _takes(source, record.key, found)
            except ContractError as error:
                self._problems[place].append(_problem(record, error))
        if is_wanted:
            placed = Placed(record.topic, record.partition, record.offset, record.key, found)
            self._spill.put(_home(placed, record.headers), placed)

    def _note(self, topic: str, problems: list[Problem]) -> None:
        if problems:
            for place, _ in self._sources[topic]:
                self._problems[place] += problems

    def _chain(self, placed: Placed) -> None:
        for place, view in self._chaining:
            try:
                view.check(placed)
            except ContractError:
                continue  # the second stage notes it
            view.chain(self._chains[place], placed)
            self._chained[place] += 1

    def _load_chained(self, place: int, view: FoldingView) -> None:
        for table in view.chained:
            self._loader.load(place, table, self._chains[place].drain(table))
        self._chained[place] = 0

    def finish(self, read: Positions) -> Done:
        """Load what is left; where the checkpoint is sound. ``read`` is how far the partitions were read."""
        files = self._spill.close()
        for place, view in self._chaining:
            self._load_chained(place, view)
            for table in view.tables:
                self._loader.load(place, table, list(self._chains[place].all(table)))
        # in the middle of a slice the checkpoint stays before it
        sound = {tp: end if self._read.get(tp) == self._borders.get(tp) else self._borders.get(tp, 0) for tp, end in read.items()}
        for place, problems in self._problems.items():
            rows = {(p.topic, p.partition, p.offset): p.reason for p in problems if p.offset < sound[p.topic, p.partition]}
            self._loader.load_tuples(place, VIEW_PROBLEM, [(*at, reason) for at, reason in rows.items()])
        judged = {place for topic in self._events for place, _ in self._sources[topic]}
        for place in sorted(judged):
            self._loader.load_tuples(place, OWNER_POSITION, [(UUID(owner), *at) for owner, at in self._owners.items()])
            self._loader.load_tuples(place, OWNER_ALARM, [(UUID(owner), *row[1:]) for owner, row in self._alarms.items()])
        self._loader.flush()
        return Done(sound, dict(self._loader.failed), files=files)


async def read_all(work: Work, number: int, partitions: frozenset[int], loader: Loader, show: Callable[[int], None]) -> Done:
    """Read ``partitions`` of all topics up to ``work.until``. Raises CatchUpTimeout, LogTruncated, outages."""
    sources = {source.topic: source for found in sources_of(work.builds).values() for _, source in found}
    intake = Intake(work, Spill(work.folder, number, work.buckets, work.topics), loader)
    target = {tp: end for tp, end in work.until.items() if tp[1] in partitions}
    async with work.open_log(work.config.bulk_reader(), list(sources.values()), partitions) as reader:
        await reader.seek(dict.fromkeys(target, 0))
        at = await reader.positions()
        moved = time.monotonic()
        while any(at[tp] < end for tp, end in target.items()):
            intake.take(await reader.next_below(target))
            before, at = at, await reader.positions()
            if at != before:
                moved = time.monotonic()
                show(sum(min(at[tp], end) for tp, end in target.items()))
            elif time.monotonic() - moved > STALLED_S:
                raise CatchUpTimeout(f"the log gave nothing for {STALLED_S:g} s before its end was reached")
    return intake.finish(target)


def _is_log(found: Sequence[tuple[int, Source]]) -> bool:
    return found[0][1].kind is Kind.EVENTS


def _home(placed: Placed, headers: Iterable[tuple[str, bytes | None]]) -> str | None:
    """What the records that touch the same rows have in common; None for a tombstone whose owner nobody says."""
    record = placed.record
    if record is None:
        subject = dict(headers or ()).get("ce_subject")
        owner = "" if subject is None else subject.decode(errors="replace")
        return owner if is_uuid(owner) else None
    whose: str | None = getattr(record, "owner", None)
    # work that was parked of nobody who is known goes by its own id
    return whose or getattr(record, "parked_id", None) or ""


def _takes(source: Source, key: bytes | None, found: Any) -> bool:
    """Whether a plain record is for the view, as ``projections.intake`` has it. Raises BrokenRecord for one that is foreign."""
    if isinstance(found, source.passes):
        return False
    if found is not None and not isinstance(found, source.accepts):
        raise BrokenRecord(f"a {type(found).__name__} does not belong on this topic")
    if found is None and not source.compacted:
        raise BrokenRecord("a record without a value")
    if found is None and key is None:
        raise BrokenRecord("a record with neither key nor value")
    return True


def _problem(record: LogRecord, error: ContractError) -> Problem:
    reason = f"{type(error).__name__}: {error}".replace("\0", "\ufffd")
    return Problem(record.topic, record.partition, record.offset, reason)
