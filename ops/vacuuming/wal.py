"""The write-ahead log of a server: what was written to tables stands there too, until its files go."""

from __future__ import annotations

from typing import Any

import psycopg

Connection = psycopg.AsyncConnection[Any]

_FILES = "SELECT name FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'"
_AHEAD = """
SELECT count(*) FROM pg_ls_waldir()
WHERE name ~ '^[0-9A-F]{24}$' AND name > pg_walfile_name(pg_current_wal_insert_lsn())
  AND current_setting('wal_recycle') = 'off' AND current_setting('archive_mode') = 'off'
"""
# a switch right behind another one does nothing
_SWITCH = ("SELECT pg_logical_emit_message(false, 'emberlog', '')", "SELECT pg_switch_wal()")
_REUSES = "SELECT current_setting('wal_recycle')::boolean"


async def let_go(connection: Connection) -> list[str]:
    """Let the files of the write-ahead log go that hold what was written so far. What stays, and why, a line each."""
    said = []
    before = await _files(connection)
    try:
        for _ in range(1 + await _ahead(connection)):
            for statement in _SWITCH:
                await connection.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege:
        said.append("the file in use stays: this role may not switch it (pg_switch_wal)")
    try:
        await connection.execute("CHECKPOINT")
    except psycopg.errors.InsufficientPrivilege:
        said.append("it goes with the server's own checkpoints: this role may order none (it is no member of pg_checkpoint)")
        return said
    after = await _files(connection)
    if before is None or after is None:
        said.append("this role may not see its files (pg_ls_waldir)")
    elif kept := before & after:
        said.append(f"{len(kept)} of {len(before)} files are still there: kept for a replica, an archive or to be used again")
    if await _value(connection, _REUSES):
        said.append(
            "the server uses its files again: old bytes stay in them until they are written over (wal_recycle = off ends it)"
        )
    return said


async def _ahead(connection: Connection) -> int:
    """Files that were made ready for use from old ones, and hold their bytes. Where none is reused, they can be used up."""
    try:
        return int(await _value(connection, _AHEAD))
    except psycopg.errors.InsufficientPrivilege:
        return 0


async def _files(connection: Connection) -> set[str] | None:
    """Names of the log's files; None where the role may not see them."""
    try:
        return {name for (name,) in await (await connection.execute(_FILES)).fetchall()}
    except psycopg.errors.InsufficientPrivilege:
        return None


async def _value(connection: Connection, query: str) -> Any:
    row = await (await connection.execute(query.encode())).fetchone()
    assert row is not None
    return row[0]
