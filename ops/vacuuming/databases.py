"""All tables of a database, one after the other, and round again for those that are in use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from ops.forgetting.stores import ALL_TABLES, table_stores
from ops.forgetting.tables import generations, tables_of
from ops.vacuuming.tables import CATALOGS, Dead, Kept, Name, rewrite
from ops.vacuuming.wal import let_go

LOCK_TIMEOUT_MS = 250
"""How long a lock is asked for: readers queue behind it no longer than that."""
PAUSE_S = 0.25
PATIENCE_S = 60.0
"""Once nothing got done for so long, what is left is given up."""

OnProgress = Callable[[int, int], None]
Connection = psycopg.AsyncConnection[Any]


@dataclass(frozen=True, slots=True)
class Database:
    """A database to write anew. ``label`` is for people; in the key store (``keys``) all tables are ours."""

    label: str
    dsn: str = field(repr=False)
    keys: bool = False


@dataclass(slots=True)
class Vacuumed:
    """What became of a database. Sizes in bytes of the whole database."""

    label: str
    before: int = 0
    after: int = 0
    tables: int = 0
    """Tables that were written anew, those of the planner's samples included."""
    foreign: int = 0
    """Tables that Emberlog does not know, which stay as they are."""
    left: dict[str, str] = field(default_factory=dict)
    """Tables in whose files deleted rows or samples may still stand, and why."""
    wal: list[str] = field(default_factory=list)
    """What stays of the server's write-ahead log, and why."""


@dataclass(slots=True)
class _Plan:
    database: Database
    tables: list[Name]
    result: Vacuumed


@dataclass(slots=True)
class _Waiting:
    """A table that is still to be written, and why it was put off."""

    name: Name
    why: str = "there was no time for it"
    again_at: float = 0.0
    pause_s: float = 1.0

    def put_off(self, why: str, *, longer: bool = False) -> None:
        """``longer``: it was written, in vain; not at once again."""
        self.why = why
        if longer:
            self.again_at = time.monotonic() + self.pause_s
            self.pause_s *= 2


async def vacuum(
    databases: Sequence[Database], on_progress: OnProgress = lambda done, total: None, patience_s: float = PATIENCE_S
) -> list[Vacuumed]:
    """Write the tables of ``databases`` anew, then let their servers' write-ahead log go as far as the roles may.

    ``on_progress`` is called with tables done and in all. Once nothing got done for ``patience_s`` seconds, what is left is given
    up. Raises psycopg.OperationalError where a database is away, UndefinedTable where it was not set up.
    """
    plans = [await _plan(database) for database in databases]
    total, done = sum(len(plan.tables) + len(CATALOGS) for plan in plans), 0

    def step() -> None:
        nonlocal done
        done += 1
        on_progress(done, total)

    on_progress(0, total)
    for plan in plans:
        async with await _connect(plan.database) as connection:
            dead = Dead(connection)
            await connection.execute(sql.SQL("SET lock_timeout = {}").format(LOCK_TIMEOUT_MS))
            for names in (plan.tables, CATALOGS):
                await _rounds(connection, dead, plan.result, names, step, patience_s)
    for plan in plans:
        async with await _connect(plan.database) as connection:
            plan.result.wal = await let_go(connection)
            plan.result.after = await _size(connection)
    return [plan.result for plan in plans]


async def _connect(database: Database) -> Connection:
    connection: Connection = await psycopg.AsyncConnection.connect(database.dsn, autocommit=True)
    await connection.execute("SET statement_timeout = 0")
    return connection


async def _plan(database: Database) -> _Plan:
    async with await _connect(database) as connection:
        if database.keys:
            stores = [store for store in table_stores((), key_store=True) if store.keys]
        else:
            stores = [store for store in table_stores(await generations(connection)) if not store.keys]
        unknown = {store.name for store in stores if ALL_TABLES in store.places and not database.keys}
        found = await tables_of(connection, stores)
        names = sorted(name for store, tables in found.items() if store not in unknown for name in tables)
        result = Vacuumed(database.label, await _size(connection), foreign=sum(len(found[store]) for store in unknown))
    return _Plan(database, names, result)


async def _size(connection: Connection) -> int:
    row = await (await connection.execute("SELECT pg_database_size(current_database())")).fetchone()
    assert row is not None
    return int(row[0])


async def _rounds(
    connection: Connection, dead: Dead, result: Vacuumed, names: Iterable[Name], step: Callable[[], None], patience_s: float
) -> None:
    """Go round the tables until all are done, or nothing got done for ``patience_s``."""
    waiting, until = [_Waiting(name) for name in names], time.monotonic() + patience_s
    while waiting and time.monotonic() < until:
        for table in [table for table in waiting if table.again_at <= time.monotonic()]:
            try:
                await rewrite(connection, dead, table.name)
                result.tables += 1
            except psycopg.errors.LockNotAvailable:
                table.put_off("others use it without a pause")
                continue
            except Kept as kept:
                if kept.may_change:
                    table.put_off(str(kept), longer=True)
                    continue
                result.left[".".join(table.name)] = str(kept)
            waiting.remove(table)
            step()
            until = time.monotonic() + patience_s
        await asyncio.sleep(PAUSE_S if waiting else 0)
    result.left.update({".".join(table.name): table.why for table in waiting})
