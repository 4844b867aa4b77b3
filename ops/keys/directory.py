"""Owners and their references in Postgres: ``schemas.sealing.Directory``.

A reference is random: it says nothing of the owner, and once the owner is erased nobody can tell whose it was.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from typing import NamedTuple

from ops.keys.cache import Cache
from ops.keys.database import Connection, KeyDatabase, batches
from ops.keys.tables import STORE_WIDE
from schemas.errors import KeyLost
from schemas.ids import is_uuid
from schemas.owner import Owner

_FIND = """
SELECT reference::text FROM emberlog_owner WHERE tenant = %(tenant)s AND kind = %(kind)s AND id = %(id)s
UNION ALL
SELECT owner::text FROM emberlog_owner_alias WHERE tenant = %(tenant)s AND kind = %(kind)s AND id = %(id)s
"""
# who makes an owner or an alias of this name holds it alone: a name must not become both
_LOCK_NAME = "SELECT pg_advisory_xact_lock(hashtextextended(%(tenant)s || '/' || %(kind)s || '/' || %(id)s, 0))"
_MAKE = """
INSERT INTO emberlog_owner (reference, tenant, kind, id, wrapped, master)
VALUES (%(reference)s, %(tenant)s, %(kind)s, %(id)s, %(wrapped)s, %(master)s)
"""
_MASTER = "SELECT master FROM emberlog_owner WHERE reference = %s"
_ALIAS = "INSERT INTO emberlog_owner_alias (tenant, kind, id, owner) VALUES (%(tenant)s, %(kind)s, %(id)s, %(owner)s)"
_ALIVE = "SELECT FROM emberlog_owner WHERE reference = %s AND erased_at IS NULL FOR KEY SHARE"
_OWNER = "SELECT tenant, kind, id FROM emberlog_owner WHERE reference = %s AND erased_at IS NULL"
_OWNERS = """
SELECT o.reference::text, o.tenant, o.kind, o.id
FROM unnest(%b::text[]) AS w (reference) JOIN emberlog_owner AS o ON o.reference = w.reference::uuid
"""
_ALIASES = "SELECT tenant, kind, id FROM emberlog_owner_alias WHERE owner = %s ORDER BY tenant, kind, id"
_LIST = """
SELECT reference::text, tenant, kind, id FROM emberlog_owner
WHERE (tenant, kind, id) > (%s, %s, %s) AND erased_at IS NULL AND reference <> %s
ORDER BY tenant, kind, id LIMIT %s
"""


class AliasTaken(ValueError):
    """The name goes already to another owner. The text holds no name."""


class Listed(NamedTuple):
    """An owner as lists show it."""

    reference: str
    owner: Owner


class PostgresDirectory:
    """Owners in ``database``. References that were found are kept for a while."""

    def __init__(self, database: KeyDatabase) -> None:
        self._database = database
        self._references: Cache[Owner, str] = database.cache()
        self._owners: Cache[str, Owner] = database.cache()

    def clear(self) -> None:
        """Forget every reference and every owner that was read."""
        self._references.clear()
        self._owners.clear()

    async def reference_of(self, owner: Owner) -> str:
        """The owner's reference, made with a key where there is none. Raises MasterKeyMissing, KeysUnavailable."""
        if (found := await self.find(owner)) is not None:
            return found
        since, made = self._database.now(), str(uuid.uuid4())
        wrapped, master = await self._database.new_owner_key(made)
        async with self._database.transaction() as connection:
            await connection.execute(_LOCK_NAME, _name(owner))
            reference = await _find(connection, owner)
            if reference is None:
                await self._require_master(connection)
                reference = made
                await connection.execute(_MAKE, {**_name(owner), "reference": made, "wrapped": wrapped, "master": master})
        self._references.put(owner, reference, since)
        return reference

    async def _require_master(self, connection: Connection) -> None:
        """Whoever has another master key than the store must not wrap an owner under it: nobody else could read that owner."""
        row = await (await connection.execute(_MASTER, (STORE_WIDE,))).fetchone()
        if row is not None:
            self._database.masters.require(row[0])

    async def find(self, owner: Owner) -> str | None:
        """The owner's reference, None for an owner that is not known. Raises KeysUnavailable."""
        if (hit := self._references.get(owner)) is not None:
            return hit[0]
        since = self._database.now()
        async with self._database.connection() as connection:
            reference = await _find(connection, owner)
        if reference is not None:
            self._references.put(owner, reference, since)
        return reference

    async def owner_of(self, reference: str) -> Owner | None:
        """Who goes by ``reference``; None once erased, and for a reference that nobody has. Raises KeysUnavailable."""
        if not is_uuid(reference) or reference == STORE_WIDE:
            return None
        rows = await self._database.rows(_OWNER, (reference,))
        return Owner(*rows[0]) if rows else None

    async def owners_of(self, references: Collection[str]) -> Mapping[str, Owner]:
        """Who goes by each of ``references``; erased and unknown ones are missing. A query for 10,000. Raises KeysUnavailable."""
        found: dict[str, Owner | None] = {}
        missing: set[str] = set()
        # nobody is told after an erasure who it was
        await self._database.see_epoch()
        for reference in references:
            if (hit := self._owners.get(reference)) is not None:
                found[reference] = hit[0]
            elif is_uuid(reference) and reference != STORE_WIDE:
                missing.add(reference)
        for batch in batches(sorted(missing)):
            since = self._database.now()
            for reference, tenant, kind, id in await self._database.rows(_OWNERS, (batch,)):
                owner = None if tenant is None else Owner(tenant, kind, id)
                self._owners.put(reference, owner, since)
                found[reference] = owner
        return {reference: owner for reference, owner in found.items() if owner is not None}

    async def alias(self, reference: str, alias: Owner) -> None:
        """Let ``alias`` go to the owner of ``reference``; again is nothing. Raises AliasTaken, KeyLost, KeysUnavailable."""
        async with self._database.transaction() as connection:
            await connection.execute(_LOCK_NAME, _name(alias))
            if not is_uuid(reference) or await (await connection.execute(_ALIVE, (reference,))).fetchone() is None:
                raise KeyLost("an alias for an owner that is not known, or was erased")
            taken = await _find(connection, alias)
            if taken is None:
                await connection.execute(_ALIAS, {**_name(alias), "owner": reference})
            elif taken != reference:
                raise AliasTaken("the alias is another owner's name or alias already")

    async def aliases_of(self, reference: str) -> list[Owner]:
        """The owner's aliases in their order. Raises KeysUnavailable."""
        if not is_uuid(reference):
            return []
        return [Owner(*row) for row in await self._database.rows(_ALIASES, (reference,))]

    async def listed(self, after: Owner | None = None, limit: int = 1000) -> list[Listed]:
        """At most ``limit`` owners in their order, those behind ``after``. Raises KeysUnavailable."""
        start = (after.tenant, after.kind, after.id) if after else ("", "", "")
        rows = await self._database.rows(_LIST, (*start, STORE_WIDE, limit))
        return [Listed(reference, Owner(tenant, kind, id)) for reference, tenant, kind, id in rows]


def _name(owner: Owner) -> dict[str, str]:
    return {"tenant": owner.tenant, "kind": owner.kind, "id": owner.id}


async def _find(connection: Connection, owner: Owner) -> str | None:
    row = await (await connection.execute(_FIND, _name(owner))).fetchone()
    return None if row is None else str(row[0])
