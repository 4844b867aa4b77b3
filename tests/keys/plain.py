"""Keys that seal nothing, and a directory of fixed references: for tests that are about something else."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from benchmarks.owners import fixed_key, fixed_reference
from schemas.errors import KeyLost
from schemas.owner import Owner
from schemas.sealed import Sealed
from schemas.sealing import ItemKey, Subject


class _Open:
    key_id = ""

    def seal(self, data: bytes) -> Sealed:
        return Sealed(data)

    def open(self, value: Sealed) -> bytes:
        raise AssertionError("nothing was sealed")


class PlainKeys:
    """``Keys`` and ``Directory`` in one."""

    async def for_sealing(self, subjects: Collection[Subject]) -> Mapping[Subject, ItemKey | None]:
        return dict.fromkeys(subjects, _Open())

    async def for_opening(self, key_ids: Collection[str]) -> Mapping[str, ItemKey | None]:
        raise KeyLost("a key that was never made")

    async def fingerprint_key(self, owner: str) -> bytes | None:
        return fixed_key(owner)

    async def reference_of(self, owner: Owner) -> str:
        return fixed_reference(owner)

    async def find(self, owner: Owner) -> str | None:
        return fixed_reference(owner)

    def clear(self) -> None:
        return None

    async def owner_of(self, reference: str) -> Owner | None:
        raise AssertionError("nobody asks for it")
