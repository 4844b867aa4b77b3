"""Checking the key store: whether every key in it comes out."""

from __future__ import annotations

from dataclasses import dataclass, field

from ops.keys.cipher import OwnerKey
from ops.keys.database import KeyDatabase
from ops.keys.tables import STORE_WIDE
from schemas.errors import KeyLost

_OWNERS = """
SELECT reference::text, wrapped, master FROM emberlog_owner WHERE reference > %s::text::uuid OR %s
ORDER BY reference LIMIT %s
"""
_ITEMS = "SELECT owner::text, key_id::text, wrapped FROM emberlog_item_key WHERE owner = ANY (%s::text[]::uuid[])"
_STRAYS = """
SELECT count(*) FROM emberlog_item_key AS k WHERE NOT EXISTS (SELECT FROM emberlog_owner AS o WHERE o.reference = k.owner)
"""
_BATCH = 200


@dataclass(slots=True)
class Check:
    """What the key store holds, and what of it does not come out. Counts; the store's own row is no owner."""

    owners: int = 0
    erased_owners: int = 0
    broken_owners: int = 0
    """Owners whose key does not come out: all that is theirs is lost."""
    items: int = 0
    destroyed_items: int = 0
    broken_items: int = 0
    """Keys that do not come out under their owner's key, those of broken and of erased owners included."""
    broken_store: int = 0
    """1 where the store's own key does not come out, under which parked work is sealed that belongs to nobody."""
    stray_items: int = 0
    """Keys of no known owner."""
    masters: dict[str, int] = field(default_factory=dict)
    """Keys of owners, and the store's own, by the id of the master key that they are wrapped under."""

    @property
    def is_well(self) -> bool:
        """Whether every key comes out."""
        return not (self.broken_owners or self.broken_store or self.broken_items or self.stray_items)


async def check(database: KeyDatabase) -> Check:
    """Unwrap every owner's key and every item key. Raises KeysUnavailable."""
    found, after, is_first = Check(), STORE_WIDE, True
    while rows := await database.rows(_OWNERS, (after, is_first, _BATCH)):
        is_first = False
        after = rows[-1][0]
        keys: dict[str, OwnerKey | None] = {}
        for reference, wrapped, master in rows:
            keys[reference] = await _owner_key(database, found, reference, wrapped, master)
        await _items(database, found, keys)
    [(found.stray_items,)] = await database.rows(_STRAYS, ())
    return found


async def _owner_key(database: KeyDatabase, found: Check, reference: str, wrapped: bytes | None, master: str) -> OwnerKey | None:
    is_owner = reference != STORE_WIDE
    found.owners += is_owner
    if wrapped is None:
        found.erased_owners += 1
        return None
    found.masters[master] = found.masters.get(master, 0) + 1
    try:
        return OwnerKey(await database.masters.unwrap(master, wrapped, reference.encode()))
    except KeyLost:
        if is_owner:
            found.broken_owners += 1
        else:
            found.broken_store += 1
        return None


async def _items(database: KeyDatabase, found: Check, keys: dict[str, OwnerKey | None]) -> None:
    async with database.transaction() as connection, connection.cursor(name="emberlog_check", binary=True) as cursor:
        cursor.itersize = 5000
        await cursor.execute(_ITEMS, (list(keys),))
        async for owner, key_id, wrapped in cursor:
            found.items += 1
            key = keys[owner]
            if wrapped is None:
                found.destroyed_items += 1
            elif key is None:
                found.broken_items += 1
            else:
                try:
                    key.unwrap(key_id, wrapped)
                except KeyLost:
                    found.broken_items += 1
