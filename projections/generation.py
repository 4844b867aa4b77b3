"""Generations of a view: which schema is live, making one, promoting one, dropping one.

Exactly one generation is live. Public names are plain SQL views of it, re-pointed in the transaction that switches generations.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.errors import InvalidTableDefinition, LockNotAvailable

from projections import hot_tier, tables
from projections.errors import NotInstalled
from projections.vectors import fitting
from projections.view import View

INSTALL_LOCK = 0x454D4245  # "EMBE": one advisory lock for all who create or publish tables
LOCK_TIMEOUT_MS = 250
"""How long a promotion waits for its locks. Shorter than PostgreSQL's deadlock_timeout, so that a promotion always gives way to
readers and never fails one; it tries again."""
PROMOTE_ATTEMPTS = 60
REBUILD_LOCK = 0x454D4252  # "EMBR"
LINK: Any = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A database host that vanishes without a word is noticed within half a minute. libpq's names; seconds, the last milliseconds."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation of a view's tables."""

    view: str
    number: int
    schema: str
    fold_version: int


def schema_of(view: str, number: int) -> str:
    """Schema name of a generation."""
    return f"{view}_g{number}"


def scratch_of(view: str) -> str:
    """Schema name of a comparison's tables."""
    return f"{view}_scratch"


async def connect(dsn: str) -> AsyncConnection[Any]:
    """An autocommit connection of the read side.

    Its commits do not wait for the disk: rows and checkpoint stand in one transaction, so what a crash of the database takes back
    is read from the log again.
    """
    conn: AsyncConnection[Any] = await AsyncConnection.connect(dsn, autocommit=True, **LINK)
    await conn.execute("SET synchronous_commit = off; SET client_min_messages = warning")
    return conn


async def install(dsn: str, views: Sequence[View]) -> None:
    """Create what is missing: the list of generations, and a first live generation of each view. Repeating it does no harm."""
    async with await connect(dsn) as conn, conn.transaction():
        await conn.execute("SET LOCAL synchronous_commit = on")
        await conn.execute("SELECT pg_advisory_xact_lock(%s)", (INSTALL_LOCK,))
        await conn.execute(tables.GENERATIONS)
        await conn.execute(tables.GENERATIONS_OF_BEFORE)
        for view in views:
            if (found := await _live(conn, view.name)) is not None:
                await _build(conn, tables.let_in(view, found.schema) if found.fold_version == view.version else ())
            else:
                generation = await create(conn, view, state="live")
                await _build(conn, tables.create_indexes(view, generation.schema))
                await hot_tier.renew(conn, view, generation.schema, datetime.now(UTC))
                await publish(conn, view, generation)


async def upgrade(conn: AsyncConnection[Any]) -> None:
    """Bring a list of generations that an older version made up to date; nothing happens where there is none."""
    async with conn.transaction():
        await conn.execute("SELECT pg_advisory_xact_lock(%s)", (INSTALL_LOCK,))
        await conn.execute(tables.GENERATIONS_OF_BEFORE)


_NEXT = "SELECT coalesce(max(generation), 0) + 1 FROM public.emberlog_view_generation WHERE view = %s"


async def renumber(conn: AsyncConnection[Any], old: Generation) -> Generation:
    """Give a generation the next free number; it can be written to then. Call it inside a transaction."""
    cursor = await conn.execute(_NEXT, (old.view,))
    row = await cursor.fetchone()
    assert row is not None
    new = Generation(old.view, row[0], schema_of(old.view, row[0]), old.fold_version)
    await conn.execute(f"ALTER SCHEMA {old.schema} RENAME TO {new.schema}")
    await conn.execute(f"UPDATE {new.schema}.checkpoint SET retired = false")
    await conn.execute(
        "UPDATE public.emberlog_view_generation SET generation = %s WHERE view = %s AND generation = %s",
        (new.number, old.view, old.number),
    )
    return new


async def create(conn: AsyncConnection[Any], view: View, state: str = "building") -> Generation:
    """A new, empty generation with the next free number, without secondary indexes. Call it inside a transaction."""
    cursor = await conn.execute(
        "INSERT INTO public.emberlog_view_generation (view, generation, state, fold_version) "
        "SELECT %(v)s, coalesce(max(generation), 0) + 1, %(s)s, %(f)s FROM public.emberlog_view_generation WHERE view = %(v)s "
        "RETURNING generation",
        {"v": view.name, "s": state, "f": view.version},
    )
    row = await cursor.fetchone()
    assert row is not None
    number = int(row[0])
    generation = Generation(view.name, number, schema_of(view.name, number), view.version)
    await create_schema(conn, view, generation.schema)
    return generation


async def create_schema(conn: AsyncConnection[Any], view: View, schema: str) -> None:
    """The tables of a generation in ``schema``, its checkpoint at the beginning of every partition."""
    if tables.needs(view):
        await conn.execute("SELECT pg_advisory_xact_lock(%s)", (INSTALL_LOCK,))
    await _build(conn, tables.create_generation(view, schema))
    for source in view.sources:
        await conn.execute(
            f"INSERT INTO {schema}.checkpoint (topic, partition, next_offset) SELECT %s, p, 0 FROM generate_series(0, %s) p",
            (source.topic, source.partitions - 1),
        )


async def _build(conn: AsyncConnection[Any], statements: Sequence[str]) -> None:
    if statements:
        # in one go: a round trip for each of some hundred costs more than the statements
        await conn.execute(";\n".join(await fitting(conn, statements)))


async def _live(conn: AsyncConnection[Any], view: str) -> Generation | None:
    cursor = await conn.execute(
        "SELECT generation, fold_version FROM public.emberlog_view_generation WHERE view = %s AND state = 'live'", (view,)
    )
    row = await cursor.fetchone()
    return None if row is None else Generation(view, row[0], schema_of(view, row[0]), row[1])


