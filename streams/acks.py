"""Ordered acknowledgements: no offset is released before all offsets below it are done.

Faust commits past unfinished work when acknowledgements come out of order (one stuck event and a kill -9 then lose it), so events
are acknowledged to it strictly from the head of this queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class OrderedAcks:
    """The events of one partition that are under way, oldest first; ``add`` in offset order, ``done`` in any order."""

    def __init__(self) -> None:
        self._queue: deque[tuple[int, Callable[[], object]]] = deque()
        self._done: set[int] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, offset: int, ack: Callable[[], object]) -> bool:
        """Take an event; False when one at or above ``offset`` is under way already (a redelivery)."""
        if self._queue and offset <= self._queue[-1][0]:
            return False
        self._queue.append((offset, ack))
        return True

    def close(self) -> None:
        """Acknowledge nothing any more: the partition was taken away."""
        self._closed = True

    def done(self, offset: int) -> None:
        """``offset`` needs no more work; acknowledges it and all that waited for it, once nothing below is under way."""
        self._done.add(offset)
        while self._queue and self._queue[0][0] in self._done:
            head, ack = self._queue.popleft()
            self._done.discard(head)
            if not self._closed:
                ack()
        if not self._queue:
            self._done.clear()
