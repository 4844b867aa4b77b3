"""Owners whose references and keys are known beforehand. Elsewhere both are random, and in the key store only."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Iterable
from dataclasses import astuple

from ops.keyring import open_keys
from ops.settings import Settings
from schemas.ids import NAMESPACE
from schemas.owner import Owner

_KNOWN = """
INSERT INTO emberlog_owner (reference, tenant, kind, id, wrapped, master) VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""


def fixed_reference(owner: Owner | str) -> str:
    """The reference under which ``make_known`` makes the owner known, the same in every run."""
    whose = Owner.parse(owner) if isinstance(owner, str) else owner
    return str(uuid.uuid5(NAMESPACE, f"owner\x1f{whose.tenant}\x1f{whose.kind}\x1f{whose.id}"))


def fixed_key(reference: str) -> bytes:
    """A fingerprint key, the same in every run."""
    return hmac.digest(b"a key for benchmarks, 32 bytes..", reference.encode(), hashlib.sha256)


async def make_known(settings: Settings, dsn: str, owners: Iterable[Owner | str]) -> None:
    """Make ``owners`` known under their fixed references to the installation whose views are at ``dsn``."""
    named = [Owner.parse(owner) if isinstance(owner, str) else owner for owner in owners]
    async with open_keys(settings, dsn, connections=1) as ring:
        references = [fixed_reference(owner) for owner in named]
        keys = [await ring.database.new_owner_key(reference) for reference in references]
        rows = [(reference, *astuple(owner), *key) for reference, owner, key in zip(references, named, keys, strict=True)]
        async with ring.database.transaction() as connection, connection.cursor() as cursor:
            await cursor.executemany(_KNOWN.encode(), rows)
