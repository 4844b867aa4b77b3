"""The keys of an installation in Postgres: ``schemas.sealing.Keys``.

A subject has one key, whoever asks for it first. Makers hold a shared lock on the owner's row and look for tombstones under it;
whoever destroys holds the row alone (``destroying``). So a key that is made beside a destroy is either seen by it or not made.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from ops.keys.cache import Cache
from ops.keys.cipher import OwnerKey, SivKey
from ops.keys.database import KeyDatabase, Row, batches, rows_of
from ops.keys.tables import STORE_WIDE, digest, row_of
from schemas.errors import KeyLost
from schemas.ids import is_uuid
from schemas.subjects import Subject

_BY_ID = """
SELECT k.key_id::text, k.owner::text, k.wrapped
FROM unnest(%b::text[]) AS w (key_id) JOIN emberlog_item_key AS k ON k.key_id = w.key_id::uuid
"""
_FORGOTTEN = """
(EXISTS (SELECT FROM emberlog_forgotten AS f WHERE f.owner = w.tombs::uuid AND f.kind = w.kind AND f.name = w.name
        AND (w.kind <> 'statement' OR w.from_offset < f.below_offset))
    OR w.kind = 'statement' AND EXISTS (SELECT FROM emberlog_refused AS r
        WHERE r.owner = w.owner::uuid AND r.name = w.name AND r.cause = w.cause))
