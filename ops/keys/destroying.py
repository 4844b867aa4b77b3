"""Destroying keys: what was sealed under them is gone, wherever its copies are.

A tombstone stays behind, so that no key is made again for what was forgotten. Each call is one transaction and may be repeated;
it returns how many keys it destroyed itself. A process that read a key before opens nothing with it from its next call on. The
bytes leave Postgres' files and write-ahead log with ``ops.vacuuming``, backups as those expire.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

from ops.keys.database import Connection, KeyDatabase
from ops.keys.tables import STORE_WIDE, digest, row_of
from schemas.subjects import BY_REQUEST

_NEXT_EPOCH = "UPDATE emberlog_key_epoch SET epoch = epoch + 1"
_LOCK = "SELECT FROM emberlog_owner WHERE reference = ANY (%s::text[]::uuid[]) ORDER BY reference FOR UPDATE"
_LOCK_SHARED = "SELECT FROM emberlog_owner WHERE reference = ANY (%s::text[]::uuid[]) ORDER BY reference FOR KEY SHARE"
_GONE = "UPDATE emberlog_item_key SET wrapped = NULL, destroyed_at = now() WHERE destroyed_at IS NULL"
_STATEMENTS = f"""{_GONE} AND owner = %s AND kind = 'statement' AND name = ANY (%s::bytea[])
    AND (from_offset < %s OR settled_at <= %s) AND cause <> ALL (%s::bytea[])"""
_OF_KIND = f"{_GONE} AND owner = %s AND kind = %s AND name = ANY (%s::bytea[])"
# made before each command's summary had a key of its own, it has no cause
_SUMMARIES = f"""{_GONE} AND owner = %s AND kind = 'summary' AND name = ANY (%s::bytea[])
    AND (settled_at <= %s OR cause = %s)"""
_REJECTED = f"{_GONE} AND owner = %s AND kind = 'summary' AND cause = ANY (%s::bytea[])"
_OF_OWNER = f"{_GONE} AND owner = %s"
_PARKED = f"{_GONE} AND kind = 'parked' AND name = ANY (%s::bytea[])"
_PARKED_OWNERS = """
SELECT DISTINCT owner::text FROM emberlog_item_key WHERE kind = 'parked' AND name = ANY (%s::bytea[]) AND destroyed_at IS NULL
"""
_TOMBSTONES = """
INSERT INTO emberlog_forgotten SELECT %s, %s, name, %s FROM unnest(%s::bytea[]) AS w (name) ORDER BY name
ON CONFLICT (owner, kind, name) DO UPDATE SET below_offset = excluded.below_offset
WHERE emberlog_forgotten.below_offset < excluded.below_offset
"""
_ERASE = """
UPDATE emberlog_owner SET tenant = NULL, kind = NULL, id = NULL, wrapped = NULL, master = NULL, erased_at = now()
WHERE reference = %s AND erased_at IS NULL
"""
_SETTLE = """
WITH found AS (
    SELECT k.key_id, w.settled_at
    FROM unnest(%s::text[], %s::bytea[], %s::bigint[]) AS w (owner, cause, settled_at)
    JOIN emberlog_item_key AS k ON k.owner = w.owner::uuid AND k.cause = w.cause
    WHERE k.kind IN ('statement', 'summary') AND k.settled_at IS NULL AND k.destroyed_at IS NULL
    ORDER BY k.key_id FOR NO KEY UPDATE OF k
)
UPDATE emberlog_item_key AS k SET settled_at = found.settled_at FROM found WHERE k.key_id = found.key_id AND k.settled_at IS NULL
"""


class Erased(NamedTuple):
    """What erasing an owner destroyed: item keys, owner keys (1, or 0 where it was erased before) and aliases."""

    items: int
    owners: int
    aliases: int


class Destroyer:
    """Destroys keys in ``database``. Every method raises KeysUnavailable; KeyLost for an owner that is no reference."""

    def __init__(self, database: KeyDatabase, within: Connection | None = None) -> None:
        """``within`` is a connection to the same database in a transaction, which all calls are to be part of.

        Whoever notes there what was destroyed is then never told less after a crash. Raised are psycopg's own errors.
        """
        self._database, self._within = database, within

    def within(self, connection: Connection) -> Destroyer:
        """A destroyer whose calls are part of the transaction of ``connection``."""
        return Destroyer(self._database, connection)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Connection]:
        if self._within is None:
            async with self._database.transaction() as connection:
                yield connection
        else:
            async with self._within.transaction():
                yield self._within

    @asynccontextmanager
    async def _destroying(self) -> AsyncIterator[Connection]:
        """Once it is committed, nobody begins to use what was destroyed any more."""
        async with self._transaction() as connection:
            yield connection
            await connection.execute(_NEXT_EPOCH)

    async def hold(self, owners: Collection[str]) -> None:
        """Keep makers of keys for ``owners`` waiting until the transaction ends. In one order: nobody waits in a circle."""
        async with self._transaction() as connection:
            await connection.execute(_LOCK, (sorted(map(row_of, owners)),))

    async def settle(self, settlements: Mapping[tuple[str, str], int]) -> int:
        """Note by (owner, command id) at which offset the command was decided; what was noted before stays. Keys noted."""
        rows = [(row_of(owner), digest(cause), at) for (owner, cause), at in settlements.items()]
        owners, causes, offsets = ([row[i] for row in rows] for i in range(3))
        async with self._transaction() as connection:
            await connection.execute(_LOCK_SHARED, (owners,))
            return (await connection.execute(_SETTLE, (owners, causes, offsets))).rowcount

    async def destroy_statements(
        self, owner: str, fingerprints: Collection[str], below_offset: int, decided_before: int, spared: Collection[str] = ()
    ) -> int:
        """Destroy what was said below ``below_offset`` of the conversation, or settled at ``decided_before`` or earlier.

        What is said below ``below_offset`` gets no key any more. What the commands ``spared`` (ids) brought stays.
        """
        reference, names = row_of(owner), _digests(fingerprints)
        async with self._destroying() as connection:
            await connection.execute(_LOCK, ([reference],))
            await connection.execute(_TOMBSTONES, (reference, "statement", below_offset, names))
            cursor = await connection.execute(
                _STATEMENTS, (reference, names, below_offset, decided_before, [digest(cause) for cause in spared])
            )
            return cursor.rowcount

    async def destroy_messages(self, owner: str, messages: Collection[str], turns: Collection[str] = ()) -> int:
        """Destroy messages by their references, and the rest of turns by their ids. They get no key any more."""
        reference, count = row_of(owner), 0
        async with self._destroying() as connection:
            await connection.execute(_LOCK, ([reference],))
            for kind, names in (("message", _digests(messages)), ("turn", _digests(turns))):
                await connection.execute(_TOMBSTONES, (reference, kind, BY_REQUEST, names))
                count += (await connection.execute(_OF_KIND, (reference, kind, names))).rowcount
        return count

    async def destroy_summaries(self, owner: str, summaries: Collection[str], decided_before: int) -> int:
        """Destroy summaries by their ids, as far as they were settled at ``decided_before`` or earlier."""
        reference = row_of(owner)
        async with self._destroying() as connection:
            await connection.execute(_LOCK, ([reference],))
            found = await connection.execute(_SUMMARIES, (reference, _digests(summaries), decided_before, digest("")))
            return found.rowcount

    async def destroy_rejected_summaries(self, owner: str, commands: Collection[str]) -> int:
        """Destroy summaries that no event took over, by the ids of their commands: what they were made from is forgotten."""
        reference = row_of(owner)
        async with self._destroying() as connection:
            await connection.execute(_LOCK, ([reference],))
            return (await connection.execute(_REJECTED, (reference, _digests(commands)))).rowcount

    async def destroy_parked(self, parked: Collection[str]) -> int:
        """Destroy parked work by its ids, whosever it is. It gets no key any more."""
        names = _digests(parked)
        async with self._destroying() as connection:
            await connection.execute(_LOCK, ([STORE_WIDE],))
            await connection.execute(_TOMBSTONES, (STORE_WIDE, "parked", BY_REQUEST, names))
            owners = [row[0] for row in await (await connection.execute(_PARKED_OWNERS, (names,))).fetchall()]
            await connection.execute(_LOCK, (owners,))
            return (await connection.execute(_PARKED, (names,))).rowcount

    async def destroy_owner(self, reference: str) -> Erased:
        """Erase an owner: id, aliases, the owner's key and every key under it. Nothing of it gets a key any more."""
        if row_of(reference) == STORE_WIDE:
            raise ValueError("no owner goes by that reference, and what hangs on it is not erased")
        async with self._destroying() as connection:
            await connection.execute(_LOCK, ([reference],))
            return Erased(
                items=await _count(connection, _OF_OWNER, reference),
                owners=await _count(connection, _ERASE, reference),
                aliases=await _count(connection, "DELETE FROM emberlog_owner_alias WHERE owner = %s", reference),
            )


def _digests(names: Collection[str]) -> list[bytes]:
    return [digest(name) for name in sorted(set(names))]


async def _count(connection: Connection, statement: str, reference: str) -> int:
    return (await connection.execute(statement, (reference,))).rowcount
