"""The key store's own role and database on the embedded server, and whose key store it is."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ops.keyring import SHARED, Keyring, SetupError, ensure_store, keys_dsn, open_keys, set_up_keys
from ops.keys.checking import check
from ops.keys.database import KeyDatabase
from ops.keys.master import Masters, master_from_file
from ops.local.postgres import EmbeddedPostgres, dsn_with
from ops.settings import Settings, load_settings
from projections import generation
from schemas.owner import Owner
from schemas.subjects import Subject
from schemas.topics import Topics
from tests.services import temporary_data_dir

OWNED = """
SELECT DISTINCT pg_get_userbyid(c.relowner) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
UNION SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()
UNION SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname LIKE 'keys\\_g%'
"""


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A server of these tests' own: rights to connect are changed."""
    folder = temporary_data_dir()
    postgres = EmbeddedPostgres(folder / "postgres")
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.stop()
        postgres.remove()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def views(server: EmbeddedPostgres) -> str:
    """Address of a views' database, by the superuser."""
    name = f"views_{secrets.token_hex(4)}"
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return dsn_with(server.dsn, name)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("EMBERLOG_POSTGRES_DSN", "EMBERLOG_KAFKA_BOOTSTRAP", "EMBERLOG_KEYS_DSN", "EMBERLOG_TOPIC_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    return load_settings(data_dir=tmp_path)


def refused(dsn: str, **changed: str) -> str:
    """What the server says to a log-in that fails."""
    with pytest.raises(psycopg.OperationalError) as failure:
        psycopg.connect(make_conninfo(dsn, **changed)).close()
    return str(failure.value)


def asked(dsn: str, query: Any) -> list[Any]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(query).fetchall()


async def older(settings: Settings, views: str) -> Subject:
    """A key store as it was made before it had a role: all of it is the superuser's. A subject with a key in it."""
    name = str(conninfo_to_dict(views)["dbname"]) + "_keys"
    with psycopg.connect(views, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    address = dsn_with(views, name)
    async with KeyDatabase(address, Masters(master_from_file(settings.data_dir / "keys" / "master.key"))) as database:
        await database.prepare()
        ring = Keyring(database)
        await generation.install(address, [ring.erasing(Topics())])
        subject = Subject(await ring.directory.reference_of(Owner.parse("u-1")), "message", "m-1")
        await ring.keys.for_sealing([subject])
    return subject


async def test_the_key_store_has_a_role_that_reaches_nothing_else_and_that_nobody_else_reaches(
    settings: Settings, views: str
) -> None:
    assert await set_up_keys(settings, views) == ()
    address = keys_dsn(settings, views)
    parts = conninfo_to_dict(address)
    assert parts["user"] == parts["dbname"] == f"{conninfo_to_dict(views)['dbname']}_keys"
    role = str(parts["user"])
    assert asked(
        address, "SELECT rolsuper, rolcreatedb, rolcreaterole, rolbypassrls FROM pg_roles WHERE rolname = current_user"
    ) == [(False, False, False, False)]
    assert asked(address, OWNED) == [(role,)]
    assert "permission denied for database" in refused(views, user=role)
    with psycopg.connect(views, autocommit=True) as connection:
        reader = f"reader_{secrets.token_hex(4)}"
        connection.execute(f"CREATE ROLE {reader} LOGIN")
        connection.execute(f"GRANT CONNECT ON DATABASE {conninfo_to_dict(views)['dbname']} TO {reader}")
    assert asked(make_conninfo(views, user=reader), "SELECT 1") == [(1,)]
    assert "permission denied for database" in refused(address, user=reader)


async def test_an_older_key_store_goes_over_to_the_role_with_its_keys_however_often_and_at_once(
    settings: Settings, views: str
) -> None:
    subject = await older(settings, views)
    await asyncio.gather(*(asyncio.to_thread(ensure_store, settings, views) for _ in range(3)))
    for _ in range(2):
        await set_up_keys(settings, views)
    address = keys_dsn(settings, views)
    assert asked(address, OWNED) == [(conninfo_to_dict(address)["user"],)]
    async with open_keys(settings, views, connections=1) as ring:
        found = await check(ring.database)
        assert (found.owners, found.items, found.is_well) == (1, 1, True)
        assert (await ring.keys.for_sealing([subject]))[subject] is not None
        assert (await ring.destroyer.destroy_owner(subject.owner)).items == 1
    async with await generation.connect(address) as connection, connection.transaction():
        # what a projection does there: a generation, its tables, its public names
        view = Keyring(KeyDatabase(address, Masters(master_from_file(settings.data_dir / "keys" / "master.key")))).erasing(
            Topics()
        )
        await generation.switch(connection, view, await generation.create(connection, view))


async def test_set_ups_at_once_make_one_key_store(settings: Settings, views: str) -> None:
    await asyncio.gather(*(asyncio.to_thread(ensure_store, settings, views) for _ in range(4)))
    await asyncio.gather(*(set_up_keys(settings, views) for _ in range(3)))
    async with open_keys(settings, views, connections=1) as ring:
        assert (await check(ring.database)).is_well


async def test_on_a_server_of_the_operators_own_the_views_role_keeps_the_keys_and_is_advised_against(
    views: str, tmp_path: Path
) -> None:
    theirs = load_settings(data_dir=tmp_path, postgres_dsn=views)
    assert conninfo_to_dict(keys_dsn(theirs, views))["user"] == "postgres"
    assert await set_up_keys(theirs, views) == (SHARED,)
    named = load_settings(data_dir=tmp_path, postgres_dsn=views, keys_dsn=keys_dsn(theirs, views))
    assert await set_up_keys(named, views) == ()


async def test_a_second_installation_on_one_key_store_is_refused_by_setup(settings: Settings, views: str, tmp_path: Path) -> None:
    await set_up_keys(settings, views)
    with pytest.raises(SetupError, match=r"whose log is memory\.events\.v1, and this one's is b\.memory\.events\.v1"):
        await set_up_keys(load_settings(data_dir=tmp_path, topic_prefix="b."), views)
    await set_up_keys(settings, views)


async def test_a_key_store_in_the_database_of_the_views_is_refused_by_setup(views: str, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="needs one of its own"):
        await set_up_keys(load_settings(data_dir=tmp_path, postgres_dsn=views, keys_dsn=views), views)
    assert asked(views, "SELECT FROM pg_tables WHERE tablename LIKE 'emberlog%'") == []
