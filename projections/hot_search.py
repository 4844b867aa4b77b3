"""Nearest vectors of the hot tier: what happened in the last days, by the index over everybody or exactly inside one owner.

    hot = HotSearch(pool, model=embedder.name, days=30)
    near = await hot.inside(owner_reference, vector, k=10, now=now)      # exact
    near = await hot.everywhere(vector, k=10, now=now)                   # approximate, of all owners

Both give references and similarities, no text: whoever shows a trace asks whether its owner may see it, and recall for its words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from projections.hot_tier import hot_since
from schemas import ids

DEFAULT_HEADS = ("semantic",)
MAX_K = 200
_EF_MAX = 1_000
"""pgvector's limit of ``hnsw.ef_search``."""
_KNOWN = """
SELECT t.typname, string_to_array(e.extversion, '.')::int[] >= '{0,8}'
FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid, pg_extension AS e
WHERE a.attrelid = 'public.memory_embedding'::regclass AND a.attname = 'vec' AND e.extname = 'vector'
"""
_WHERE = """
tier = 'hot' AND dimensions = %(dimensions)s AND created_at >= %(since)s
    AND (%(until)s::timestamptz IS NULL OR created_at < %(until)s)
    AND model = %(model)s AND head = ANY(%(heads)s)
"""
# the nearest by the numbers as they are stored, then as recall compares them: in float32, the query not rounded. Its first cast
# says of which type the parameter is, wherever it stands
EVERYWHERE = f"""
WITH near AS MATERIALIZED (
    SELECT trace_id, owner, kind, created_at, vec FROM memory_embedding WHERE {_WHERE}
    ORDER BY vec::{{type}}({{dimensions}}) <=> %(vector)s::vector::{{type}}({{dimensions}}) LIMIT %(candidates)s
),
told AS (
    SELECT trace_id, owner, kind, created_at, min(vec::vector <=> %(vector)s::vector) AS distance FROM near
    GROUP BY trace_id, owner, kind, created_at
)
SELECT trace_id::text, owner::text, kind, created_at, 1 - distance FROM told ORDER BY distance, trace_id LIMIT %(k)s
"""
INSIDE = f"""
WITH told AS (
    SELECT trace_id, owner, kind, created_at, min(vec::vector <=> %(vector)s::vector) AS distance FROM memory_embedding
    WHERE owner = %(owner)s AND {_WHERE} GROUP BY trace_id, owner, kind, created_at
)
SELECT trace_id::text, owner::text, kind, created_at, 1 - distance FROM told ORDER BY distance, trace_id LIMIT %(k)s
"""


@dataclass(frozen=True, slots=True)
class Near:
    """A trace: ``kind`` is memory, message or summary, ``similarity`` the cosine (-1 to 1) of its nearest head."""

    trace_id: str
    owner: str
    kind: str
    created_at: datetime
    similarity: float


class HotSearch:
    """Searches the live graph's vectors of ``model`` that are not older than ``days``. ``pool`` is on the views' database."""

    def __init__(self, pool: AsyncConnectionPool[Any], *, model: str, days: int) -> None:
        self._pool, self._model, self._days = pool, model, days

    async def inside(
        self,
        owner: str,
        vector: Sequence[float],
        *,
        k: int,
        now: datetime,
        heads: Sequence[str] = DEFAULT_HEADS,
        window: tuple[datetime, datetime] | None = None,
    ) -> list[Near]:
        """At most ``k`` traces of one owner (a reference), nearest first, exactly; ``window``: from the first up to the second.

        Raises ValueError for no owner reference, and for a vector of nothing but zeros or with numbers that are not finite.
        """
        if not ids.is_uuid(owner):
            raise ValueError("not an owner reference: pass Owner.parse(...).reference")
        named = self._named(vector, k, now, heads, window) | {"owner": owner}
        async with self._pool.connection() as conn:
            return _near(await (await conn.execute(INSIDE, named, prepare=False)).fetchall())

    async def everywhere(
        self,
        vector: Sequence[float],
        *,
        k: int,
        now: datetime,
        heads: Sequence[str] = DEFAULT_HEADS,
        window: tuple[datetime, datetime] | None = None,
    ) -> list[Near]:
        """At most ``k`` traces of all owners, nearest first, by the hot tier's index: a few of the nearest may be missing.

        For whoever may read everybody's memories, such as a set with one user. Raises ValueError as ``inside`` does.
        """
        named = self._named(vector, k, now, heads, window)
        async with self._pool.connection() as conn, conn.transaction():
            query = await prepared(conn, named)
            return _near(await (await conn.execute(query, named, prepare=False)).fetchall())

    def _named(
        self, vector: Sequence[float], k: int, now: datetime, heads: Sequence[str], window: tuple[datetime, datetime] | None
    ) -> dict[str, Any]:
        if not any(vector) or not all(map(math.isfinite, vector)):
            raise ValueError("the vector is empty, nothing but zeros, or not finite")
        since, until = hot_since(self._days, now), None
        if window is not None:
            since, until = max(since, window[0]), window[1]
        k = max(0, min(k, MAX_K))
        return {
            "vector": str([float(number) for number in vector]),
            "dimensions": len(vector),
            "since": since,
            "until": until,
            "model": self._model,
            "heads": list(heads),
            "k": k,
            "candidates": 2 * k * max(1, len(heads)),
        }


async def prepared(conn: AsyncConnection[Any], named: dict[str, Any]) -> bytes:
    """The statement of ``everywhere``, its search set up for the transaction of ``conn``.

    It must not be prepared on the server: only a plan for these very values knows that the index holds all of them.
    """
    [(type, iterates)] = await (await conn.execute(_KNOWN)).fetchall()
    looked_at = max(100, min(_EF_MAX, 2 * int(named["candidates"])))
    await conn.execute("SELECT set_config('hnsw.ef_search', %s, true)", (str(looked_at),))
    if iterates:  # goes on where models, heads and times leave too few
        await conn.execute("SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true)")
    return EVERYWHERE.format(type=type, dimensions=int(named["dimensions"])).encode()


def _near(rows: Sequence[tuple[Any, ...]]) -> list[Near]:
    return [Near(trace, owner, kind, at.astimezone(UTC), similarity) for trace, owner, kind, at, similarity in rows]
