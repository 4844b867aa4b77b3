"""Opening what is sealed in the records of an intake, before they are judged and folded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from projections.intake import Intake
from projections.records import Placed, Problem
from schemas.errors import SealedValue
from schemas.sealing import Keys, opening


async def open_intake(keys: Keys, intake: Intake) -> None:
    """Open the values of all records. Raises KeysUnavailable.

    One that was tampered with stays closed. A view that needs its value refuses it; a plain record, which may be listed
    without its value, is noted here.
    """
    records = [p.record for candidate in intake.candidates for p in candidate.events if p.record is not None]
    open_one = await opening(keys, records)
    for candidate in intake.candidates:
        noted = intake.problems if candidate.slice is None else []
        candidate.events = tuple(_opened(placed, open_one, noted) for placed in candidate.events)


def _opened(placed: Placed, open_one: Callable[[Any], Any], problems: list[Problem]) -> Placed:
    try:
        record = None if placed.record is None else open_one(placed.record)
    except SealedValue as error:
        problems.append(Problem(placed.topic, placed.partition, placed.offset, f"{type(error).__name__}: {error}"))
        return placed
    return placed if record is placed.record else replace(placed, record=record)
