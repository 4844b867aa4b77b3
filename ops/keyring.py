"""The key store that the settings name, opened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ops.keys import KeyFileError, role
from ops.keys.database import KeyDatabase
from ops.keys.destroying import Destroyer
from ops.keys.directory import PostgresDirectory
from ops.keys.erasing import ErasingView
from ops.keys.master import LocalMasterKey, Masters, master_from_file, master_from_text
from ops.keys.store import PostgresKeys
from ops.local.postgres import dsn_with
from ops.settings import Settings
from projections import generation
from schemas.topics import Topics

SUFFIX = "_keys"
_LIVE = "SELECT fold_version FROM emberlog_view_generation WHERE view = %s AND state = 'live'"
_WHERE = "SELECT current_database()::text, pg_postmaster_start_time()"
SHARED = (
    "the key store belongs to the role of the views, so who may read these has the keys, too: give it a role and a database of "
    "its own, best on another server, and name them by EMBERLOG_KEYS_DSN"
)


class SetupError(RuntimeError):
    """Something that setup needs and cannot make. The text says what to do."""


def keys_dsn(settings: Settings, dsn: str) -> str:
    """Address of the key store's database, for an installation whose views are at ``dsn``.

    On a server that is ours it logs in as a role of its own, named like the database.
    """
    if settings.keys_dsn is not None:
        return settings.keys_dsn.get_secret_value()
    name = f"{conninfo_to_dict(dsn).get('dbname', 'emberlog')}{SUFFIX}"
    return make_conninfo(dsn, dbname=name, user=name) if has_own_role(settings, dsn) else dsn_with(dsn, name)


def has_own_role(settings: Settings, dsn: str) -> bool:
    """Whether setup makes a role for the key store: on the embedded server, which trusts whoever reaches its socket.

    Elsewhere only the operator can make one, as it needs a password.
    """
    if settings.keys_dsn is not None:
        return False
    parts = conninfo_to_dict(dsn)
    is_embedded = settings.postgres_dsn is None or settings.services == "embedded"
    return is_embedded and str(parts.get("host", "")).startswith("/") and "password" not in parts


def masters(settings: Settings, *, make: bool = False) -> Masters:
    """The master key of the settings and the one before. Raises KeyFileError.

    ``make`` makes the file of the current one where it is missing.
    """
    former = settings.former_master_key_file
    return Masters(_current(settings, make), *(() if former is None else (_existing(former),)))


def master_file(settings: Settings) -> Path:
    """File of the master key, where the settings do not hold the key itself."""
    return settings.master_key_file or settings.data_dir / "keys" / "master.key"


def _current(settings: Settings, make: bool) -> LocalMasterKey:
    if settings.master_key is not None:
        return master_from_text(settings.master_key.get_secret_value())
    path = master_file(settings)
    return master_from_file(path) if make else _existing(path)


def _existing(path: Path) -> LocalMasterKey:
    # a key made here by whoever works in another folder than the workers would be another one than theirs
    if not path.exists():
        raise KeyFileError(f"the master key file {path} is missing: work in the folder of the workers, or put its backup back")
    return master_from_file(path)


class Keyring:
    """An installation's keys, and its owners' references."""

    def __init__(self, database: KeyDatabase) -> None:
        self.database, self.keys, self.directory = database, PostgresKeys(database), PostgresDirectory(database)
        self.destroyer = Destroyer(database)

    def erasing(self, topics: Topics) -> ErasingView:
        """The projection that carries out what the log says is forgotten; its tables stand in the key store's database."""
        return ErasingView(topics, self.destroyer)


@asynccontextmanager
async def open_keys(settings: Settings, dsn: str, connections: int = 4) -> AsyncIterator[Keyring]:
    """The key store of an installation whose views are at ``dsn``. Raises KeyFileError; its answers KeyLost, KeysUnavailable."""
    async with KeyDatabase(keys_dsn(settings, dsn), masters(settings), connections=connections) as database:
        yield Keyring(database)


async def set_up_keys(settings: Settings, dsn: str) -> tuple[str, ...]:
    """Make the key store's role, database and tables where they are missing, and the file of the master key. Lines of advice.

    Raises SetupError where the role may make no database, or the store is another installation's; KeyFileError;
    MasterKeyMissing for a store under another master key.
    """
    address = keys_dsn(settings, dsn)
    await asyncio.to_thread(ensure_store, settings, dsn)
    async with KeyDatabase(address, masters(settings, make=True), connections=1) as database:
        await _apart(database, dsn)
        await database.prepare()
        view = Keyring(database).erasing(settings.topics)
        await _begin_anew(database, view, settings.topics)
        await generation.install(address, [view])
        await _same_log(database, settings.topics)
    return () if settings.keys_dsn is not None or has_own_role(settings, dsn) else (SHARED,)


def ensure_store(settings: Settings, dsn: str) -> None:
    """Make the key store's database beside that of the views at ``dsn``, unless the operator named one.

    Raises SetupError, psycopg's errors.
    """
    if has_own_role(settings, dsn):
        role.ensure_own(dsn, keys_dsn(settings, dsn))
    elif settings.keys_dsn is None:
        ensure_database(dsn, keys_dsn(settings, dsn))


async def _begin_anew(database: KeyDatabase, view: ErasingView, topics: Topics) -> None:
    """Drop the notes of an older version of the projection: it reads the log again, and destroying may be repeated."""
    try:
        [(version,)] = await database.rows(_LIVE, (view.name,))
        if version == view.version:
            return
        await _same_log(database, topics)
    except (ValueError, psycopg.errors.UndefinedTable):
        return  # there are none
    async with await generation.connect(database.dsn) as conn:
        live = await generation.live(conn, view.name)
        async with conn.transaction():
            await conn.execute(f"DROP SCHEMA {live.schema} CASCADE")
            await conn.execute("DELETE FROM emberlog_view_generation WHERE view = %s", (view.name,))


async def _apart(database: KeyDatabase, views: str) -> None:
    async with await psycopg.AsyncConnection.connect(views) as connection:
        if await database.rows(_WHERE, ()) == await (await connection.cursor(binary=True).execute(_WHERE)).fetchall():
            raise SetupError("EMBERLOG_KEYS_DSN names the database of the views: the key store needs one of its own")


async def _same_log(database: KeyDatabase, topics: Topics) -> None:
    found = {name for (name,) in await database.rows("SELECT DISTINCT topic FROM emberlog_keys_checkpoint", ())}
    if topics.events not in found:
        raise SetupError(
            f"the key store is that of another installation, whose log is {min(found, default='not known')}, and this one's is "
            f"{topics.events}: each needs a key store of its own, so name another by EMBERLOG_KEYS_DSN, or correct "
            "EMBERLOG_TOPIC_PREFIX"
        )


def ensure_database(server: str, address: str) -> None:
    """Make the database of ``address`` by way of another one on its server, ``server``. Raises SetupError, psycopg's errors."""
    name = conninfo_to_dict(address)["dbname"]
    try:
        with psycopg.connect(server, autocommit=True) as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(str(name))))
    except psycopg.errors.DuplicateDatabase:
        return  # another set-up was faster
    except psycopg.errors.InsufficientPrivilege:
        raise SetupError(
            f"the key store needs a database of its own, and this role may not make {name}: make it, or name another by "
            "EMBERLOG_KEYS_DSN"
        ) from None
