"""Backups of the key store: one file, every row of every table in one snapshot. Keys stay wrapped under the master key.

Lines of JSON: a head with the format, a line ``[table, row]`` for each row, at the end the manifest with the count of each table
and the SHA-256 of all lines before it. A backup brings destroyed keys back: after ``restore`` the log's forgets must be played
again before anything is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import psycopg
from psycopg import sql

from ops.keys.database import Connection, KeyDatabase
from ops.keys.tables import NAMES, TABLES

FORMAT = "emberlog keys 1"
_ROWS = 2000
OnProgress = Callable[[int, int], None]


class BackupError(RuntimeError):
    """A backup that cannot be used, or a place where none can be restored. The text holds no row."""


async def backup(database: KeyDatabase, path: Path, on_progress: OnProgress = lambda done, total: None) -> Mapping[str, int]:
    """Write a backup to ``path`` (mode 0600), read it again, then put it in place. Rows of each table. Raises OSError.

    ``on_progress`` is called with rows written and rows in all.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            counts = await _write(database, file, on_progress)
            file.flush()
            os.fsync(file.fileno())
        if verify(draft) != counts:
            raise BackupError("the backup that was written does not hold what was read")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return counts


async def _write(database: KeyDatabase, file: IO[bytes], on_progress: OnProgress) -> dict[str, int]:
    seen, counts = hashlib.sha256(), dict.fromkeys(NAMES, 0)

    def write(value: Any) -> None:
        line = json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
        seen.update(line)
        file.write(line)

    write({"format": FORMAT})
    async with _snapshot(database) as connection:
        total = sum([await _count(connection, name) for name in NAMES])
        for name in NAMES:
            async with connection.cursor(name="emberlog_backup") as cursor:
                cursor.itersize = _ROWS
                await cursor.execute(sql.SQL("SELECT row_to_json(t) FROM {} AS t").format(sql.Identifier(name)))
                async for (row,) in cursor:
                    write([name, row])
                    counts[name] += 1
                    if counts[name] % _ROWS == 0:
                        on_progress(sum(counts.values()), total)
            on_progress(sum(counts.values()), total)
    write({"rows": counts, "sha256": seen.hexdigest()})
    return counts


async def _count(connection: Connection, name: str) -> int:
    row = await (await connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name)))).fetchone()
    assert row is not None
    return int(row[0])


@asynccontextmanager
async def _snapshot(database: KeyDatabase) -> AsyncIterator[Connection]:
    async with database.transaction() as connection:
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield connection


def verify(path: Path) -> dict[str, int]:
    """Read a backup from end to end; rows of each table. Raises BackupError where it is cut off or was changed, OSError."""
    counts = dict.fromkeys(NAMES, 0)
    for name, _ in _read(path):
        counts[name] += 1
    return counts


def _read(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Table and row of each line. Raises BackupError at the end where the manifest does not fit what was read."""
    seen, counts = hashlib.sha256(), dict.fromkeys(NAMES, 0)
    try:
        with path.open("rb") as file:
            head = file.readline()
            if json.loads(head) != {"format": FORMAT}:
                raise BackupError(f"{path.name} is no backup of the format “{FORMAT}”")
            seen.update(head)
            for line in file:
                value = json.loads(line)
                if isinstance(value, dict):
                    if value != {"rows": counts, "sha256": seen.hexdigest()} or file.read(1):
                        raise BackupError(f"{path.name} was changed: its manifest does not fit its rows")
                    return
                name, row = value
                seen.update(line)
                counts[name] += 1
                yield name, row
    except (ValueError, KeyError, TypeError):
        raise BackupError(f"{path.name} was changed, or is no backup") from None
    raise BackupError(f"{path.name} is cut off: it has no manifest")


async def restore(database: KeyDatabase, path: Path) -> Mapping[str, int]:
    """Fill an empty database from a backup, in one transaction. Rows of each table. Raises BackupError, KeysUnavailable."""
    verify(path)
    counts = dict.fromkeys(NAMES, 0)
    async with database.transaction() as connection:
        await connection.execute(TABLES.encode())
        for name in NAMES:
            query = sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier(name))
            if await (await connection.execute(query)).fetchone() is not None:
                raise BackupError("the key store is not empty: restore into a database of its own")
        rows: list[dict[str, Any]] = []
        table = NAMES[0]
        for name, row in _read(path):
            if rows and (name != table or len(rows) >= _ROWS):
                counts[table] += await _insert(connection, table, rows)
                rows = []
            table = name
            rows.append(row)
        counts[table] += await _insert(connection, table, rows)
    return counts


async def _insert(connection: Connection, table: str, rows: list[dict[str, Any]]) -> int:
    query = sql.SQL("INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table}, %s::json)")
    try:
        return (await connection.execute(query.format(table=sql.Identifier(table)), (json.dumps(rows),))).rowcount
    except psycopg.Error as error:
        if isinstance(error, psycopg.OperationalError):
            raise
        raise BackupError(f"the backup has rows that {table} refuses ({type(error).__name__})") from None
