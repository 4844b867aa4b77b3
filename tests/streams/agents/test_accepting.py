"""Which records of the log count for a reader without state: nothing that is accepted is ever left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import as_map
from schemas.slices import SLICE_FIRST, SLICE_ID, SLICE_SIZE, Verdict, verdict
from schemas.topics import partition_of
from streams import kafka
from streams.agents.accepting import Accepting
from streams.agents.seeding import seed_accepting
from tests.docs.log import appender
from tests.streams.agents.bench import PARTITIONS, Bench
from tests.streams.commands import OWNER, extracted, remember
from tests.streams.scenario import Scenario

Record = tuple[dict[str, bytes], bool]
"""Headers, and whether readers accept the record."""


def _records(owner: str, append: str, first: int, size: int, accepted: bool) -> list[Record]:
    headers = {"ce_subject": owner.encode(), SLICE_ID: append.encode(), SLICE_FIRST: b"%d" % first, SLICE_SIZE: b"%d" % size}
    return [(headers, accepted)] * size


@st.composite
def logs(draw: st.DrawFn) -> list[Record]:
    """A partition as deciders leave it that wake late: each began from what was accepted at some time."""
    log: list[Record] = []
    borders: dict[str, list[int]] = defaultdict(lambda: [0])
    for number in range(draw(st.integers(1, 25))):
        owner = draw(st.sampled_from(["owner-a", "owner-b"]))
        first, size = draw(st.sampled_from(borders[owner])) + 1, draw(st.integers(1, 4))
        accepted = verdict(first, borders[owner][-1]) is Verdict.ACCEPT
        log += _records(owner, f"append-{number}", first, size, accepted)
        if accepted:
            borders[owner].append(first + size - 1)
    return log


def _counted(accepting: Accepting, headers: Iterable[Mapping[str, bytes]]) -> list[bool]:
    return [accepting.feed(h) for h in headers]


@given(logs())
def test_from_the_beginning_exactly_what_readers_accept_counts(log: list[Record]) -> None:
    assert _counted(Accepting(), (h for h, _ in log)) == [accepted for _, accepted in log]


@given(logs(), st.data())
def test_from_anywhere_on_nothing_that_readers_accept_is_left_out(log: list[Record], data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(log)))
    counted = _counted(Accepting(), (h for h, _ in log[begin:]))
    assert all(counts for counts, (_, accepted) in zip(counted, log[begin:], strict=True) if accepted)


@given(logs())
def test_after_a_reset_what_is_delivered_again_counts_again(log: list[Record]) -> None:
    accepting = Accepting()
    once = _counted(accepting, (h for h, _ in log))
    accepting.reset()
    assert _counted(accepting, (h for h, _ in log)) == once


async def test_an_assignment_begins_with_what_the_log_says_below_the_committed_offset_and_nothing_else(bench: Bench) -> None:
    scenario = Scenario()
    first = scenario.when(remember("User lives in Lima")).events
    second = scenario.when(extracted("t", "User has a dog")).events
    async with appender(bench.bootstrap, bench.topics) as log:
        await log.append(first)
        await log.append(second)
    below, above = [as_map(r.headers) for r in await bench.records(bench.topics.events, OWNER)]
    partition = partition_of(OWNER, PARTITIONS)
    accepting, config = Accepting(), bench.config("embed")
    assert accepting.feed(below)
    assert accepting.feed(above)
    # a broker that has just started may still be making the topic of committed offsets
    await kafka.until_done(lambda: seed_accepting(config, accepting, {partition}), lambda _: None)
    assert accepting.feed(below), "nothing is committed: all of it is delivered again"
    await bench.commit("embed", TopicPartition(bench.topics.events, partition), 1)
    await seed_accepting(config, accepting, {partition})
    assert not accepting.feed({**below, SLICE_ID: b"another"})
    assert accepting.feed(above)


def test_a_record_whose_headers_cannot_be_read_counts_so_that_somebody_says_what_is_wrong() -> None:
    assert Accepting().feed({})
    assert Accepting().feed({"ce_subject": b"o", SLICE_ID: b"a", SLICE_FIRST: b"one"})


def test_owners_beyond_the_limit_are_let_go_and_believed_again() -> None:
    accepting = Accepting(max_owners=2)
    for owner in ("owner-a", "owner-b", "owner-c"):
        assert _counted(accepting, (h for h, _ in _records(owner, "one", 5, 1, True))) == [True]
    (stale, _), *_ = _records("owner-a", "late", 5, 1, False)
    assert accepting.feed(stale)
    (stale, _), *_ = _records("owner-c", "late", 5, 1, False)
    assert not accepting.feed(stale)
