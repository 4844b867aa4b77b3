"""Generations beside the live one: nobody brings them up to the log, and yet they must hold nothing that is forgotten.

To those that are ready to be promoted, or kept after a promotion, whatever removes text is applied when the live generation comes
to it. Their checkpoint stays where it is: whoever goes on from there later meets the same records again, and a forgetting may be
applied twice. While one is brought up to the log it counts as unfinished: it meets forgettings by itself. What a killed rebuild,
promotion, rollback or verify left is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection

from projections.generation import drop_unfinished, in_state, rebuild_lock, schema_of, scratch_of, unfinished
from projections.records import Placed
from projections.view import Target, View
from schemas.types import ConversationTurn, MemoryForgotten, OwnerErased, ParkedResolved

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
    """Apply ``forgettings`` to the ready, kept and as-of generations of ``view``. Call it inside the transaction of the live one.

    The tables of another version of the fold are not known here: such a generation is dropped. So is one of a view with messages
    that are to go with a memory: which ones the memory names, events from after the promotion may have said.
    """
    # a fold that does not forget may not meet them before their time either: an audit chain would be another
    if not forgettings or not getattr(view, "forgets", True):
        return
    for beside in await in_state(conn, view.name, "ready", "kept", "as-of"):
        if beside.fold_version == view.version and not any(_reaches_messages(view, placed) for placed in forgettings):
            await view.apply(Target(conn, beside.schema), forgettings)
            continue
        await conn.execute(f"DROP SCHEMA IF EXISTS {beside.schema} CASCADE")
        await conn.execute(
            "DELETE FROM public.emberlog_view_generation WHERE view = %s AND generation = %s AND state <> 'live'",
            (view.name, beside.number),
        )
        log.warning("dropped a generation that cannot follow: something was forgotten", view=view.name, generation=beside.number)


def _reaches_messages(view: View, placed: Placed) -> bool:
    record = placed.record
    held = any(ConversationTurn in source.accepts for source in view.sources)
    return held and isinstance(record, MemoryForgotten) and record.include_source
