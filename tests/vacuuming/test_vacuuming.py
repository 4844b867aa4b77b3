"""Tables are written anew while others work; what cannot be done is said, and why."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ops.local.addresses import ServiceAddresses
from ops.local.postgres import dsn_with
from ops.vacuuming import Database, Vacuumed, vacuum

GONE = "Quillon keeps seven violet umbrellas"
READER_S = 3.0
FILES = """
SELECT relname FROM pg_class AS c WHERE relkind IN ('r', 'i', 't') AND pg_relation_filepath(c.oid) IS NOT NULL
AND position(%s::bytea IN pg_read_binary_file(pg_relation_filepath(c.oid))) > 0 ORDER BY 1
"""
TABLES = """
CREATE TABLE said (id int PRIMARY KEY, text text) WITH (autovacuum_enabled = false);
CREATE INDEX said_words ON said USING gin (to_tsvector('simple', text));
CREATE TABLE emptied (text text, upper text) WITH (autovacuum_enabled = false);
CREATE INDEX emptied_lower ON emptied (lower(text));
"""


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        yield connection


async def filled(dsn: str) -> None:
    """Two tables: one keeps a row, one loses all; what went is in rows, indexes and samples."""
    async with connected(dsn) as connection:
        await connection.execute(TABLES)
        await connection.execute("INSERT INTO said VALUES (0, 'Ann hums')")
        await connection.execute("INSERT INTO said SELECT n, %s FROM generate_series(1, 50) AS n", (GONE,))
        await connection.execute("INSERT INTO emptied SELECT %s, upper(%s) FROM generate_series(1, 50)", (GONE, GONE))
        await connection.execute("ANALYZE")
        await connection.execute("DELETE FROM said WHERE id > 0")
        await connection.execute("DELETE FROM emptied")


async def where(dsn: str) -> list[str]:
    """Tables and indexes whose files hold what went, in any of three forms."""
    async with connected(dsn) as connection:
        await connection.execute("CHECKPOINT")
        found = [
            name
            for form in (GONE, GONE.upper(), GONE.lower())
            for (name,) in await (await connection.execute(FILES, (form.encode(),))).fetchall()
        ]
    return sorted(set(found))


async def samples(dsn: str) -> list[str]:
    async with connected(dsn) as connection:
        query = "SELECT tablename FROM pg_stats WHERE concat(most_common_vals, most_common_elems) ~* 'umbrella' ORDER BY 1"
        return sorted({name for (name,) in await (await connection.execute(query)).fetchall()})


@pytest.fixture
async def store(fresh_database: str) -> Database:
    """A database with dead rows, of which all tables are ours."""
    await filled(fresh_database)
    return Database("key store", fresh_database, keys=True)


@pytest.fixture
def owned(services: ServiceAddresses) -> Iterator[str]:
    """A database that belongs to a role without any further rights, who logs in by this address."""
    role = f"emb_test_{secrets.token_hex(6)}"
    password = secrets.token_hex(8)
    with psycopg.connect(services.postgres_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), password))
        connection.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(sql.Identifier(role)))
    try:
        yield make_conninfo(dsn_with(services.postgres_dsn, role), user=role, password=password)
    finally:
        with psycopg.connect(services.postgres_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(role)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


async def one(database: Database, patience_s: float = 20.0) -> Vacuumed:
    async with asyncio.timeout(60):
        [result] = await vacuum([database], patience_s=patience_s)
    return result


async def test_what_was_deleted_is_in_no_file_and_no_sample_afterwards(store: Database) -> None:
    assert {"said", "emptied", "pg_statistic"} <= set(await where(store.dsn))
    assert await samples(store.dsn) == ["emptied", "emptied_lower", "said", "said_words"]
    steps: list[tuple[int, int]] = []
    [result] = await vacuum([store], lambda done, total: steps.append((done, total)))
    assert await where(store.dsn) == []
    assert await samples(store.dsn) == []
    assert result.left == {}
    assert steps == [(n, 4) for n in range(5)], "two tables, and two of the planner's samples"
    assert result.tables == 4
    async with connected(store.dsn) as connection:
        assert await (await connection.execute("SELECT text FROM said")).fetchall() == [("Ann hums",)]
        assert await (await connection.execute("SELECT count(*) FROM pg_stats WHERE tablename = 'said'")).fetchone() == (2,)


async def test_it_waits_for_a_reader_without_holding_up_the_readers_behind(store: Database) -> None:
    async with connected(store.dsn) as first, connected(store.dsn) as second:
        await first.execute("BEGIN")
        await first.execute("SELECT count(*) FROM said")
        running = asyncio.create_task(one(store))
        waits = []
        end = time.monotonic() + READER_S
        while time.monotonic() < end:
            began = time.monotonic()
            await second.execute("SELECT count(*) FROM said")
            waits.append(time.monotonic() - began)
            await asyncio.sleep(0.02)
        assert not running.done()
        await first.execute("COMMIT")
        result = await running
    assert max(waits) < READER_S / 2, "a reader waits for the lock that is asked for, and no longer"
    assert result.left == {}
    assert await where(store.dsn) == []


async def test_a_table_that_is_never_free_is_left_and_named_while_the_others_are_done(store: Database) -> None:
    async with connected(store.dsn) as reader:
        await reader.execute("BEGIN")
        await reader.execute("SELECT count(*) FROM said")
        result = await one(store, patience_s=1.0)
    assert result.left == {"public.said": "others use it without a pause"}
    assert (result.tables, await where(store.dsn)) == (3, ["pg_statistic", "said"])


async def test_rows_that_an_old_transaction_can_still_see_are_said_to_stay(store: Database) -> None:
    async with connected(store.dsn) as reader, connected(store.dsn) as writer:
        await reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await reader.execute("SELECT 1 FROM pg_class LIMIT 1")
        await writer.execute("INSERT INTO said VALUES (60, %s)", (GONE,))
        await writer.execute("DELETE FROM said WHERE id = 60")
        result = await one(store, patience_s=1.0)
        assert "can see 1 deleted rows" in result.left["public.said"]
        assert "said" in await where(store.dsn)
        running = asyncio.create_task(one(store))
        await asyncio.sleep(0.3)
        await reader.execute("COMMIT")
        assert (await running).left == {}
    assert await where(store.dsn) == []


async def test_the_owner_of_a_database_needs_no_further_rights_and_is_told_what_the_log_keeps(
    owned: str, services: ServiceAddresses
) -> None:
    await filled(owned)
    result = await one(Database("key store", owned, keys=True))
    assert result.left == {}
    said = " ".join(result.wal)
    assert "pg_checkpoint" in said
    assert "pg_switch_wal" in said
    name = conninfo_to_dict(owned)["dbname"]
    assert isinstance(name, str)
    assert await where(dsn_with(services.postgres_dsn, name)) == []
    assert await samples(owned) == []


async def test_samples_that_only_a_superuser_can_take_away_are_named(owned: str) -> None:
    await filled(owned)
    async with connected(owned) as connection:
        await connection.execute("CREATE VIEW shown AS SELECT text FROM emptied")
    result = await one(Database("key store", owned, keys=True))
    assert list(result.left) == ["public.emptied"]
    assert "only a superuser" in result.left["public.emptied"]


async def test_a_table_of_somebody_else_is_said_to_have_been_left(owned: str, services: ServiceAddresses) -> None:
    name = conninfo_to_dict(owned)["dbname"]
    assert isinstance(name, str)
    role = f"{name}_guest"
    with psycopg.connect(services.postgres_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'guest'").format(sql.Identifier(role)))
    try:
        await filled(owned)
        guest = make_conninfo(owned, user=role, password="guest")
        result = await one(Database("key store", guest, keys=True))
        assert set(result.left) == {
            "public.said", "public.emptied", "pg_catalog.pg_statistic", "pg_catalog.pg_statistic_ext_data"
        }  # fmt: skip
        assert set(result.left.values()) == {"this role has no right to write it anew"}
    finally:
        with psycopg.connect(services.postgres_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


async def test_tables_of_other_programs_beside_the_views_are_left_alone(fresh_database: str) -> None:
    await filled(fresh_database)
    async with connected(fresh_database) as connection:
        await connection.execute("CREATE TABLE emblem (n int)")
        await connection.execute(
            "CREATE TABLE emberlog_view_generation (view text, generation int); CREATE TABLE emberlog_decider_entry (n int)"
        )
    result = await one(Database("views", fresh_database))
    assert (result.foreign, result.tables, result.left) == (3, 4, {})
    assert {"said", "emptied"} <= set(await where(fresh_database))
