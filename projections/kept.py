"""Generations beside the live one: nobody brings them up to the log, and yet they must hold nothing that is forgotten.

To those that are kept after a promotion, whatever removes text is applied when the live generation comes to it. Their checkpoint
stays where it is: whoever goes on from there later meets the same records again, and a forgetting may be applied twice. What a
killed rebuild or verify left is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection

from projections.generation import drop_unfinished, rebuild_lock, schema_of, scratch_of, unfinished
from projections.records import Placed
from projections.view import Target, View
from schemas.types import MemoryForgotten, OwnerErased, ParkedResolved

log = structlog.get_logger(__name__)


def is_forgetting(placed: Placed) -> bool:
    """Whether a record takes text away: forgotten memories, erased owners, resolved parked work, and tombstones."""
    return placed.record is None or isinstance(placed.record, MemoryForgotten | OwnerErased | ParkedResolved)


async def unfinished_cleared(conn: AsyncConnection[Any], view: str, topic: str, partition: int, offset: int) -> bool:
    """Whether no unfinished rebuild or verify of ``view`` holds what the record at this place took away.

    One that runs is past the record, or False is returned; what nobody works on any more is dropped.
    """
    behind = [schema for schema in await _unfinished(conn, view) if not await _passed(conn, schema, topic, partition, offset)]
    if not behind:
        return True
    async with rebuild_lock(conn, view) as ours:
        if ours:
            await drop_unfinished(conn, view)
            log.info("dropped what a rebuild left: something was forgotten", view=view, schemas=behind)
        return ours


async def _unfinished(conn: AsyncConnection[Any], view: str) -> list[str]:
    schemas = [schema_of(view, number) for number in await unfinished(conn, view)] + [scratch_of(view)]
    cursor = await conn.execute("SELECT nspname FROM pg_namespace WHERE nspname = ANY(%s)", (schemas,))
    return [row[0] for row in await cursor.fetchall()]


async def _passed(conn: AsyncConnection[Any], schema: str, topic: str, partition: int, offset: int) -> bool:
    try:
        cursor = await conn.execute(
            f"SELECT next_offset FROM {schema}.checkpoint WHERE topic = %s AND partition = %s", (topic, partition)
        )
    except psycopg.errors.UndefinedTable:
        return True  # dropped meanwhile
    row = await cursor.fetchone()
    return row is None or row[0] > offset


async def clear(conn: AsyncConnection[Any], view: View, forgettings: Sequence[Placed]) -> None:
    """Apply ``forgettings`` to the kept generations of ``view``. Call it inside the transaction of the live one.

    The tables of another version of the fold are not known here: such a generation is dropped. So is one that may not know what
    to forget, having missed the events that say what a memory was learnt from.
    """
    if not forgettings:
        return
    cursor = await conn.execute(
        "SELECT generation, fold_version FROM public.emberlog_view_generation WHERE view = %s AND state = 'kept'", (view.name,)
    )
    unsure = getattr(view, "forgets_by_evidence", False) and any(
        isinstance(placed.record, MemoryForgotten) and placed.record.include_source for placed in forgettings
    )
    for number, version in await cursor.fetchall():
        schema = schema_of(view.name, number)
        if version == view.version and not unsure:
            await view.apply(Target(conn, schema), forgettings)
            continue
        await conn.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        await conn.execute(
            "DELETE FROM public.emberlog_view_generation WHERE view = %s AND generation = %s AND state = 'kept'",
            (view.name, number),
        )
        log.warning("dropped a kept generation that cannot follow: something was forgotten", view=view.name, generation=number)
