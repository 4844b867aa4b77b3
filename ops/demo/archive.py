"""What the demo reads from the views."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from ops.cli.errors import TimedOut
from schemas.temperature import temperature_at
from schemas.types import ThermalPolicy

POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class MemoryRow:
    """A row of the thermal archive, as far as the demo shows it."""

    memory_id: str
    content: str
    user_id: str
    temperature_score: float
    last_access: datetime
    access_count: int
    turn_id: str
    rules: bool
    initial: float
    reheat: float
    maximum: float
    floor: float
    half_life_days: float

    def temperature(self, now: datetime) -> float:
        """Degrees at ``now``."""
        policy = ThermalPolicy(self.initial, self.reheat, self.maximum, self.floor, self.half_life_days)
        return temperature_at(self.temperature_score, self.last_access, now, policy)


ROWS = """
SELECT id::text AS memory_id, original_content AS content, metadata->>'user_id' AS user_id, temperature_score, last_access,
    access_count, turn_id, rules, initial, reheat, maximum, floor, half_life_days
FROM thermal_memory_archive ORDER BY created_at, added_offset
"""


async def memories(connection: psycopg.AsyncConnection[Any]) -> list[MemoryRow]:
    """All live memories, oldest first."""
    async with connection.cursor(row_factory=class_row(MemoryRow)) as cursor:
        await cursor.execute(ROWS)
        return await cursor.fetchall()


async def number(connection: psycopg.AsyncConnection[Any], query: str, *parameters: Any) -> int:
    """The one number that ``query`` gives."""
    row = await (await connection.execute(query, parameters)).fetchone()
    assert row is not None
    return int(row[0])


async def until(
    connection: psycopg.AsyncConnection[Any], query: str, wanted: Callable[[int], bool], timeout_s: float, what: str
) -> None:
    """Wait until the number that ``query`` gives is ``wanted``. Raises TimedOut."""
    deadline = time.monotonic() + timeout_s
    while not wanted(await number(connection, query)):
        if time.monotonic() > deadline:
            raise TimedOut(f"the demo waited {timeout_s:.0f} s for {what}", "the logs are in the demo's data folder")
        await asyncio.sleep(POLL_S)
