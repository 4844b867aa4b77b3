"""Encoding and decoding per type, beside what fastavro alone does with plain dicts of the same records, in turn."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from statistics import median

import fastavro

from schemas import codec
from schemas.golden.sample import sample_bytes
from schemas.types import RECORDS, Record
from schemas.versions import FILES

BURST = 50


def rates(seconds: float, repeats: int) -> dict[str, dict[str, float]]:
    """Per type: records per second encoded and decoded, and their ratio to fastavro's own rate (medians over ``repeats``)."""
    return {kind.__name__: _of_type(kind, seconds / 4, repeats) for kind in RECORDS}


def _of_type(kind: type[Record], seconds: float, repeats: int) -> dict[str, float]:
    """``seconds`` for each of the four measurements."""
    schema = FILES.parsed(kind.__name__)
    value = sample_bytes(schema, FILES.fingerprint(kind.__name__))
    record = codec.decode(value)
    body = value[codec.HEADER_BYTES :]
    plain = fastavro.schemaless_reader(io.BytesIO(body), schema, None)
    calls: tuple[Callable[[], object], ...] = (
        lambda: codec.encode(record),
        lambda: fastavro.schemaless_writer(io.BytesIO(), schema, plain),
        lambda: codec.decode(value),
        lambda: fastavro.schemaless_reader(io.BytesIO(body), schema, None),
    )
    runs = [[_rate(call, seconds) for call in calls] for _ in range(repeats)]
    return {
        "encode_per_s": median(run[0] for run in runs),
        "decode_per_s": median(run[2] for run in runs),
        "encode_ratio": median(run[0] / run[1] for run in runs),
        "decode_ratio": median(run[2] / run[3] for run in runs),
    }


def _rate(call: Callable[[], object], seconds: float) -> float:
    """Calls per second over about ``seconds``."""
    count, begun = 0, time.perf_counter()
    while (spent := time.perf_counter() - begun) < seconds:
        for _ in range(BURST):
            call()
        count += BURST
    return count / spent
