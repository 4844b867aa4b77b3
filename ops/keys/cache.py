"""A bounded cache of what the key store answered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Moment(NamedTuple):
    """When something was asked: the clock's time, and the key store's epoch as it was known then."""

    at: float
    epoch: int


class Cache(Generic[K, V]):
    """The ``size`` answers used last. None means "gone", which is final; others count for ``live_s`` seconds, in their epoch."""

    def __init__(self, size: int, live_s: float, now: Callable[[], Moment]) -> None:
        self._size, self._live_s, self._now = size, live_s, now
        self._entries: OrderedDict[K, tuple[Moment, V | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> tuple[V | None] | None:
        """The answer in a tuple; None where there is none."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        since, value = entry
        if value is not None:
            now = self._now()
            if now.at - since.at >= self._live_s or now.epoch != since.epoch:
                del self._entries[key]
                return None
        self._entries.move_to_end(key)
        return (value,)

    def put(self, key: K, value: V | None, since: Moment) -> None:
        """Keep an answer; ``since`` is the moment before it was asked for."""
        self._entries[key] = since, value
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget every answer."""
        self._entries.clear()
