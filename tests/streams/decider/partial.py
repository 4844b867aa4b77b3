"""States that hold no more entries than a command or an event touches, as whoever does not load a whole owner has them."""

from __future__ import annotations

from collections.abc import Iterable

from immutables import Map
from msgspec.structs import replace

from schemas.types import Command, MemoryEvent, OwnerErased
from streams.decider import OwnerState, touched
from streams.decider.state import DONE, Entry


def part_of(state: OwnerState, item: Command | MemoryEvent) -> OwnerState:
    """``state`` with no more entries than ``item`` touches, found in rounds from none."""
    loaded: set[str] = set()
    part = replace(state, entries=Map())
    while missing := touched(item, part) - loaded:
        loaded |= missing
        part = replace(state, entries=Map({key: state.entries[key] for key in loaded if key in state.entries}))
    return part


def merged(full: OwnerState, part: OwnerState, after: OwnerState, events: Iterable[MemoryEvent]) -> OwnerState:
    """The full state after ``events`` that turned ``part`` into ``after``: what changed is written over it."""
    entries: Map[str, Entry] = full.entries
    if any(isinstance(e, OwnerErased) for e in events):
        # as whoever keeps entries does it: those from before the erasure are void, but for the commands that were decided
        entries = Map({key: entry for key, entry in entries.items() if key.startswith(DONE)})
    for key in part.entries:
        if key not in after.entries and key in entries:
            entries = entries.delete(key)
    return replace(after, entries=entries.update(after.entries))
