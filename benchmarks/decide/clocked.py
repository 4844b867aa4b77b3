"""Keys that count the seconds spent on them."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from schemas.sealing import ItemKey, Keys
from schemas.subjects import Subject


class ClockedKeys:
    """``keys``, with the seconds that asking them took, for sealing and for opening."""

    def __init__(self, keys: Keys) -> None:
        self._keys, self.sealing_s, self.opening_s = keys, 0.0, 0.0

    async def for_sealing(self, subjects: Collection[Subject]) -> Mapping[Subject, ItemKey | None]:
        """As the keys answer."""
        begun = time.perf_counter()
        found = await self._keys.for_sealing(subjects)
        self.sealing_s += time.perf_counter() - begun
        return found

    async def for_opening(self, key_ids: Collection[str]) -> Mapping[str, ItemKey | None]:
        """As the keys answer."""
        begun = time.perf_counter()
        found = await self._keys.for_opening(key_ids)
        self.opening_s += time.perf_counter() - begun
        return found

    async def fingerprint_key(self, owner: str) -> bytes | None:
        """As the keys answer."""
        return await self._keys.fingerprint_key(owner)
