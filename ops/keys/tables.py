"""Tables of the key store. They stand in a database of their own: its role, backup and retention are not those of the views.

Names and causes of subjects are kept as 16 bytes of their SHA-256: they may be any text, and the store
holds no text but owners' ids.
The epoch rises with every destroying: an answer that was kept from an earlier one counts no more.
``emberlog_refused`` holds the statements that were told too late, after they were forgotten: delivered again, at a later offset,
the same telling gets no key either.
Nothing here refers by foreign key: the owner's row is locked by whoever makes or destroys its keys, and is never deleted.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from schemas.errors import KeyLost
from schemas.ids import is_uuid

STORE_WIDE = "00000000-0000-0000-0000-000000000000"
"""Reference of the row on which keys hang that belong to no owner. Nobody goes by it, and it is never erased."""

TABLES = """
CREATE TABLE IF NOT EXISTS emberlog_owner (
    reference uuid PRIMARY KEY, tenant text, kind text, id text, wrapped bytea, master text,
    created_at timestamptz NOT NULL DEFAULT now(), erased_at timestamptz,
    UNIQUE (tenant, kind, id),
    CHECK (num_nulls(tenant, kind, id, wrapped, master) = CASE WHEN erased_at IS NULL THEN 0 ELSE 5 END)
);
CREATE TABLE IF NOT EXISTS emberlog_owner_alias (
    tenant text, kind text, id text, owner uuid NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, kind, id)
);
CREATE INDEX IF NOT EXISTS emberlog_owner_alias_owner ON emberlog_owner_alias (owner);
CREATE TABLE IF NOT EXISTS emberlog_item_key (
    key_id uuid PRIMARY KEY, owner uuid NOT NULL, kind text NOT NULL, name bytea NOT NULL, cause bytea NOT NULL,
    from_offset bigint NOT NULL, wrapped bytea, settled_at bigint, destroyed_at timestamptz,
    UNIQUE (owner, kind, name, cause),
    CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL))
);
CREATE INDEX IF NOT EXISTS emberlog_item_key_parked ON emberlog_item_key (name) WHERE kind = 'parked';
DROP INDEX IF EXISTS emberlog_item_key_unsettled;
CREATE INDEX IF NOT EXISTS emberlog_item_key_undecided ON emberlog_item_key (owner, cause)
    WHERE kind IN ('statement', 'summary') AND settled_at IS NULL AND destroyed_at IS NULL;
CREATE TABLE IF NOT EXISTS emberlog_forgotten (
    owner uuid NOT NULL, kind text NOT NULL, name bytea NOT NULL, below_offset bigint NOT NULL, PRIMARY KEY (owner, kind, name)
);
CREATE TABLE IF NOT EXISTS emberlog_refused (owner uuid NOT NULL, name bytea, cause bytea, PRIMARY KEY (owner, name, cause));
CREATE TABLE IF NOT EXISTS emberlog_key_epoch (one boolean PRIMARY KEY DEFAULT true CHECK (one), epoch bigint NOT NULL);
INSERT INTO emberlog_key_epoch (epoch) VALUES (0) ON CONFLICT DO NOTHING;
"""

NAMES = ("emberlog_owner", "emberlog_owner_alias", "emberlog_item_key", "emberlog_forgotten", "emberlog_refused")


def digest(text: str) -> bytes:
    """16 bytes that stand for a subject's name or cause."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:16]


@lru_cache(maxsize=65_536)
def row_of(owner: str) -> str:
    """Reference of the row of an owner; that of the store for the empty one. Raises KeyLost for what is no reference."""
    if not owner:
        return STORE_WIDE
    if not is_uuid(owner):
        raise KeyLost("an owner's reference that is no UUID: it is not this store's")
    return owner
