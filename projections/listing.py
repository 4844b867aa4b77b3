"""The generations of views, as a person wants to see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import AsyncConnection

from projections import checkpoint, generation
from projections.records import Positions


@dataclass(frozen=True, slots=True)
class Listed:
    """A generation. ``rows`` are an estimate of the server's, ``size`` is in bytes with indexes.

    ``behind`` is in records, of the live one; negative for one that is further on.
    """

    view: str
    generation: int
    state: str
    fold_version: int
    rows: int
    size: int
    behind: int
    since: datetime
    positions: Positions


async def listed(conn: AsyncConnection[Any], views: Sequence[str]) -> list[Listed]:
    """All generations of these views, by view in the order given and by number. Raises UndefinedTable where nothing is set up."""
    await generation.upgrade(conn)
    cursor = await conn.execute(
        "SELECT view, generation, state, fold_version, since FROM public.emberlog_view_generation WHERE view = ANY(%s) "
        "ORDER BY array_position(%s, view), state <> 'live', generation",
        (list(views), list(views)),
    )
    found: list[Listed] = []
    live: dict[str, int] = {}
    for view, number, state, version, since in await cursor.fetchall():
        schema = generation.schema_of(view, number)
        try:
            positions = await checkpoint.positions(conn, schema)
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            continue  # dropped meanwhile
        at = sum(positions.values())
        if state == "live":
            live[view] = at
        rows, size = await _extent(conn, schema)
        found.append(Listed(view, number, state, version, rows, size, live.get(view, at) - at, since, positions))
    return sorted(found, key=lambda each: (views.index(each.view), each.generation))


async def _extent(conn: AsyncConnection[Any], schema: str) -> tuple[int, int]:
    """Rows and bytes of all tables of a schema, those of the runner left out of the rows."""
    cursor = await conn.execute(
        "SELECT coalesce(sum(greatest(c.reltuples, s.n_live_tup, 0)) FILTER (WHERE c.relname <> ALL(%s)), 0)::bigint, "
        "coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid "
        "WHERE n.nspname = %s AND c.relkind = 'r'",
        (["checkpoint", "owner_position", "owner_alarm", "view_problem"], schema),
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0]), int(row[1])
