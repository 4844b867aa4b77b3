"""The memory that a vector index takes while it is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from psycopg import AsyncConnection
from structlog.testing import capture_logs

from projections import generation, hot_tier

MIB = 2**20


async def notices_of_a_build(conn: AsyncConnection[Any], type: str, dimensions: int, count: int, kib: int) -> Sequence[str]:
    """What pgvector says while it makes a graph of so many vectors with so much memory."""
    said: list[str] = []
    conn.add_notice_handler(lambda notice: said.append(notice.message_primary or ""))
    numbers = f"ARRAY(SELECT random() FROM generate_series(1, {dimensions}) WHERE i > 0)::{type}({dimensions})"
    await conn.execute(f"CREATE TABLE many AS SELECT {numbers} AS vec FROM generate_series(1, {count}) AS i".encode())
    await conn.execute(
        f"SET client_min_messages = notice; SET maintenance_work_mem = {kib}; SET max_parallel_maintenance_workers = 0".encode()
    )
    await conn.execute(f"CREATE INDEX ON many USING hnsw (vec {type}_cosine_ops)".encode())
    return [text for text in said if "no longer fits" in text]


@pytest.mark.slow
@pytest.mark.parametrize(("type", "dimensions"), [("halfvec", 32), ("halfvec", 256), ("vector", 256)])
async def test_a_graph_fits_into_the_memory_that_is_reckoned_for_it_and_not_into_much_less(
    fresh_database: str, type: str, dimensions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hot_tier, "LEAST_BYTES", 0)
    count = 8_000
    kib = hot_tier.graph_bytes(count, dimensions, type) // 1_024
    async with await generation.connect(fresh_database) as conn:
        assert await notices_of_a_build(conn, type, dimensions, count, kib) == []
        await conn.execute("DROP TABLE many")
        assert await notices_of_a_build(conn, type, dimensions, count, kib * 7 // 10) != []


async def test_a_build_gets_what_it_needs_up_to_what_it_may_have_and_the_session_has_its_own_again(fresh_database: str) -> None:
    async def memory() -> str:
        [(value,)] = await (await conn.execute("SHOW maintenance_work_mem")).fetchall()
        return str(value)

    async with await generation.connect(fresh_database) as conn:
        before = await memory()
        with capture_logs() as lines:
            async with hot_tier.room(conn, 300 * MIB, 1_024 * MIB):
                assert await memory() == "300MB"
            assert (await memory(), lines) == (before, [])
            async with hot_tier.room(conn, 3_000 * MIB, 1_024 * MIB):
                assert await memory() == "1GB"
        [line] = lines
        assert (line["log_level"], line["wanted_mb"], line["most_mb"]) == ("warning", 3_000, 1_024)
        await conn.execute("SET maintenance_work_mem = '2GB'")
        async with hot_tier.room(conn, 300 * MIB, 1_024 * MIB):
            assert await memory() == "2GB", "a server that was given more keeps it"
