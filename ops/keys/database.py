"""Connections to the key store's database, and the owners' keys in it."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

import psycopg
from psycopg_pool import AsyncConnectionPool

from ops.keys.cache import Cache, Moment
from ops.keys.cipher import OWNER_KEY_BYTES, OwnerKey
from ops.keys.master import Masters
from ops.keys.tables import STORE_WIDE, TABLES
from schemas.errors import KeyLost, KeysUnavailable

CACHE_S = 60.0
CACHE_SIZE = 50_000
WAIT_S = 10.0
BATCH = 10_000
"""Keys in one statement."""

T = TypeVar("T")
Row = tuple[Any, ...]
Connection = psycopg.AsyncConnection[Row]

# every look-up goes by a key; statistics of a table that was empty a moment ago would have it read as a whole
BY_KEY = ("enable_seqscan = off", "enable_hashjoin = off", "enable_mergejoin = off")
_PREPARING = "SELECT pg_advisory_xact_lock(hashtext('emberlog_keys'))"
_STORE_WIDE = """
INSERT INTO emberlog_owner (reference, tenant, kind, id, wrapped, master) VALUES (%s, '', 'system', '', %s, %s)
ON CONFLICT DO NOTHING
"""
_MASTERS = "SELECT DISTINCT master FROM emberlog_owner WHERE master IS NOT NULL"
_EPOCH = "SELECT epoch FROM emberlog_key_epoch"
_OWNER_KEYS = """
SELECT o.reference::text, o.wrapped, o.master
FROM unnest(%b::text[]) AS w (reference) JOIN emberlog_owner AS o ON o.reference = w.reference::uuid
"""


class KeyDatabase:
    """The key store's database, used as ``async with``. Whatever fails for an outage raises KeysUnavailable."""

    def __init__(
        self,
        dsn: str,
        masters: Masters,
        *,
        connections: int = 4,
        cache_s: float = CACHE_S,
        cache_size: int = CACHE_SIZE,
        wait_s: float = WAIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``connections`` at most, waited for ``wait_s`` seconds; answers are kept for ``cache_s``, ``cache_size`` of a sort."""
        self.dsn, self.masters, self._clock, self._epoch = dsn, masters, clock, 0
        self._cache_s, self._cache_size = cache_s, cache_size
        self._owner_keys: Cache[str, OwnerKey] = self.cache()
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            dsn, min_size=1, max_size=connections, open=False, timeout=wait_s, configure=_configure, kwargs={"autocommit": True}
        )

    async def __aenter__(self) -> Self:
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    def cache(self) -> Cache[Any, Any]:
        """An empty cache of this database's size and life."""
        return Cache(self._cache_size, self._cache_s, self.now)

    def now(self) -> Moment:
        """This moment, in the epoch that was seen last."""
        return Moment(self._clock(), self._epoch)

    async def see_epoch(self) -> None:
        """Look whether anything was destroyed since: answers that were kept from before count no more."""
        [(self._epoch,)] = await self.rows(_EPOCH, ())

    def clear(self) -> None:
        """Forget the owners' keys that were read."""
        self._owner_keys.clear()

    async def prepare(self) -> None:
        """Make what is missing of the tables. Raises MasterKeyMissing where a master key that the store needs was not given."""
        key, master = await self.new_owner_key(STORE_WIDE)
        async with self.transaction() as connection:
            await connection.execute(_PREPARING)
            await connection.execute(TABLES.encode())
            for (key_id,) in await (await connection.execute(_MASTERS)).fetchall():
                self.masters.require(key_id)
            await connection.execute(_STORE_WIDE, (STORE_WIDE, key, master))

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection in autocommit mode."""
        try:
            async with self._pool.connection() as connection:
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            # its text may name a row
            raise KeysUnavailable(f"the key store does not answer ({type(error).__name__})") from None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection in a transaction, which is committed at the end."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def rows(self, query: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[Row]:
        """The rows of one query."""
        async with self.connection() as connection:
            return await rows_of(connection, query, parameters)

    # -- owners' keys

    async def new_owner_key(self, reference: str) -> tuple[bytes, str]:
        """A new owner key, wrapped, and the id of the master key."""
        master = self.masters.current
        return await master.wrap(secrets.token_bytes(OWNER_KEY_BYTES), reference.encode()), master.key_id

    async def owner_keys(self, references: Iterable[str]) -> dict[str, OwnerKey | None]:
        """Each owner's key, None once erased; in one query for those that are not cached. Raises KeyLost for an unknown owner."""
        found: dict[str, OwnerKey | None] = {}
        missing: set[str] = set()
        for reference in references:
            if (hit := self._owner_keys.get(reference)) is not None:
                found[reference] = hit[0]
            else:
                missing.add(reference)
        for batch in batches(sorted(missing)):
            since = self.now()
            rows = await self.rows(_OWNER_KEYS, (batch,))
            if len(rows) < len(batch):
                raise KeyLost("an owner that the key store never had: the store is another installation's, or an old backup")
            for reference, wrapped, master in rows:
                key = None if wrapped is None else OwnerKey(await self.masters.unwrap(master, wrapped, reference.encode()))
                self._owner_keys.put(reference, key, since)
                found[reference] = key
        return found


async def rows_of(connection: Connection, query: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[Row]:
    """The rows of one query, read in Postgres' binary form."""
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(query.encode(), parameters)
        return await cursor.fetchall()


def batches(items: Sequence[T], size: int = BATCH) -> list[list[T]]:
    """``items`` in lists of at most ``size``."""
    return [list(items[i : i + size]) for i in range(0, len(items), size)]


async def _configure(connection: Connection) -> None:
    await connection.set_isolation_level(psycopg.IsolationLevel.READ_COMMITTED)
    await connection.execute(";".join(f"SET {setting}" for setting in BY_KEY).encode())
