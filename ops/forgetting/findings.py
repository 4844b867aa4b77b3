"""What a search brings: per store how much was searched, what was found where, and what could not be searched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ops.forgetting.needles import Needles
from ops.forgetting.stores import Store

KEPT = 100
"""Findings of one store that are kept; further ones are counted."""
SAY_EVERY = 500
SEALED = "sealed"
"""Form of what is sealed under a key that is still there."""

OnProgress = Callable[[str, int], None]
"""Called with a store's name and how many rows, records or files of it are done."""


@dataclass(frozen=True, slots=True)
class Finding:
    """``place`` names a column and row, a record, a file and byte, never text. ``needle`` is the number of the text, from 1."""

    store: str
    place: str
    form: str
    needle: int


@dataclass(slots=True)
class Searched:
    """One store's search. ``items`` are rows, records or files; ``size`` is in bytes, as they were compared."""

    store: Store
    items: int = 0
    size: int = 0
    found: int = 0
    findings: list[Finding] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """What could not be searched, and why; never with content."""


class Search:
    """Searches values of stores, one store after the other, and keeps the account."""

    def __init__(self, needles: Needles, on_progress: OnProgress) -> None:
        self.needles = needles
        self.done: list[Searched] = []
        self._say = on_progress

    def begin(self, store: Store) -> Searched:
        """The account of the next store."""
        found = Searched(store)
        self.done.append(found)
        self._say(store.name, 0)
        return found

    def item(self, into: Searched) -> None:
        """Count a row, a record or a file."""
        into.items += 1
        if into.items % SAY_EVERY == 0:
            self._say(into.store.name, into.items)

    def value(self, into: Searched, data: bytes | str | None, place: Callable[[int], str], *, form: str | None = None) -> None:
        """Search a value; ``place`` names the place of a finding, given its byte within the value, ``form`` what it was in."""
        if data is None:
            return
        raw = data.encode(errors="surrogatepass") if isinstance(data, str) else data
        into.size += len(raw)
        for hit in self.needles.find(raw):
            self.found(into, place(hit.start), form or hit.form, hit.needle)

    def found(self, into: Searched, place: str, form: str, needle: int) -> None:
        """Note a finding."""
        into.found += 1
        if len(into.findings) < KEPT:
            into.findings.append(Finding(into.store.name, place, form, needle))