async def live(conn: AsyncConnection[Any], view: str) -> Generation:
    """The live generation. Raises NotInstalled where there is none."""
    try:
        found = await _live(conn, view)
    except psycopg.errors.UndefinedTable:
        found = None
    if found is None:
        raise NotInstalled(f"view {view} has no tables in this database: call projections.generation.install first")
    return found


async def publish(conn: AsyncConnection[Any], view: View, generation: Generation) -> None:
    """Point the public names at ``generation``. Call it inside a transaction."""
    guarded = {table.name for table in view.tables if table.guard is not None}
    bodies = {}
    for public, (table, columns) in sorted(tables.published(view).items()):
        # what a guarded table shows depends on who asks, not on whose the public name is
        how = " WITH (security_invoker = true)" if table in guarded else ""
        names = ", ".join(f'"{c}"' for c in columns)
        bodies[public] = f"VIEW public.{public}{how} AS SELECT {names} FROM {generation.schema}.{table}"
    try:
        async with conn.transaction():
            await _build(conn, [f"CREATE OR REPLACE {body}" for body in bodies.values()])
    except InvalidTableDefinition:  # another set of columns, as a new version of the fold may bring
        await _build(conn, [f"DROP VIEW IF EXISTS public.{public}; CREATE {body}" for public, body in bodies.items()])
    await _build(conn, tables.let_in(view, generation.schema))


async def lock_published(conn: AsyncConnection[Any], view: View) -> None:
    """Take the public names' locks at once and in one order. Raises LockNotAvailable within LOCK_TIMEOUT_MS."""
    await conn.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
    wanted = sorted(tables.published(view))
    cursor = await conn.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = ANY(%s) ORDER BY relname",
        (wanted,),
    )
    found = [f"public.{r[0]}" for r in await cursor.fetchall()]
    if found:
        await conn.execute(f"LOCK TABLE {', '.join(found)} IN ACCESS EXCLUSIVE MODE")
    await conn.execute("SET LOCAL lock_timeout = 0")


async def switch(conn: AsyncConnection[Any], view: View, new: Generation) -> None:
    """Make ``new`` the live generation, keep the one before it. Call it inside the transaction that re-points the names."""
    await conn.execute(
        "UPDATE public.emberlog_view_generation SET state = 'kept', since = now() WHERE view = %s AND state = 'live'",
        (view.name,),
    )
    await mark(conn, new, "live")
    await publish(conn, view, new)


async def mark(conn: AsyncConnection[Any], generation: Generation, state: str) -> None:
    """Give a generation another state, from now on."""
    await conn.execute(
        "UPDATE public.emberlog_view_generation SET state = %s, since = now() WHERE view = %s AND generation = %s",
        (state, generation.view, generation.number),
    )


async def in_state(conn: AsyncConnection[Any], view: str, *states: str) -> list[Generation]:
    """A view's generations in any of ``states``, the one that came to it last first."""
    cursor = await conn.execute(
        "SELECT generation, fold_version FROM public.emberlog_view_generation WHERE view = %s AND state = ANY(%s) "
        "ORDER BY since DESC, generation DESC",
        (view, list(states)),
    )
    return [Generation(view, number, schema_of(view, number), version) for number, version in await cursor.fetchall()]


async def drop_old(conn: AsyncConnection[Any], view: str, keep: int = 1) -> list[int]:
    """Drop all kept generations but the ``keep`` that were live last; the numbers that went.

    Call it only while holding the view's rebuild lock. A schema that a long reader still holds is left for the next time.
    """
    kept = await in_state(conn, view, "kept")
    return [old.number for old in kept[keep:] if await drop(conn, view, old.number)]


@asynccontextmanager
async def rebuild_lock(conn: AsyncConnection[Any], view: str) -> AsyncIterator[bool]:
    """Hold the view's rebuild lock while the block runs; False where somebody else does."""
    cursor = await conn.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", (REBUILD_LOCK, view))
    row = await cursor.fetchone()
    ours = row is not None and bool(row[0])
    try:
        yield ours
    finally:
        # the server notices a closed connection a little later: the next rebuild must not find this one still there
        if ours:
            with suppress(psycopg.Error):
                await conn.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", (REBUILD_LOCK, view))


async def unfinished(conn: AsyncConnection[Any], view: str) -> list[int]:
    """Numbers of the generations that are being built, or were left by a rebuild that did not end."""
    return [generation.number for generation in await in_state(conn, view, "building", "replaying")]


async def drop_unfinished(conn: AsyncConnection[Any], view: str) -> None:
    """Drop what rebuilds and comparisons left that did not end. Call it only while holding the view's rebuild lock."""
    for number in await unfinished(conn, view):
        await drop(conn, view, number)
    await drop_scratch(conn, view)


async def drop_scratch(conn: AsyncConnection[Any], view: str) -> None:
    """Drop a comparison's tables. Call it only while holding the view's rebuild lock."""
    await conn.execute(f"DROP SCHEMA IF EXISTS {scratch_of(view)} CASCADE")


async def drop(conn: AsyncConnection[Any], view: str, number: int) -> bool:
    """Drop one generation that is not live; False where a reader holds it."""
    for _ in range(PROMOTE_ATTEMPTS):
        try:
            async with conn.transaction():
                await conn.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
                await conn.execute(f"DROP SCHEMA IF EXISTS {schema_of(view, number)} CASCADE")
                await conn.execute(
                    "DELETE FROM public.emberlog_view_generation WHERE view = %s AND generation = %s AND state <> 'live'",
                    (view, number),
                )
            return True
        except LockNotAvailable:
            await asyncio.sleep(0.05)
    return False
