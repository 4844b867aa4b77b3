"""The acceptance rule: whatever duplicates and zombies append, every reader accepts 1..n of each owner, once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import envelope
from schemas.codec import encode
from schemas.errors import BadEnvelope, ContractError
from schemas.slices import SLICE_FIRST, SLICE_ID, SLICE_SIZE, Slice, SliceAssembler, Verdict, verdict
from schemas.types import CommandMeta, CommandNoted, EventMeta, Forget

WHEN = datetime(2024, 5, 1, tzinfo=UTC)
OWNERS = ("owner-a", "owner-b", "owner-c")


@dataclass(frozen=True)
class Stored:
    """One record as a consumer gets it."""

    headers: dict[str, bytes]
    value: bytes


def event(owner: str, sequence: int) -> CommandNoted:
    """What any decider of one version writes at this place of this owner: a function of nothing else."""
    meta = EventMeta(owner, sequence, sequence * 10, 1, WHEN, f"command {sequence}")
    return CommandNoted(meta, "FactsExtracted", f"event {sequence} of {owner}")


def append(owner: str, append_id: str, first: int, size: int) -> list[Stored]:
    """The records of one slice."""
    head = {SLICE_ID: append_id.encode(), SLICE_FIRST: b"%d" % first, SLICE_SIZE: b"%d" % size}
    return [Stored(head, encode(event(owner, s))) for s in range(first, first + size)]


class Reader:
    """The least reader: the assembler, the verdict and the last sequence of each owner."""

    def __init__(self, last: dict[str, int] | None = None) -> None:
        self.assembler = SliceAssembler()
        self.last: dict[str, int] = defaultdict(int, last or {})
        self.accepted: dict[str, list[int]] = defaultdict(list)
        self.gaps = 0

    def read(self, log: Iterable[tuple[int, Stored]]) -> Reader:
        for offset, record in log:
            if found := self.assembler.feed(offset, record.headers, record.value):
                self.take(found)
        return self

    def take(self, found: Slice) -> None:
        assert [e.meta.sequence for e in found.events] == list(range(found.first, found.first + len(found.events)))
        decision = verdict(found.first, self.last[found.owner])
        self.gaps += decision is Verdict.GAP
        if decision is Verdict.ACCEPT:
            self.accepted[found.owner] += [e.meta.sequence for e in found.events]
            self.last[found.owner] = found.events[-1].meta.sequence


@st.composite
def logs(draw: st.DrawFn) -> tuple[list[Stored], dict[str, int]]:
    """A partition as several deciders leave it, and each owner's true last sequence.

    Every writer appends whole slices from a state that was true once, so a slice begins anywhere from 1 to last + 1: at
    last + 1 it is news, below that a zombie's repetition, cut at other places than the first writer cut.
    """
    log: list[Stored] = []
    last: dict[str, int] = defaultdict(int)
    for number in range(draw(st.integers(1, 25))):
        owner = draw(st.sampled_from(OWNERS))
        first = draw(st.one_of(st.just(last[owner] + 1), st.integers(1, last[owner] + 1)))
        size = draw(st.integers(1, 4))
        log += append(owner, f"append-{number}", first, size)
        if first == last[owner] + 1:
            last[owner] += size
    return log, dict(last)


@given(logs())
def test_any_interleaving_of_zombies_yields_each_owner_s_sequence_once(made: tuple[list[Stored], dict[str, int]]) -> None:
    log, last = made
    reader = Reader().read(enumerate(log))
    assert {owner: seen[-1] for owner, seen in reader.accepted.items()} == last
    assert all(seen == list(range(1, last[owner] + 1)) for owner, seen in reader.accepted.items())
    assert reader.gaps == reader.assembler.broken == 0
    assert reader.assembler.complete


@given(logs(), st.data())
def test_a_reader_that_stops_at_any_border_and_resumes_accepts_the_same(
    made: tuple[list[Stored], dict[str, int]], data: st.DataObject
) -> None:
    log, last = made
    borders = [0]
    assembler = SliceAssembler()
    for offset, record in enumerate(log):
        found = assembler.feed(offset, record.headers, record.value)
        assert (found is not None) == assembler.complete
        if found:
            assert found.end_offset == offset + 1
            borders.append(found.end_offset)
    stop = data.draw(st.sampled_from(borders))
    before = Reader().read(list(enumerate(log))[:stop])
    after = Reader(before.last).read(list(enumerate(log))[stop:])
    assert {owner: before.accepted[owner] + after.accepted[owner] for owner in last} == {
        owner: list(range(1, n + 1)) for owner, n in last.items()
    }


@given(logs(), st.data())
def test_a_reader_that_begins_inside_a_slice_takes_no_part_of_it(
    made: tuple[list[Stored], dict[str, int]], data: st.DataObject
) -> None:
    log, _ = made
    begin = data.draw(st.integers(0, len(log) - 1))
    whole, ends = SliceAssembler(), []
    for offset, record in enumerate(log):
        if found := whole.feed(offset, record.headers, record.value):
            ends.append((found.end_offset - len(found.events), found))
    late = SliceAssembler()
    seen = [late.feed(o, r.headers, r.value) for o, r in list(enumerate(log))[begin:]]
    assert [s for s in seen if s] == [s for start, s in ends if start >= begin]
    assert bool(late.broken) == (begin not in {start for start, _ in ends})


def test_the_verdict_is_the_rule() -> None:
    assert verdict(1, 0) is Verdict.ACCEPT
    assert verdict(8, 7) is Verdict.ACCEPT
    assert verdict(7, 7) is Verdict.DROP
    assert verdict(1, 7) is Verdict.DROP
    assert verdict(9, 7) is Verdict.GAP
    assert verdict(2, 0) is Verdict.GAP


@given(first=st.integers(1, 100), last=st.integers(0, 100))
def test_exactly_one_verdict_holds(first: int, last: int) -> None:
    assert (verdict(first, last) is Verdict.ACCEPT) == (first - last == 1)
    assert (verdict(first, last) is Verdict.GAP) == (first - last > 1)


def test_a_slice_that_overlaps_the_end_is_dropped_whole() -> None:
    log = append("owner-a", "one", 1, 3) + append("owner-a", "two", 3, 4)
    reader = Reader().read(enumerate(log))
    assert reader.accepted["owner-a"] == [1, 2, 3]
    assert reader.gaps == 0


def test_a_gap_is_an_alarm_and_nothing_of_it_is_accepted() -> None:
    reader = Reader().read(enumerate(append("owner-a", "one", 1, 2) + append("owner-a", "two", 4, 2)))
    assert reader.accepted["owner-a"] == [1, 2]
    assert reader.gaps == 1


def test_a_slice_cut_short_is_counted_and_the_next_one_read() -> None:
    log = append("owner-a", "one", 1, 3)[:2] + append("owner-b", "two", 1, 1)
    reader = Reader().read(enumerate(log))
    assert reader.assembler.broken == 1
    assert dict(reader.accepted) == {"owner-b": [1]}


def test_a_slice_with_a_hole_is_counted_and_not_returned() -> None:
    one = append("owner-a", "one", 1, 3)
    reader = Reader().read(enumerate([one[0], one[2]]))
    assert reader.assembler.broken == 1
    assert not reader.accepted


def test_a_slice_knows_its_last_cause_and_append() -> None:
    (record,) = append("owner-a", "one", 6, 1)
    found = SliceAssembler().feed(41, record.headers, record.value)
    assert found is not None
    assert (found.append_id, found.first, found.last_cause, found.end_offset) == ("one", 6, 60, 42)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({SLICE_ID: None}, "sliceid is missing"),
        ({SLICE_FIRST: b"one"}, "slicefirst is not a number"),
        ({SLICE_SIZE: b"0"}, "does not hold"),
        ({SLICE_SIZE: b"-1"}, "does not hold"),
        ({SLICE_FIRST: b"5"}, "does not hold"),
    ],
)
def test_headers_that_do_not_fit_their_event_are_refused_with_the_reason(change: dict[str, bytes | None], words: str) -> None:
    record = append("owner-a", "one", 1, 2)[0]
    headers = {k: v for k, v in {**record.headers, **change}.items() if v is not None}
    with pytest.raises(BadEnvelope, match=words):
        SliceAssembler().feed(0, headers, record.value)


@given(st.dictionaries(st.sampled_from([SLICE_ID, SLICE_FIRST, SLICE_SIZE]), st.binary(max_size=8)), st.binary(max_size=40))
def test_a_foreign_record_gives_a_contract_error_and_does_not_break_the_slice_around_it(
    headers: dict[str, bytes], value: bytes
) -> None:
    one = append("owner-a", "one", 1, 2)
    assembler = SliceAssembler()
    assert assembler.feed(0, one[0].headers, one[0].value) is None
    with pytest.raises(ContractError):
        assembler.feed(1, headers, value)
    assert assembler.feed(2, one[1].headers, one[1].value) is not None


def test_a_command_among_the_events_is_refused_by_its_name() -> None:
    headers = envelope.as_map(append("owner-a", "one", 1, 1)[0].headers.items())
    with pytest.raises(ContractError, match="Forget is no memory event"):
        SliceAssembler().feed(0, headers, encode(Forget(CommandMeta("c", "owner-a", WHEN, "operator"), ("m",), 1)))
