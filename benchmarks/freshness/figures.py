"""From arrival times to figures: latencies from the moment a turn was due, and what each stage took of them."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from benchmarks.freshness.arrivals import ADMITTED, DECIDED, EMBEDDED, EXTRACTED, PROJECTED, RECALLABLE, Seen
from benchmarks.harness import percentile

DUE = "due"
PATH = (
    ("inbox_to_admitted", DUE, ADMITTED),
    ("admitted_to_extracted", ADMITTED, EXTRACTED),
    ("extracted_to_decided", EXTRACTED, DECIDED),
    ("decided_to_embedded", DECIDED, EMBEDDED),
    ("embedded_to_recallable", EMBEDDED, RECALLABLE),
)
"""Stages one after another: their means add up to the whole."""
BESIDE = ("decided_to_projected", DECIDED, PROJECTED)
"""Runs beside embedding."""


def latencies_ms(due: Mapping[str, float], seen: Seen) -> list[float]:
    """Milliseconds from due to recallable, by owner in the order of ``due``. Raises KeyError where one is missing."""
    return [1000 * (seen[RECALLABLE][owner] - moment) for owner, moment in due.items()]


def summary(due: Mapping[str, float], seen: Seen) -> dict[str, Any]:
    """p50_ms, p95_ms, p99_ms, max_ms and per_stage_ms of one rate."""
    whole = latencies_ms(due, seen)
    return {
        "p50_ms": round(percentile(whole, 0.50), 2),
        "p95_ms": round(percentile(whole, 0.95), 2),
        "p99_ms": round(percentile(whole, 0.99), 2),
        "max_ms": round(max(whole), 2),
        "per_stage_ms": per_stage(due, seen),
    }


def per_stage(due: Mapping[str, float], seen: Seen) -> dict[str, dict[str, float]]:
    """p50, p99 and mean of each stage in ms, and its share of the mean latency; shares of the path add up to 1.

    A record can reach our reader after what it caused was seen elsewhere, so a stage may be a hair under 0.
    """
    moments = {DUE: due, **seen}
    total = fmean(latencies_ms(due, seen))
    found = {}
    for name, begin, end in (*PATH, BESIDE):
        took = [1000 * (moments[end][owner] - moments[begin][owner]) for owner in due]
        found[name] = {
            "p50": round(percentile(took, 0.50), 2),
            "p99": round(percentile(took, 0.99), 2),
            "mean": round(fmean(took), 2),
            "share": round(fmean(took) / total, 3),
        }
    return found
