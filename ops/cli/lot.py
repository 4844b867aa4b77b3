"""Parked work as the projection shows it, and waiting for what a retry brings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from msgspec.structs import fields
from psycopg.rows import dict_row

from ops.cli.errors import UsageError
from ops.cli.owners import known
from ops.cli.target import Target
from schemas.owner import Owner
from schemas.types import WorkParked

POLL_S = 0.05
_RECORD = ("key", "value", "headers")
_NAMES = [f.name for f in fields(WorkParked) if f.name not in _RECORD]
_COLUMNS = ", ".join([*(f'"{name}"' for name in _NAMES), "retry_requested_at", "size"])


@dataclass(frozen=True, slots=True)
class ParkedEntry:
    """One piece of parked work; ``work`` comes without the record itself, whose value has ``size`` bytes."""

    work: WorkParked
    retry_requested_at: datetime | None
    size: int

    @property
    def parked_id(self) -> str:
        return self.work.parked_id

    def as_json(self) -> dict[str, Any]:
        """All of it on one level."""
        work = {name: getattr(self.work, name) for name in _NAMES}
        return {**work, "retry_requested_at": self.retry_requested_at, "size": self.size}


@dataclass(slots=True)
class RetryResult:
    """Outcome of a retry by parked id: healed, failed again with the reason, still waiting behind another, or no answer yet."""

    healed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    behind: dict[str, str] = field(default_factory=dict)
    unanswered: list[str] = field(default_factory=list)


async def entries(target: Target, owner: str | None = None) -> list[ParkedEntry]:
    """What is parked now, oldest work of each owner first."""
    async with await psycopg.AsyncConnection.connect(target.dsn, autocommit=True) as connection:
        return await _read(connection, await known(target, Owner.parse(owner)) if owner else None)


async def _read(connection: psycopg.AsyncConnection[Any], owner: str | None) -> list[ParkedEntry]:
    where = " WHERE owner = %s::uuid" if owner else ""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            f'SELECT {_COLUMNS} FROM parked_work{where} ORDER BY stage, topic, partition, "offset"', (owner,) if owner else ()
        )
        return [_entry(row) for row in await cursor.fetchall()]


def _entry(row: dict[str, Any]) -> ParkedEntry:
    values: dict[str, Any] = {name: str(row[name]) if isinstance(row[name], UUID) else row[name] for name in _NAMES}
    return ParkedEntry(WorkParked(key=None, value=None, **values), row["retry_requested_at"], row["size"])


async def value_of(target: Target, parked_id: str) -> bytes:
    """The parked record's value."""
    async with await psycopg.AsyncConnection.connect(target.dsn, autocommit=True) as connection:
        cursor = await connection.execute("SELECT value FROM parked_work WHERE parked_id::text = %s", (parked_id,))
        row = await cursor.fetchone()
    return bytes(row[0] or b"") if row else b""


def choose(present: Sequence[ParkedEntry], ids: Sequence[str], everything: bool) -> list[ParkedEntry]:
    """The entries named by ``ids`` (their beginning is enough), or all of ``present``. Raises UsageError for an unknown one."""
    if everything:
        return list(present)
    chosen = []
    for wanted in ids:
        found = [entry for entry in present if entry.parked_id.startswith(wanted.lower())]
        if len(found) != 1:
            problem = "is not parked" if not found else "fits several entries: write more of it"
            raise UsageError(f"{wanted} {problem}", "see what is parked with: emberlog parked list")
        chosen.append(found[0])
    return chosen


async def wait_for_retry(target: Target, asked: Sequence[ParkedEntry], timeout_s: float) -> RetryResult:
    """Wait until each entry is gone, was parked anew, or stands behind one of its owner that was parked anew."""
    deadline = time.monotonic() + timeout_s
    async with await psycopg.AsyncConnection.connect(target.dsn, autocommit=True) as connection:
        while True:
            result = _compare(asked, {e.parked_id: e for e in await _read(connection, None)})
            if not result.unanswered or time.monotonic() > deadline:
                return result
            await asyncio.sleep(POLL_S)


def _compare(asked: Sequence[ParkedEntry], now: dict[str, ParkedEntry]) -> RetryResult:
    result = RetryResult()
    for before in asked:
        current = now.get(before.parked_id)
        if current is None:
            result.healed.append(before.parked_id)
        elif current.work.parked_at != before.work.parked_at:
            result.failed[before.parked_id] = current.work.reason
    failed = [now[i].work for i in result.failed]
    stopped: dict[tuple[str, str | None], WorkParked] = {(w.stage, w.owner): w for w in failed if w.owner is not None}
    for before in asked:
        if before.parked_id in result.failed or before.parked_id in result.healed:
            continue
        head = stopped.get((before.work.stage, before.work.owner))
        if head is not None and head.offset < before.work.offset:
            result.behind[before.parked_id] = head.parked_id
        else:
            result.unanswered.append(before.parked_id)
    return result