"""
_WANTED = """unnest(%(owner)b::text[], %(tombs)b::text[], %(kind)b::text[], %(name)b::bytea[], %(cause)b::bytea[],
    %(from_offset)b::bigint[]"""
_FIND = f"""
SELECT w.place, k.key_id::text, k.wrapped, o.erased_at IS NOT NULL OR {_FORGOTTEN}
FROM {_WANTED}) WITH ORDINALITY AS w (owner, tombs, kind, name, cause, from_offset, place)
JOIN emberlog_owner AS o ON o.reference = w.owner::uuid
LEFT JOIN LATERAL (
    SELECT key_id, wrapped FROM emberlog_item_key
    WHERE owner = w.owner::uuid AND kind = w.kind AND name = w.name AND cause = w.cause LIMIT 1
) AS k ON true
"""
# owners' rows and keys are taken in one order by everybody, so that nobody waits in a circle
_LOCK = """
SELECT FROM emberlog_owner WHERE reference = ANY (%s::text[]::uuid[]) ORDER BY reference FOR KEY SHARE
"""
_MAKE = f"""
INSERT INTO emberlog_item_key (key_id, owner, kind, name, cause, from_offset, wrapped)
SELECT w.key_id::uuid, w.owner::uuid, w.kind, w.name, w.cause, w.from_offset, w.wrapped
FROM {_WANTED}, %(key_id)b::text[], %(wrapped)b::bytea[]) AS w (owner, tombs, kind, name, cause, from_offset, key_id, wrapped)
JOIN emberlog_owner AS o ON o.reference = w.owner::uuid
WHERE o.erased_at IS NULL AND NOT {_FORGOTTEN}
ORDER BY w.owner::uuid, w.kind, w.name, w.cause, w.from_offset
ON CONFLICT (owner, kind, name, cause) DO NOTHING
"""
_REFUSE = f"""
INSERT INTO emberlog_refused (owner, name, cause)
SELECT w.owner::uuid, w.name, w.cause FROM {_WANTED}) AS w (owner, tombs, kind, name, cause, from_offset)
JOIN emberlog_owner AS o ON o.reference = w.owner::uuid
WHERE o.erased_at IS NULL
ORDER BY w.owner::uuid, w.name, w.cause
ON CONFLICT DO NOTHING
"""


class _Found(NamedTuple):
    key_id: str | None
    wrapped: bytes | None
    is_gone: bool
    """Whether the subject was forgotten, or its key destroyed."""


class PostgresKeys:
    """Keys in ``database``. Keys that were found are cached for a while, that one is gone for good.

    Whoever opens looks first whether anything was destroyed since, so none begins to open with a key that is gone. What is sealed
    with one cannot be read, so sealing, which goes record by record, does without that look.
    """

    def __init__(self, database: KeyDatabase) -> None:
        self._database = database
        self._by_id: Cache[str, SivKey] = database.cache()
        self._by_subject: Cache[Subject, SivKey] = database.cache()

    def clear(self) -> None:
        """Forget every key that was read."""
        self._by_id.clear()
        self._by_subject.clear()
        self._database.clear()

    async def fingerprint_key(self, owner: str) -> bytes | None:
        """32 bytes, None once the owner was erased. Raises KeysUnavailable, KeyLost."""
        reference = row_of(owner)
        await self._database.see_epoch()
        key = (await self._database.owner_keys([reference]))[reference]
        return None if key is None else key.fingerprint_key

    # -- opening

    async def for_opening(self, key_ids: Collection[str]) -> Mapping[str, SivKey | None]:
        """The keys of ``key_ids``: a query for 10,000 of those that are not cached. Raises KeysUnavailable, KeyLost."""
        found: dict[str, SivKey | None] = {}
        missing: list[str] = []
        await self._database.see_epoch()
        for key_id in key_ids:
            if (hit := self._by_id.get(key_id)) is not None:
                found[key_id] = hit[0]
            elif is_uuid(key_id):
                missing.append(key_id)
            else:
                raise KeyLost("a value is sealed under a key whose id is no UUID: it is not this store's")
        for batch in batches(sorted(set(missing))):
            found.update(await self._opened(batch))
        return found

    async def _opened(self, key_ids: Sequence[str]) -> dict[str, SivKey | None]:
        since = self._database.now()
        rows = await self._database.rows(_BY_ID, (key_ids,))
        if len(rows) < len(key_ids):
            lost = min(set(key_ids) - {row[0] for row in rows})
            raise KeyLost(
                f"the key store never had {len(key_ids) - len(rows)} of {len(key_ids)} keys, such as {lost}: it is another "
                "installation's, or an old backup"
            )
        owners = await self._database.owner_keys({owner for _, owner, wrapped in rows if wrapped is not None})
        found = {key_id: _unwrapped(owners.get(owner), key_id, wrapped) for key_id, owner, wrapped in rows}
        for key_id, key in found.items():
            self._by_id.put(key_id, key, since)
        return found

    # -- sealing

    async def for_sealing(self, subjects: Collection[Subject]) -> Mapping[Subject, SivKey | None]:
        """A key for each subject, None where it was forgotten: two queries for 10,000. Raises KeysUnavailable, KeyLost."""
        found: dict[Subject, SivKey | None] = {}
        missing: dict[Subject, None] = {}
        for subject in subjects:
            if (hit := self._by_subject.get(subject)) is not None:
                found[subject] = hit[0]
            else:
                missing[subject] = None
        for batch in batches(list(missing)):
            found.update(await self._found_or_made(batch))
        return found

    async def _found_or_made(self, subjects: Sequence[Subject]) -> dict[Subject, SivKey | None]:
        since = self._database.now()
        answers = _answers(subjects, await self._database.rows(_FIND, _columns(subjects)))
        owners = await self._database.owner_keys({row_of(s.owner) for s, answer in answers.items() if not answer.is_gone})
        # an owner whose key is gone by now was erased in between
        absent = [s for s, answer in answers.items() if _is_absent(answer) and owners[row_of(s.owner)] is not None]
        if absent:
            answers.update(await self._made(absent, owners))
        await self._refuse(
            [s for s, answer in answers.items() if s.kind == "statement" and answer.is_gone and answer.key_id is None]
        )
        found = {s: _found_key(answer, owners.get(row_of(s.owner))) for s, answer in answers.items()}
        for subject, key in found.items():
            self._by_subject.put(subject, key, since)
        return found

    async def _refuse(self, statements: Sequence[Subject]) -> None:
        """Note what was told before a forget and reached us after it. A turn is delivered at least once, and again at a later
        offset of the conversation, from where it would count as told anew."""
        if statements:
            async with self._database.connection() as connection:
                await connection.execute(_REFUSE.encode(), _columns(statements))

    async def _made(self, subjects: Sequence[Subject], owners: Mapping[str, OwnerKey | None]) -> dict[Subject, _Found]:
        """Make keys for ``subjects``, and read what they have then: another maker's key, or none after all."""
        key_ids = [str(uuid.uuid4()) for _ in subjects]
        wrapped = []
        for subject, key_id in zip(subjects, key_ids, strict=True):
            owner = owners[row_of(subject.owner)]
            assert owner is not None
            wrapped.append(owner.wrap_new(key_id))
        columns = _columns(subjects)
        locked = list({*columns["owner"], *columns["tombs"]})
        async with self._database.connection() as connection, connection.pipeline(), connection.transaction():
            # each statement sees what was committed before it began, so what is read below the lock is the last word
            await connection.execute(_LOCK, (locked,))
            await connection.execute(_MAKE.encode(), {**columns, "key_id": key_ids, "wrapped": wrapped})
            return _answers(subjects, await rows_of(connection, _FIND, columns))


def _columns(subjects: Iterable[Subject]) -> dict[str, list[object]]:
    names = ("owner", "tombs", "kind", "name", "cause", "from_offset")
    rows = [
        (owner := row_of(s.owner), STORE_WIDE if s.kind == "parked" else owner, s.kind, digest(s.name), digest(s.cause), s.offset)
        for s in subjects
    ]
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def _answers(subjects: Sequence[Subject], rows: Sequence[Row]) -> dict[Subject, _Found]:
    if len(rows) < len(subjects):
        raise KeyLost("an owner that the key store never had: the store is another installation's, or an old backup")
    return {
        subjects[place - 1]: _Found(key_id, wrapped, is_gone or (key_id is not None and wrapped is None))
        for place, key_id, wrapped, is_gone in rows
    }


def _is_absent(answer: _Found) -> bool:
    return answer.key_id is None and not answer.is_gone


def _found_key(answer: _Found, owner: OwnerKey | None) -> SivKey | None:
    return None if answer.is_gone or answer.key_id is None else _unwrapped(owner, answer.key_id, answer.wrapped)


def _unwrapped(owner: OwnerKey | None, key_id: str, wrapped: bytes | None) -> SivKey | None:
    return None if owner is None or wrapped is None else owner.unwrap(key_id, wrapped)
