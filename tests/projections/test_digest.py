"""Digests tell tables apart by their rows and by nothing else."""

from __future__ import annotations

from projections.view import View
from tests.projections.harness import Fold, owner
from tests.projections.logs import LogMaker


async def test_a_digest_does_not_depend_on_the_order_of_writing_or_on_session_settings(
    database: str, views: dict[str, View], log: LogMaker
) -> None:
    log.add(owner(), *[f"fact {i}" for i in range(300)])
    async with Fold.of(database, views["thermal"]) as one, Fold.of(database, views["thermal"]) as other:
        await one.take(log.records)
        await other.take(log.records)
        await other.conn.execute(f"UPDATE {other.schema}.thermal_memory_archive SET salience = salience")
        await other.conn.execute("SET timezone = 'Asia/Tokyo'; SET datestyle = 'German'; SET extra_float_digits = -10")
        first, second = await one.digest(), await other.digest()
        assert first == second
        assert first.tables["thermal_memory_archive"].rows == 300


async def test_one_changed_bit_one_missing_and_one_doubled_row_each_change_the_digest(
    database: str, views: dict[str, View], log: LogMaker
) -> None:
    log.add(owner(), *[f"fact {i}" for i in range(20)])
    async with Fold.of(database, views["thermal"]) as fold:
        await fold.take(log.records)
        seen = {(await fold.digest()).digest}
        table = f"{fold.schema}.thermal_memory_archive"
        for change in (
            f"UPDATE {table} SET temperature_score = temperature_score + 1e-9 WHERE added_offset = 3",
            f"UPDATE {table} SET tags = tags || ARRAY[''] WHERE added_offset = 4",
            f"UPDATE {table} SET metadata = metadata - 'agent_id' WHERE added_offset = 5",
            f"DELETE FROM {table} WHERE added_offset = 6",
            f"UPDATE {fold.schema}.owner_position SET last_cause = 0",
        ):
            await fold.conn.execute(change)
            seen.add((await fold.digest()).digest)
        assert len(seen) == 6


async def test_the_digest_of_empty_tables_is_a_digest(database: str, views: dict[str, View]) -> None:
    for view in views.values():
        async with Fold.of(database, view) as fold:
            digest = await fold.digest()
            assert len(digest.digest) == 64
            assert {t.rows for t in digest.tables.values()} == {0}
