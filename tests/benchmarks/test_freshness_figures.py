"""Freshness figures from arrival times worked out by hand, and the load that makes them."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any, cast

import pytest

from benchmarks.freshness import load
from benchmarks.freshness.arrivals import ADMITTED, DECIDED, EMBEDDED, EXTRACTED, PROJECTED, RECALLABLE, Seen, owner_of
from benchmarks.freshness.figures import PATH, latencies_ms, per_stage, summary
from benchmarks.owners import fixed_reference
from ops.standin.recording import Asked, Recording
from schemas.types import InboxTurn
from streams.producers import InboxProducer

# two owners: times in seconds after each was due
DUE = {"a": 100.0, "b": 200.0}
SEEN: Seen = {
    ADMITTED: {"a": 100.010, "b": 200.020},
    EXTRACTED: {"a": 100.030, "b": 200.060},
    DECIDED: {"a": 100.034, "b": 200.066},
    EMBEDDED: {"a": 100.036, "b": 200.070},
    PROJECTED: {"a": 100.038, "b": 200.080},
    RECALLABLE: {"a": 100.040, "b": 200.100},
}


def test_latency_runs_from_due_to_recallable() -> None:
    assert latencies_ms(DUE, SEEN) == pytest.approx([40.0, 100.0])


def test_stages_of_the_path_add_up_to_the_whole() -> None:
    found = per_stage(DUE, SEEN)
    assert found["inbox_to_admitted"]["mean"] == 15.0
    assert found["admitted_to_extracted"] == {"p50": 20.0, "p99": 40.0, "mean": 30.0, "share": 0.429}
    assert found["decided_to_projected"]["mean"] == 9.0
    path = [name for name, _, _ in PATH]
    assert sum(found[name]["mean"] for name in path) == pytest.approx(70.0, abs=0.05)
    assert sum(found[name]["share"] for name in path) == pytest.approx(1.0, abs=0.005)
    assert set(found) == {*path, "decided_to_projected"}


def test_the_summary_gives_percentiles_of_the_whole() -> None:
    found = summary(DUE, SEEN)
    assert (found["p50_ms"], found["p95_ms"], found["p99_ms"], found["max_ms"]) == (40.0, 100.0, 100.0, 100.0)


def test_a_turn_that_never_arrived_is_no_figure() -> None:
    with pytest.raises(KeyError):
        summary({**DUE, "c": 300.0}, SEEN)


def test_every_turn_has_an_owner_and_a_fact_of_its_own_and_the_standin_knows_it() -> None:
    turns = [*load.utterances("a", 150), *load.utterances("b", 150)]
    assert len({fixed_reference(t.owner) for t in turns}) == len({t.text for t in turns}) == len({t.fact for t in turns}) == 300
    recording = Recording(tuple(load.recording(turns)))
    for turn in turns[::37]:
        (found,) = recording.find(Asked((turn.text,), None))
        assert [fact.text for fact in found.facts] == [turn.fact]


class SlowProducer:
    """A line that takes far longer for each turn than the schedule leaves."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.begun: list[float] = []

    async def publish(self, turn: InboxTurn) -> tuple[int, int]:
        self.begun.append(time.perf_counter())
        await asyncio.sleep(self.seconds)
        return 0, 0


async def test_a_slow_line_does_not_slow_the_schedule() -> None:
    producer = SlowProducer(1.0)
    turns = load.utterances("x", 10)
    told: list[str] = []
    due = await load.send(cast(InboxProducer, cast(Any, producer)), turns, 100.0, told.append)
    moments = list(due.values())
    assert told == list(due) == [fixed_reference(t.owner) for t in turns]
    assert [b - a for a, b in itertools.pairwise(moments)] == pytest.approx([0.01] * 9)
    # one at a time would take 10 s; here the last begins although none before it has ended
    assert producer.begun[-1] < producer.begun[0] + 1.0
    assert all(begun >= moment for begun, moment in zip(producer.begun, moments, strict=True))


@pytest.mark.parametrize(
    ("stage", "kind", "counts"),
    [
        (EMBEDDED, "MemoryEmbedding", True),
        (EMBEDDED, "MessageEmbedding", False),  # it comes long before that of the memory
        (DECIDED, "MemoryAdded", True),
        (DECIDED, "MemoryReheated", False),
        (ADMITTED, "ConversationTurn", True),
    ],
)
def test_a_stage_is_reached_by_what_becomes_of_the_fact_and_by_nothing_else(stage: str, kind: str, counts: bool) -> None:
    headers = [("ce_type", f"emberlog.{kind}.v1".encode()), ("ce_subject", b"an-owner")]
    assert owner_of(stage, headers) == ("an-owner" if counts else None)
