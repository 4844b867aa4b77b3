"""Produce to recallable: how long after a turn is published recall can find its memory, at several rates.

Worker and projector run as `emberlog up` runs them, with default settings; extraction asks the stand-in over HTTP (latency 0,
recorded facts), vectors are the embedded default's. Every turn has an owner and a fact of its own. The load is open-loop: latency
counts from the moment a turn was due. Recallable means that the memory's row and its vector are both visible to the query that
recall is; a sample is then put to recall itself. A warm-up at 10 turns a second comes first and is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg

from benchmarks.cpu import CpuMeter
from benchmarks.freshness import load
from benchmarks.freshness.arrivals import STAGES, RowArrivals, Seen, TopicArrivals
from benchmarks.freshness.figures import summary
from benchmarks.freshness.load import Utterance
from benchmarks.harness import AtMost, Failed, Progress, Report, main
from benchmarks.line import Line, running_line
from benchmarks.owners import fixed_reference, make_known
from ops.wiring import make_embedder, open_recall
from streams.extraction.ports import Embedder
from streams.producers import InboxProducer

MAIN_RATE = 10.0
GOALS = {"p50_ms": AtMost(60.0), "p99_ms": AtMost(300.0)}
RATES = (1.0, MAIN_RATE, 50.0)
WARM_UP_RATE = 10.0
ARRIVE_S = 30.0
SAMPLE = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES), help="turns per second (default: 1 10 50)")
    parser.add_argument("--seconds", type=float, help="seconds of load at each rate (default: 60; --small: 6)")
    parser.add_argument("--warm-up", type=float, help="seconds of warm-up before (default: 15; --small: 4)")


def measure(args: argparse.Namespace, progress: Progress) -> Report:
    """Measure every rate in turn, the main one always among them."""
    rates = sorted({*args.rates, MAIN_RATE})
    if rates[0] <= 0:
        raise Failed("a rate is above 0")
    seconds = args.seconds or (6.0 if args.small else 60.0)
    warm_up_s = args.warm_up or (4.0 if args.small else 15.0)
    loads = {rate: load.utterances(f"{rate:g}", max(1, round(rate * seconds))) for rate in rates}
    warm_up = load.utterances("warm-up", max(1, round(WARM_UP_RATE * warm_up_s)))
    every = [*warm_up, *(u for turns in loads.values() for u in turns)]
    with running_line(load.recording(every), progress) as line:
        found = asyncio.run(_run(line, warm_up, loads, progress))
    at_main = found[MAIN_RATE]
    return Report(
        sizes={
            "turns": {f"{rate:g}": len(turns) for rate, turns in loads.items()},
            "seconds_per_rate": seconds,
            "warm_up_turns": len(warm_up),
            "partitions": line.topics.partitions,
            "recalled_sample": SAMPLE,
        },
        figures={
            "p50_ms": at_main["p50_ms"],
            "p95_ms": at_main["p95_ms"],
            "p99_ms": at_main["p99_ms"],
            "per_stage_ms": at_main["per_stage_ms"],
            "cpu_ms_per_turn": at_main["cpu_ms_per_turn"],
            "rates": {f"{rate:g}": figures for rate, figures in found.items()},
        },
        goals=GOALS,
    )


async def _run(
    line: Line, warm_up: Sequence[Utterance], loads: dict[float, list[Utterance]], progress: Progress
) -> dict[float, dict[str, Any]]:
    seen: Seen = {stage: {} for stage in STAGES}
    found = {}
    # what comes of a turn is looked for by its owner's reference
    await make_known(line.settings, line.dsn, (u.owner for turns in (warm_up, *loads.values()) for u in turns))
    meter = CpuMeter()
    async with (
        InboxProducer(line.bootstrap, line.topics) as producer,
        await psycopg.AsyncConnection.connect(line.dsn, autocommit=True) as conn,
    ):
        rows = RowArrivals(conn, seen)
        with TopicArrivals(line.bootstrap, line.topics, seen):
            # a pause of our own collector would be taken for one of the line's
            gc.collect()
            gc.freeze()
            await _play(producer, rows, seen, warm_up, WARM_UP_RATE, progress, "warm-up")
            for rate, turns in loads.items():
                meter.start()
                due = await _play(producer, rows, seen, turns, rate, progress, f"{rate:g} turns/s")
                found[rate] = {**summary(due, seen), "cpu_ms_per_turn": meter.ms_per(len(turns))}
    everyone = [u for turns in loads.values() for u in turns]
    await _verify(line, random.Random(7).sample(everyone, min(SAMPLE, len(everyone))))
    return found


async def _play(
    producer: InboxProducer,
    rows: RowArrivals,
    seen: Seen,
    turns: Sequence[Utterance],
    rate: float,
    progress: Progress,
    title: str,
) -> dict[str, float]:
    """Publish, wait until all is seen everywhere; when each owner's turn was due. Raises Failed where some never arrive."""
    owners = [fixed_reference(turn.owner) for turn in turns]
    over, sent = False, 0
    with progress.bar(title, len(turns)) as show:

        def on_due(owner: str) -> None:
            nonlocal sent
            rows.expect(owner)
            sent += 1
            show(sent)

        watching = asyncio.create_task(rows.watch(lambda: over))
        try:
            due = await load.send(producer, turns, rate, on_due)
            deadline = time.monotonic() + ARRIVE_S
            while any(owner not in seen[stage] for stage in STAGES for owner in owners):
                if time.monotonic() > deadline:
                    counts = {stage: sum(owner in seen[stage] for owner in owners) for stage in STAGES}
                    raise Failed(f"{len(owners)} turns published, {ARRIVE_S:.0f} s later seen: {counts}")
                await asyncio.sleep(0.05)
        finally:
            over = True
            await watching
    return due


async def _verify(line: Line, sample: Sequence[Utterance]) -> None:
    """Put the sample to recall itself: each fact must be the first answer, found by its vector too."""
    embedder: Embedder = make_embedder(line.settings)
    async with open_recall(line.settings, line.dsn, embedder) as recall:
        for utterance in sample:
            (vector,) = await embedder.embed([utterance.text])
            found = await recall.search(fixed_reference(utterance.owner), utterance.text, vector, 5, datetime.now(UTC))
            if not found or found[0].content != utterance.fact or found[0].parts.similarity is None:
                raise Failed("recall does not find a memory that its tables hold")


if __name__ == "__main__":
    sys.exit(main("freshness", __doc__, add_arguments, measure))
