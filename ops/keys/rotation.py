"""Rotation of the master key: every owner's key is wrapped again under the current one. No value is sealed anew.

Start every worker with the new key as current and the old one as former, then rotate; the old one is needed no longer once
``rotate`` returned and no worker runs that has it as current. Killed at any moment, it goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ops.keys.database import Connection, KeyDatabase, rows_of
from ops.keys.tables import STORE_WIDE

_LEFT = "SELECT count(*) FROM emberlog_owner WHERE master <> %s"
_NEXT = """
SELECT reference::text, wrapped, master FROM emberlog_owner
WHERE reference >= %s AND master <> %s ORDER BY reference LIMIT %s FOR NO KEY UPDATE
"""
_WRAPPED = """
UPDATE emberlog_owner AS o SET wrapped = w.wrapped, master = %s
FROM unnest(%s::text[], %s::bytea[]) AS w (reference, wrapped) WHERE o.reference = w.reference::uuid
"""


class Progress(NamedTuple):
    """Owners' keys wrapped under the current master key so far, of how many that were not when it began."""

    done: int
    total: int


async def left(database: KeyDatabase) -> int:
    """How many owners' keys are wrapped under another master key than the current one."""
    [(count,)] = await database.rows(_LEFT, (database.masters.current.key_id,))
    return int(count)


async def rotate(database: KeyDatabase, *, batch: int = 500, on_progress: Callable[[Progress], None] = lambda _: None) -> int:
    """Wrap every owner's key under the current master key, ``batch`` in a transaction; how many were. Raises MasterKeyMissing."""
    done = 0
    while total := await left(database):
        total, start = total + done, STORE_WIDE
        while True:
            async with database.transaction() as connection:
                references = await _rotate_batch(database, connection, start, batch)
            if not references:
                break
            done, start = done + len(references), references[-1]
            on_progress(Progress(done, max(total, done)))
    return done


async def _rotate_batch(database: KeyDatabase, connection: Connection, start: str, batch: int) -> list[str]:
    """Wrap the next ones from ``start`` on again; which they were. An owner erased meanwhile is left out by its row's lock."""
    current = database.masters.current
    rows = await rows_of(connection, _NEXT, (start, current.key_id, batch))
    wrapped = []
    for reference, old, master in rows:
        key = await database.masters.unwrap(master, old, reference.encode())
        wrapped.append(await current.wrap(key, reference.encode()))
    references = [row[0] for row in rows]
    if references:
        await connection.execute(_WRAPPED.encode(), (current.key_id, references, wrapped))
    return references
