"""Keeping the keys: where they are, and the master key in use, for ``emberlog keys``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ops.cli.errors import UsageError
from ops.cli.target import find_running, read_settings
from ops.keyring import SetupError, ensure_database, ensure_store, keys_dsn, master_file, masters
from ops.keys import checking, rotation
from ops.keys.backup import restore
from ops.keys.database import KeyDatabase
from ops.keys.master import Masters, master_from_file
from ops.local.postgres import dsn_with
from ops.settings import Settings

Progress = Callable[[int, int], None]
MAINTENANCE = "postgres"
WAIT_S = 5.0
"""How long a key store may take to answer before it counts as away."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an installation's keys are. ``dsn`` is the key store's and may hold a password; ``shown`` does not.

    ``views`` is the address of the views, where that of the key store follows from it.
    """

    settings: Settings
    dsn: str = field(repr=False)
    views: str | None = field(default=None, repr=False)

    @property
    def shown(self) -> str:
        """The database in words."""
        parts = conninfo_to_dict(self.dsn)
        return f"database {parts.get('dbname', '')} on {parts.get('host', 'localhost')}:{parts.get('port', 5432)}"

    @property
    def widest(self) -> str:
        """The database by the role that may do most there: on a server that is ours the views', its superuser."""
        return self.dsn if self.views is None else dsn_with(self.views, str(conninfo_to_dict(self.dsn)["dbname"]))

    @property
    def master_file(self) -> Path | None:
        """File of the master key in use; None where the key itself is in a variable."""
        if self.settings.master_key is not None:
            return None
        return master_file(self.settings)

    @property
    def master_shown(self) -> str:
        """Where the master key is, in words."""
        return "EMBERLOG_MASTER_KEY" if self.master_file is None else f"file {self.master_file}"


@dataclass(frozen=True, slots=True)
class Checked:
    """A check of the key store. ``left``: owners whose key is still wrapped under a former master key."""

    store: str
    master: str
    master_id: str
    found: checking.Check
    left: int


def place() -> Place:
    """The key store of the settings, else of what runs. Raises NotRunning where neither is there."""
    settings = read_settings()
    # one of its own is there whether the rest runs or not
    views = None if settings.keys_dsn is not None else find_running().dsn
    return Place(settings, keys_dsn(settings, views or ""), views)


@asynccontextmanager
async def opened(where: Place, given: Masters | None = None) -> AsyncIterator[KeyDatabase]:
    """The key store's database, with the master keys of the settings or the ``given`` ones."""
    async with KeyDatabase(where.dsn, given or masters(where.settings), connections=1, wait_s=WAIT_S) as database:
        yield database


async def check(where: Place) -> Checked:
    """Unwrap every key. Raises KeyFileError, KeysUnavailable."""
    async with opened(where) as database:
        current = database.masters.current.key_id
        found = await checking.check(database)
        return Checked(where.shown, where.master_shown, current, found, await rotation.left(database))


async def bring_back(where: Place, file: Path) -> dict[str, int]:
    """Restore a backup; rows of each table. The database is made where that can be done. Raises BackupError, OSError."""
    with suppress(SetupError, psycopg.Error):
        if where.views is not None:
            ensure_store(where.settings, where.views)
        else:
            ensure_database(dsn_with(where.dsn, MAINTENANCE), where.dsn)
    async with opened(where) as database:
        return dict(await restore(database, file))


async def prepare(where: Place) -> None:
    """Make what the tables lack. Raises MasterKeyMissing where keys are wrapped under a master key that was not given."""
    async with opened(where) as database:
        await database.prepare()


def masters_towards(where: Place, file: Path | None) -> Masters:
    """The master key to rotate to, and those that are in use now. ``file`` is made where it is missing. Raises UsageError."""
    present = masters(where.settings)
    if file is None:
        if len(present.ids) == 1 and where.settings.former_master_key_file is None:
            raise UsageError(
                "there is one master key only: say where the new one is, or is to be made, with --to-file",
                "or set EMBERLOG_MASTER_KEY_FILE to the new and EMBERLOG_FORMER_MASTER_KEY_FILE to the present one",
            )
        return present
    return Masters(master_from_file(file), *(present.require(key_id) for key_id in sorted(present.ids)))


async def left(where: Place, given: Masters) -> int:
    """How many owners' keys are not wrapped under the master key that is ``given`` as current."""
    async with opened(where, given) as database:
        return await rotation.left(database)


async def rotate(where: Place, given: Masters, on_progress: Progress) -> int:
    """Wrap every owner's key under the current one of the ``given`` master keys; how many were. Raises MasterKeyMissing."""
    async with opened(where, given) as database:
        return await rotation.rotate(database, on_progress=lambda now: on_progress(now.done, now.total))
