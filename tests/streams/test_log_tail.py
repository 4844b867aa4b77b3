"""The log read back: what the decider recognises without decoding is what every reader decodes."""

from __future__ import annotations

from collections.abc import Callable

from aiokafka import ConsumerRecord
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas import codec, envelope
from schemas.errors import ContractError
from schemas.slices import SLICE_FIRST, Slice, SliceAssembler
from schemas.types import MemoryAdded
from streams.decider import EMPTY, decide
from streams.protocol import batch
from streams.protocol.batch import Written
from streams.protocol.lane import Append
from streams.protocol.tail import LogTail
from tests.streams.commands import extracted


def made(number: int, texts: int) -> Append:
    """An append of ``texts`` events."""
    events = decide(EMPTY, extracted(f"t{number}", *(f"Statement {number}/{i}" for i in range(texts))), number)
    return Append(f"append-{number}", events[0].meta.owner, 1, (number,), events, tuple(map(codec.encode, events)))


APPENDS = [made(n, 1 + n % 3) for n in range(6)]


def read(written: Written, offset: int) -> ConsumerRecord:
    """A record as the consumer gives it."""
    headers = tuple(written.headers)
    sizes = len(written.key), len(written.value)
    return ConsumerRecord("events", 0, offset, 0, 0, written.key, written.value, None, *sizes, headers)


def _other_bytes(written: Written) -> Written:
    event = codec.decode_as(MemoryAdded, written.value)
    return written._replace(value=codec.encode(replace(event, meta=replace(event.meta, decider_version=9))))


def _other_slice(written: Written) -> Written:
    return written._replace(headers=[(n, b"0" if n == SLICE_FIRST else v) for n, v in written.headers])


def _foreign(written: Written) -> Written:
    return written._replace(value=b"\xc3\x01 what is this")


CHANGES = (_other_bytes, _other_slice, _foreign)


@st.composite
def logs(draw: st.DrawFn) -> list[Written]:
    """Records of appends in some order: whole, cut off, repeated, and with a record that is not as it was sent."""
    log: list[Written] = []
    for append in draw(st.lists(st.sampled_from(APPENDS), min_size=1, max_size=8)):
        records = batch.records_of(append)
        if draw(st.integers(0, 3)) == 0:
            place = draw(st.integers(0, len(records) - 1))
            records[place] = draw(st.sampled_from(CHANGES))(records[place])
        log += records[: draw(st.sampled_from((None, None, None, 1, 2)))]
    return log


def outcome(feed: Callable[[], Slice | None]) -> Slice | str | None:
    """What a reader makes of a record: a slice, nothing yet, or why it is foreign."""
    try:
        return feed()
    except ContractError as error:
        return str(error)


@settings(max_examples=300, deadline=None)
@given(logs(), st.sets(st.sampled_from(range(len(APPENDS)))))
def test_whatever_is_on_the_log_the_decider_reads_what_everybody_reads(log: list[Written], own: set[int]) -> None:
    tail, assembler = LogTail(), SliceAssembler()
    for number in own:
        tail.expect(APPENDS[number], batch.records_of(APPENDS[number]))
    for offset, written in enumerate(log):
        record = read(written, offset)
        mine = outcome(lambda record=record: tail.feed(record))  # type: ignore[misc]
        theirs = outcome(lambda r=record: assembler.feed(r.offset, envelope.as_map(r.headers), r.value or b""))  # type: ignore[misc]
        assert mine == theirs
        assert tail.complete == assembler.complete


def test_an_own_slice_comes_back_as_the_very_events_that_were_sent() -> None:
    append = APPENDS[2]
    tail, records = LogTail(), batch.records_of(append)
    tail.expect(append, records)
    *begun, done = [tail.feed(read(written, offset)) for offset, written in enumerate(records)]
    assert begun == [None, None]
    assert done is not None
    assert done.events is append.events
