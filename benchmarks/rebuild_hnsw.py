"""The HNSW indexes of rebuilt views: what a promotion adds to a rebuild."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from projections import generation, hot_tier
from projections.bulk import Build
from projections.view import HotIndex


async def hot_indexes(dsn: str, builds: Sequence[Build]) -> dict[str, dict[str, Any]]:
    """By index seconds, vectors, operator class and MiB of memory that it may take, as if the newest vector had come today."""
    found: dict[str, dict[str, Any]] = {}
    async with await generation.connect(dsn) as conn:
        for build in builds:
            for table in build.view.tables:
                if table.hot is None:
                    continue
                cursor = await conn.execute(f"SELECT max(created_at) FROM {build.schema}.{table.name}".encode())
                [(newest,)] = await cursor.fetchall()
                if newest is None:
                    continue
                began = time.perf_counter()
                made = await hot_tier.renew(conn, build.view, build.schema, newest)
                found |= {
                    name: {"seconds": time.perf_counter() - began, **await _about(conn, build.schema, name, table.hot)}
                    for name in made
                }
    return found


async def _about(conn: Any, schema: str, index: str, hot: HotIndex) -> dict[str, Any]:
    cursor = await conn.execute(
        "SELECT c.reltuples::bigint, o.opcname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "JOIN pg_opclass o ON o.oid = i.indclass[0] WHERE i.indexrelid = %s::regclass",
        (f"{schema}.{index}",),
    )
    [(vectors, operators)] = await cursor.fetchall()
    taken = hot_tier.graph_bytes(vectors, hot.dimensions, operators.partition("_")[0])
    return {"vectors": vectors, "operators": operators, "memory_mb": round(taken / 2**20)}
