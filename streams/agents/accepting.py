"""Which records of memory.events count, for a reader that keeps no state: the readers' rule, as far as an owner is known.

A slice that readers drop must do nothing: its ``MemoryAdded`` could put a memory's first words in the place of its revised ones.
Deciders decide from what was accepted, so a slice begins where an accepted slice of its owner began, or behind the last one:
whoever knows where the last one began knows which slices are dropped. That is learnt from the owner's first record here on;
``seeding`` reads some of the log back, since deciders that wake late and new assignments come together. An owner that was not
read yet is believed: too much is embedded then, never too little.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from schemas import envelope
from schemas.errors import BadEnvelope
from schemas.slices import SLICE_FIRST, SLICE_ID

MAX_OWNERS = 50_000


class Accepting:
    """``feed`` it every record of the assigned partitions, each partition in offset order; ``reset`` at a new assignment."""

    def __init__(self, max_owners: int = MAX_OWNERS) -> None:
        self._max_owners = max_owners
        self._owners: OrderedDict[str, tuple[int, str]] = OrderedDict()
        """First sequence of the owner's last accepted slice, and that slice's id."""

    def reset(self) -> None:
        """Records come again from the committed offset on: judged by what came after them they would all be dropped."""
        self._owners.clear()

    def feed(self, headers: Mapping[str, bytes]) -> bool:
        """Whether the record counts. One whose headers cannot be read does: whoever decodes it says what is wrong."""
        try:
            owner, append = envelope.text(headers, "ce_subject"), envelope.text(headers, SLICE_ID)
            first = envelope.number(headers, SLICE_FIRST)
        except BadEnvelope:
            return True
        begun, accepted = self._owners.get(owner, (0, ""))
        if first <= begun:
            return append == accepted
        self._owners[owner] = first, append
        self._owners.move_to_end(owner)
        if len(self._owners) > self._max_owners:
            self._owners.popitem(last=False)
        return True
