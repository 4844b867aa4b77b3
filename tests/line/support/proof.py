"""What must hold of a log and its views after whatever was done to the processes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from schemas.types import MemoryAdded
from tests.line.support.digests import content
from tests.line.support.generator import Batch, Turn, expected_of
from tests.line.support.line import Line
from tests.line.support.reading import AcceptedLog, mentions, outcomes
from tests.line.support.rebuilt import live_digest, rebuilt_digest

Digests = dict[str, tuple[int, str]]


async def prove_exactly_once(line: Line, turns: Sequence[Turn]) -> AcceptedLog:
    """Read the log by the acceptance rule: each turn's facts are there exactly once and in order, sequences have no gap."""
    async with line.log() as log:
        await log.to_the_end()
    assert (log.gaps, log.broken) == (0, 0)
    expected = expected_of(turns)
    for owner in dict.fromkeys(turn.reference for turn in turns):
        events = log.owners[owner]
        assert [e.meta.sequence for e in events] == list(range(1, len(events) + 1))
        causes = [e.meta.cause for e in events]
        assert causes == sorted(causes), "commands were decided out of order"
        told = {content: list(memory.turn_ids) for (whose, content), memory in expected.items() if whose == owner}
        assert mentions(events) == told
        # a turn may be extracted again after a kill, but only one extraction of it may count
        decided = outcomes(events)
        assert {turn: len(found) for turn, found in decided.items()} == {t.turn_id: 1 for t in turns if t.reference == owner}
        first_causes = [min(decided[t.turn_id]) for t in turns if t.reference == owner]
        assert first_causes == sorted(first_causes), "turns were decided in another order than they were said in"
        assert len({e.memory_id for e in events if isinstance(e, MemoryAdded)}) == len(told)
    return log


async def prove_views(line: Line, turns: Sequence[Turn]) -> Digests:
    """The views hold what the turns teach, equal a rebuild from zero, and have no alarm; their digest of content."""
    expected = expected_of(turns)
    owners, ids = {t.reference for t in turns}, [t.turn_id for t in turns]
    rows = await line.rows(
        "SELECT owner::text, original_content, temperature_score, access_count, last_access, turn_id FROM thermal_memory_archive "
        "WHERE owner = ANY(%s::uuid[])",
        (list(owners),),
    )
    found = {(r[0], r[1]): r[2:] for r in rows}
    assert len(found) == len(rows)
    assert found.keys() == expected.keys()
    for key, (temperature, count, last_access, turn_id) in found.items():
        memory = expected[key]
        assert abs(temperature - memory.temperature) < 1e-4
        assert (count, last_access, turn_id) == (memory.access_count, memory.last_access, memory.turn_ids[0])
    for table in ("parked_work", "emberlog_thermal_owner_alarm", "emberlog_thermal_view_problem", "emberlog_audit_owner_alarm"):
        assert await line.rows(f"SELECT * FROM {table}") == []
    assert await live_digest(line) == await rebuilt_digest(line)
    return await asyncio.to_thread(content, line.dsn, owners, ids)


async def undisturbed(line: Line, batch: Batch) -> Digests:
    """Run ``batch`` on a line that nobody disturbs; its digest of content."""
    line.standin.teach(batch.recording())
    await line.publish([turn.inbox() for turn in batch.turns])
    await line.settled([turn.turn_id for turn in batch.turns], 300)
    await prove_exactly_once(line, batch.turns)
    return await prove_views(line, batch.turns)
