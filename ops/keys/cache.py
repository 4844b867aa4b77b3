"""A bounded cache of what the key store answered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """The ``size`` answers used last. None means "gone", which is final; any other answer is asked for again after ``live_s``.

    A destroyed key thus stays usable for ``live_s`` seconds at most in a process that had it.
    """

    def __init__(self, size: int, live_s: float, clock: Callable[[], float]) -> None:
        self._size, self._live_s, self._clock = size, live_s, clock
        self._entries: OrderedDict[K, tuple[float, V | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> tuple[V | None] | None:
        """The answer in a tuple; None where there is none."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        since, value = entry
        if value is not None and self._clock() - since >= self._live_s:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return (value,)

    def put(self, key: K, value: V | None, since: float) -> None:
        """Keep an answer; ``since`` is the clock's time before it was asked for."""
        self._entries[key] = since, value
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget every answer."""
        self._entries.clear()
