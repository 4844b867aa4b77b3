"""What became of turns: the counts extracted, new, updated and errors, and the turns that were parked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import psycopg
from psycopg.rows import class_row

from ops.cli.target import Target
from ops.keyring import open_keys
from schemas import codec
from schemas.errors import ContractError
from schemas.ids import turn_id
from schemas.owner import Owner
from schemas.sealing import Directory
from schemas.types import ConversationTurn, FactsExtracted, InboxTurn

POLL_S = 0.05
COUNTS = ("extracted", "new", "updated", "errors")


@dataclass(slots=True)
class Outcomes:
    """Outcomes of a run. ``turns`` by turn id: extracted, new, updated, errors; ``parked``: reasons; ``missing``: turn ids."""

    turns: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    parked: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    @property
    def totals(self) -> dict[str, int]:
        return {name: sum(counts[place] for counts in self.turns.values()) for place, name in enumerate(COUNTS)}

    def as_json(self) -> dict[str, Any]:
        return {**self.totals, "turns_done": len(self.turns), "parked": self.parked, "missing": self.missing}

    def sentence(self) -> str:
        counts = ", ".join(f"{number} {name}" for name, number in self.totals.items())
        open_ones = f"; {len(self.parked)} parked" if self.parked else ""
        return f"{len(self.turns)} turn{'' if len(self.turns) == 1 else 's'} done: {counts}{open_ones}"


async def wait_for_turns(
    target: Target, turn_ids: Sequence[str], timeout_s: float, on_change: Callable[[Outcomes], None] = lambda _: None
) -> Outcomes:
    """Wait until every turn has an outcome or was parked, at most ``timeout_s``; turns without either are ``missing``."""
    outcomes = Outcomes(missing=list(turn_ids))
    deadline = time.monotonic() + timeout_s
    async with (
        await psycopg.AsyncConnection.connect(target.dsn, autocommit=True) as connection,
        open_keys(target.settings, target.dsn, connections=1) as ring,
    ):
        while True:
            await _refresh(connection, ring.directory, outcomes, turn_ids)
            on_change(outcomes)
            if not outcomes.missing or time.monotonic() > deadline:
                return outcomes
            await asyncio.sleep(POLL_S)


async def _refresh(
    connection: psycopg.AsyncConnection[Any], directory: Directory, outcomes: Outcomes, turn_ids: Sequence[str]
) -> None:
    cursor = await connection.execute(
        "SELECT turn_id::text, extracted, new, updated, errors FROM turn_outcome WHERE turn_id::text = ANY(%s)",
        (outcomes.missing,),
    )
    outcomes.turns.update({row[0]: row[1:] for row in await cursor.fetchall()})
    cursor = await connection.execute("SELECT reason, value FROM parked_work")
    outcomes.parked = {}
    wanted = set(turn_ids) - set(outcomes.turns)
    for reason, value in await cursor.fetchall():
        found = await turn_of(bytes(value or b""), directory)
        if found in wanted:
            outcomes.parked[found] = reason
    outcomes.missing = [t for t in turn_ids if t in wanted and t not in outcomes.parked]


@dataclass(frozen=True, slots=True)
class TurnCounts:
    """What one turn brought."""

    turn_id: str
    occurred_at: datetime
    extracted: int
    new: int
    updated: int
    errors: int


@dataclass(frozen=True, slots=True)
class AllCounts:
    """What all turns brought together, and the last ones each (newest last)."""

    turns: int
    totals: dict[str, int]
    last: list[TurnCounts]


async def all_counts(target: Target, last: int) -> AllCounts:
    """Counts over everything that the set has done."""
    async with await psycopg.AsyncConnection.connect(target.dsn, autocommit=True) as connection:
        sums = ", ".join(f"coalesce(sum({name}), 0)::bigint" for name in COUNTS)
        row = await (await connection.execute(f"SELECT count(*), {sums} FROM turn_outcome")).fetchone()
        async with connection.cursor(row_factory=class_row(TurnCounts)) as cursor:
            await cursor.execute(
                "SELECT turn_id::text, occurred_at, extracted, new, updated, errors FROM turn_outcome "
                "ORDER BY occurred_at DESC, turn_id LIMIT %s",
                (last,),
            )
            turns = await cursor.fetchall()
    assert row is not None
    return AllCounts(row[0], dict(zip(COUNTS, row[1:], strict=True)), turns[::-1])


async def turn_of(value: bytes, directory: Directory) -> str | None:
    """Turn id of a parked record's value, where it can be told: an inbox turn, an admitted turn or a command."""
    try:
        record = codec.decode(value)
    except ContractError:
        return await _turn_of_json(value, directory)
    match record:
        case ConversationTurn():
            return record.turn_id
        case FactsExtracted():
            return record.meta.command_id
        case InboxTurn():
            return await _inbox_turn(record.owner, record.id, directory)
    return None


async def _turn_of_json(value: bytes, directory: Directory) -> str | None:
    try:
        data = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    return await _inbox_turn(data.get("owner"), data.get("id"), directory) if isinstance(data, dict) else None


async def _inbox_turn(owner: Any, id: Any, directory: Directory) -> str | None:
    if not isinstance(owner, str) or not isinstance(id, str):
        return None
    try:
        reference = await directory.find(Owner.parse(owner))
    except ContractError:
        return None
    return None if reference is None else turn_id(reference, id)
