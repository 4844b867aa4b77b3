"""Sealing: what a key protects, and the ports behind which keys and owners' references are kept.

    sealed = await seal(keys, record)            # a producer, before it writes: every value in plain is sealed
    opened = await open_all(keys, records)       # a reader, once for a batch: every value is in plain, or known to be destroyed

A key belongs to a ``Subject``; what is sealed under one key is destroyed together. The store of the keys is behind ``Keys``
(``ops.keys`` has it in a Postgres database of its own), that of the references behind ``Directory``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar

from schemas.errors import KeyLost, SealedValue
from schemas.owner import Owner
from schemas.sealed import DESTROYED, Sealed
from schemas.subjects import Subject, key_ids_of, opened_with, sealed_with, subjects_of
from schemas.value import Value

R = TypeVar("R", bound=Value)


class ItemKey(Protocol):
    """One subject's key, ready for use."""

    @property
    def key_id(self) -> str:
        """Id of the key, as sealed values carry it; it says nothing of the subject."""
        ...

    def seal(self, data: bytes) -> Sealed:
        """``data``, sealed: the same data under the same key gives the same value."""
        ...

    def open(self, value: Sealed) -> bytes:
        """What was sealed. Raises SealedValue where ``value`` was not sealed under this key, or was changed."""
        ...


class Keys(Protocol):
    """The keys of an installation. Both look-ups are batched, and raise KeysUnavailable while the store is away."""

    async def for_sealing(self, subjects: Collection[Subject]) -> Mapping[Subject, ItemKey | None]:
        """A key for each subject, made where there is none. None where the subject was forgotten: nothing of it may be kept."""
        ...

    async def for_opening(self, key_ids: Collection[str]) -> Mapping[str, ItemKey | None]:
        """The key of each id; None where it was destroyed. Raises KeyLost for one that the store never had."""
        ...

    async def fingerprint_key(self, owner: str) -> bytes | None:
        """32 bytes under which statements of ``owner`` (a reference) are fingerprinted; None once the owner was erased."""
        ...


class Directory(Protocol):
    """Owners and their references. Raises KeysUnavailable while the store is away."""

    async def reference_of(self, owner: Owner) -> str:
        """The owner's reference, made (random) where there is none. An alias has its owner's."""
        ...

    async def find(self, owner: Owner) -> str | None:
        """The owner's reference, None for an owner that is not known."""
        ...

    async def owner_of(self, reference: str) -> Owner | None:
        """Who goes by ``reference``; None once erased, and for a reference that nobody has."""
        ...

    def clear(self) -> None:
        """Forget the answers that were kept: they may be those of an owner who was erased meanwhile."""
        ...


class _NoKeys:
    """For whoever reads logs in plain only, as tests do: it has no key, and makes none."""

    async def for_sealing(self, subjects: Collection[Subject]) -> Mapping[Subject, ItemKey | None]:
        raise KeyLost("no key store is configured here: nothing can be sealed")

    async def for_opening(self, key_ids: Collection[str]) -> Mapping[str, ItemKey | None]:
        raise KeyLost("no key store is configured here: nothing can be opened")

    async def fingerprint_key(self, owner: str) -> bytes | None:
        raise KeyLost("no key store is configured here: nothing can be fingerprinted")


NO_KEYS: Keys = _NoKeys()


async def seal(keys: Keys, record: R) -> R:
    """``record`` with every plain value sealed under its subject's key; one of a forgotten subject is left out for good."""
    subjects = subjects_of(record)
    found = await keys.for_sealing(subjects) if subjects else {}

    def change(value: Sealed, subject: Subject) -> Sealed:
        key = found[subject]
        return Sealed(b"", DESTROYED) if key is None else key.seal(value.data)

    return sealed_with(record, change)


async def open_all(keys: Keys, records: Sequence[R]) -> list[R]:
    """``records`` with every value in plain. One whose key was destroyed has the cipher ``destroyed`` and no data.

    Raises SealedValue for a value that was changed or whose key the store never had, and KeysUnavailable.
    """
    open_one = await opening(keys, records)
    return [open_one(record) for record in records]


async def _found(keys: Keys, wanted: Collection[str]) -> Mapping[str, ItemKey | None]:
    try:
        return await keys.for_opening(wanted)
    except KeyLost:
        # one foreign record must not keep its whole batch closed; whoever needs what stays closed says so
        found: dict[str, ItemKey | None] = {}
        for key_id in wanted:
            with suppress(KeyLost):
                found.update(await keys.for_opening([key_id]))
        return found


async def opening(keys: Keys, records: Sequence[R]) -> Callable[[R], R]:
    """The function that opens each of ``records``, their keys being at hand; it raises SealedValue, this one the rest."""
    wanted = {key_id for record in records for key_id in key_ids_of(record)}
    found = await _found(keys, wanted) if wanted else {}

    def change(value: Sealed) -> Sealed:
        if value.key_id is None or value.key_id not in found:
            raise SealedValue("a value under a key that the key store never had")
        key = found[value.key_id]
        return Sealed(b"", DESTROYED, value.key_id) if key is None else Sealed(key.open(value))

    return lambda record: opened_with(record, change)


__all__ = ["NO_KEYS", "Directory", "ItemKey", "Keys", "Subject", "open_all", "opening", "seal"]
