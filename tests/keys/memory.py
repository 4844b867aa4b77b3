"""Keys, owners and tombstones in this process: what ``ops.keys`` keeps in Postgres, for tests that are about something else."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from ops.keys.cipher import ITEM_KEY_BYTES, SivKey
from ops.keys.destroying import Erased
from ops.keys.directory import AliasTaken
from schemas.errors import KeyLost
from schemas.owner import Owner
from schemas.subjects import BY_REQUEST, Subject


@dataclass(slots=True)
class _Item:
    owner: str
    kind: str
    name: str
    cause: str
    offset: int
    key: SivKey | None
    settled_at: int | None = None


class MemoryKeys:
    """Keys, directory and destroyer in one. Unless ``strict``, an owner that it never had gets keys nevertheless."""

    def __init__(self, *, strict: bool = False) -> None:
        self._strict = strict
        self._fingerprint_keys: dict[str, bytes | None] = {"": secrets.token_bytes(32)}
        """By reference; None for an erased owner."""
        self._names: dict[Owner, str] = {}
        """References by name, aliases included."""
        self._owners: dict[str, Owner] = {}
        self._items: dict[str, _Item] = {}
        self._slots: dict[tuple[str, str, str, str], str] = {}
        self._tombstones: dict[tuple[str, str, str], int] = {}
        self._refused = set[tuple[str, str, str]]()

    def clear(self) -> None:
        """Nothing is cached here."""

    # -- Keys

    async def for_sealing(self, subjects: Collection[Subject]) -> Mapping[Subject, SivKey | None]:
        return {subject: self._key_of(subject) for subject in subjects}

    def _key_of(self, subject: Subject) -> SivKey | None:
        if self._fingerprint_key(subject.owner) is None or self._is_forgotten(subject):
            return None
        slot = (subject.owner, subject.kind, subject.name, subject.cause)
        if slot not in self._slots:
            key_id = str(uuid.uuid4())
            self._slots[slot] = key_id
            self._items[key_id] = _Item(*slot, subject.offset, SivKey(key_id, secrets.token_bytes(ITEM_KEY_BYTES)))
        return self._items[self._slots[slot]].key

    def _is_forgotten(self, subject: Subject) -> bool:
        owner = "" if subject.kind == "parked" else subject.owner
        below = self._tombstones.get((owner, subject.kind, subject.name))
        if subject.kind != "statement":
            return below is not None
        telling = (owner, subject.name, subject.cause)
        if below is not None and subject.offset < below and (owner, "statement", *telling[1:]) not in self._slots:
            self._refused.add(telling)
        return telling in self._refused or (below is not None and subject.offset < below)

    async def for_opening(self, key_ids: Collection[str]) -> Mapping[str, SivKey | None]:
        if any(key_id not in self._items for key_id in key_ids):
            raise KeyLost("a key that this store never had")
        return {key_id: self._items[key_id].key for key_id in key_ids}

    async def fingerprint_key(self, owner: str) -> bytes | None:
        return self._fingerprint_key(owner)

    def _fingerprint_key(self, owner: str) -> bytes | None:
        if owner not in self._fingerprint_keys:
            if self._strict:
                raise KeyLost("an owner that this store never had")
            self._fingerprint_keys[owner] = secrets.token_bytes(32)
        return self._fingerprint_keys[owner]

    # -- Directory

    async def reference_of(self, owner: Owner) -> str:
        if owner not in self._names:
            reference = str(uuid.uuid4())
            self._names[owner], self._owners[reference] = reference, owner
            self._fingerprint_keys[reference] = secrets.token_bytes(32)
        return self._names[owner]

    async def find(self, owner: Owner) -> str | None:
        return self._names.get(owner)

    async def owner_of(self, reference: str) -> Owner | None:
        return self._owners.get(reference)

    async def alias(self, reference: str, alias: Owner) -> None:
        if reference not in self._owners:
            raise KeyLost("an alias for an owner that is not known, or was erased")
        if self._names.setdefault(alias, reference) != reference:
            raise AliasTaken("the alias is another owner's name or alias already")

    async def aliases_of(self, reference: str) -> list[Owner]:
        own = self._owners.get(reference)
        found = [name for name, to in self._names.items() if to == reference and name != own]
        return sorted(found, key=lambda o: (o.tenant, o.kind, o.id))

    # -- destroying

    async def settle(self, settlements: Mapping[tuple[str, str], int]) -> int:
        count = 0
        for item in self._items.values():
            at = settlements.get((item.owner, item.cause))
            if item.kind in ("statement", "summary") and at is not None and item.settled_at is None and item.key is not None:
                item.settled_at, count = at, count + 1
        return count

    async def destroy_statements(
        self, owner: str, fingerprints: Collection[str], below_offset: int, decided_before: int, spared: Collection[str] = ()
    ) -> int:
        self._bury(owner, "statement", fingerprints, below_offset)
        return self._destroy(
            lambda item: (
                (item.owner, item.kind) == (owner, "statement")
                and item.name in fingerprints
                and item.cause not in spared
                and (item.offset < below_offset or (item.settled_at is not None and item.settled_at <= decided_before))
            )
        )

    async def destroy_messages(self, owner: str, messages: Collection[str], turns: Collection[str] = ()) -> int:
        named = {("message", name) for name in messages} | {("turn", name) for name in turns}
        for kind, name in named:
            self._bury(owner, kind, [name], BY_REQUEST)
        return self._destroy(lambda item: item.owner == owner and (item.kind, item.name) in named)

    async def destroy_summaries(self, owner: str, summaries: Collection[str], decided_before: int) -> int:
        return self._destroy(
            lambda item: (
                (item.owner, item.kind) == (owner, "summary")
                and item.name in summaries
                and item.settled_at is not None
                and item.settled_at <= decided_before
            )
        )

    async def destroy_rejected_summaries(self, owner: str, commands: Collection[str]) -> int:
        return self._destroy(lambda item: (item.owner, item.kind) == (owner, "summary") and item.cause in commands)

    async def destroy_parked(self, parked: Collection[str]) -> int:
        self._bury("", "parked", parked, BY_REQUEST)
        return self._destroy(lambda item: item.kind == "parked" and item.name in parked)

    async def destroy_owner(self, reference: str) -> Erased:
        if not reference:
            raise ValueError("no owner goes by that reference")
        names = [name for name, to in self._names.items() if to == reference]
        for name in names:
            del self._names[name]
        was_alive = self._fingerprint_keys.get(reference) is not None
        self._fingerprint_keys[reference] = None
        self._owners.pop(reference, None)
        items = self._destroy(lambda item: item.owner == reference)
        return Erased(items, int(was_alive), max(0, len(names) - 1))

    def _bury(self, owner: str, kind: str, names: Collection[str], below_offset: int) -> None:
        for name in names:
            mark = (owner, kind, name)
            self._tombstones[mark] = max(self._tombstones.get(mark, below_offset), below_offset)

    def _destroy(self, is_meant: Callable[[_Item], bool]) -> int:
        meant = [item for item in self._items.values() if item.key is not None and is_meant(item)]
        for item in meant:
            item.key = None
        return len(meant)
