"""From raw records to what may be folded: decoding, putting slices together, and the offsets at which a checkpoint is sound."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from projections.records import Kind, LogRecord, Placed, Positions, Problem, Source, TopicPartition
from schemas import envelope
from schemas.codec import decode
from schemas.errors import BrokenRecord, ContractError
from schemas.ids import is_uuid
from schemas.slices import Slice, SliceAssembler


@dataclass(slots=True)
class Candidate:
    """A whole slice of one owner, still to be judged by the acceptance rule, or one plain record (``slice`` is None)."""

    events: tuple[Placed, ...]
    slice: Slice | None = None


@dataclass(slots=True)
class Intake:
    """What a batch of records holds. ``borders`` are the new sound positions of the partitions it moved."""

    candidates: list[Candidate] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    borders: Positions = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return not self.borders


class Reader:
    """Takes in the records of all partitions of a view's topics, each partition in offset order."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = {s.topic: s for s in sources}
        self._assemblers: dict[TopicPartition, SliceAssembler] = {}
        self._held: list[Problem] = []

    def take(self, records: Iterable[LogRecord]) -> Intake:
        """Take records in; those of a slice that is not complete yet are kept for the next call."""
        intake = Intake()
        intake.problems, self._held = self._held, []
        for record in records:
            source = self._sources[record.topic]
            if source.kind is Kind.EVENTS:
                self._take_event(record, intake)
            else:
                self._take_plain(record, source, intake)
        if intake.empty:
            # nothing to commit yet: a problem in the middle of an open slice waits for the slice's border
            self._held, intake.problems = intake.problems, []
        return intake

    def _take_event(self, record: LogRecord, intake: Intake) -> None:
        place = (record.topic, record.partition)
        assembler = self._assemblers.setdefault(place, SliceAssembler())
        broken_before = assembler.broken
        done = None
        try:
            if record.value is None:
                raise BrokenRecord("a record without a value is no memory event")
            done = assembler.feed(record.offset, envelope.as_map(record.headers), record.value)
        except ContractError as error:
            intake.problems.append(_problem(record, error))
        if assembler.broken != broken_before:
            intake.problems.append(Problem(*place, record.offset, "a slice ended before its size"))
        if done is not None:
            intake.candidates.append(_of_slice(record, done))
        if assembler.complete:
            intake.borders[place] = record.offset + 1

    def _take_plain(self, record: LogRecord, source: Source, intake: Intake) -> None:
        place = (record.topic, record.partition)
        intake.borders[place] = record.offset + 1
        try:
            found = None if record.value is None else decode(record.value)
            if isinstance(found, source.passes):
                return
            if found is not None and not isinstance(found, source.accepts):
                raise BrokenRecord(f"a {type(found).__name__} does not belong on this topic")
            if found is None and not source.compacted:
                raise BrokenRecord("a record without a value")
            if found is None and record.key is None:
                raise BrokenRecord("a record with neither key nor value")
        except ContractError as error:
            intake.problems.append(_problem(record, error))
            return
        intake.candidates.append(Candidate((Placed(*place, record.offset, record.key, found),)))


def _of_slice(record: LogRecord, done: Slice) -> Candidate:
    # a slice's records are contiguous in one record batch, so its offsets count back from the last
    first = record.offset - len(done.events) + 1
    events = tuple(Placed(record.topic, record.partition, first + i, record.key, event) for i, event in enumerate(done.events))
    return Candidate(events, done)


def _problem(record: LogRecord, error: ContractError) -> Problem:
    return Problem(record.topic, record.partition, record.offset, f"{type(error).__name__}: {error}".replace("\0", "\ufffd"))


def foreign_owner(candidate: Candidate) -> Problem | None:
    """The problem of a slice whose owner is no owner reference."""
    if candidate.slice is None or is_uuid(candidate.slice.owner):
        return None
    last = candidate.events[-1]
    return Problem(last.topic, last.partition, last.offset, "BadEnvelope: the owner is not an owner reference")
