"""The decider's tables, simulated: what ``DeciderStore`` does in Postgres, for the project's own ``StateCache`` to work on."""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from immutables import Map
from msgspec.structs import replace

from streams.decider import EMPTY, OwnerState
from streams.protocol.store import Change, DeciderStore, Header, PositionLost, Stored

T = TypeVar("T")


class Tables:
    """A position, a header per owner, a row per entry. Never changed in place: ``save`` gives new ones."""

    __slots__ = ("entries", "headers", "key", "position")

    def __init__(
        self,
        position: int = 0,
        headers: Mapping[str, OwnerState] | None = None,
        entries: Mapping[str, Mapping[str, Stored]] | None = None,
    ) -> None:
        self.position, self.headers, self.entries = position, headers or {}, entries or {}
        rows = frozenset((owner, frozenset(of_owner.items())) for owner, of_owner in self.entries.items())
        self.key = hash((position, frozenset(self.headers.items()), rows))
        """Tells these tables from others."""

    def save(self, expected: int, position: int, changes: Mapping[str, Change]) -> Tables:
        """The tables after one transaction; raises PositionLost where ``expected`` is not the position."""
        if self.position != expected:
            raise PositionLost
        headers, entries = dict(self.headers), dict(self.entries)
        for owner, change in changes.items():
            headers[owner] = replace(change.state, entries=EMPTY.entries)
            rows = dict(entries.get(owner, {}))
            if change.erased:
                rows = {k: row for k, row in rows.items() if not row.is_void(k, change.state.erased_cause)}
            for key, entry in change.changed.items():
                if entry is None:
                    rows.pop(key, None)
                else:
                    rows[key] = Stored(change.state.last_cause, entry)
            entries[owner] = rows
        return Tables(position, headers, entries)

    def state(self, owner: str) -> OwnerState:
        """The whole state that is materialised for ``owner``."""
        header = self.headers.get(owner, EMPTY)
        rows = self.entries.get(owner, {}).items()
        return replace(header, entries=Map({k: r.entry for k, r in rows if not r.is_void(k, header.erased_cause)}))


class SimulatedStore(DeciderStore):
    """One process' connection to ``tables``, which it opened or saved at ``position``.

    ``whole`` says whether owners are read as a whole, as small ones are. Single entries are refused once another decider has
    saved: they may be newer than what they would be put beside. (So is a whole owner by the real store, which reads it in two
    steps; here it is read at once, and that it may be newer than the position does no harm.)
    """

    def __init__(self, tables: Tables, position: int, *, whole: bool) -> None:
        self.tables, self.whole, self._position = tables, whole, position

    async def open(self) -> int:
        return self.tables.position

    async def close(self) -> None:
        pass

    async def headers(self, owners: Iterable[str]) -> dict[str, Header]:
        known = self.tables.headers
        return {o: Header(known[o], 0 if self.whole else None) for o in owners if o in known}

    async def entries(self, wanted: Mapping[str, Collection[str]]) -> dict[str, dict[str, Stored]]:
        if self.tables.position != self._position:
            raise PositionLost
        known = self.tables.entries
        return {o: {k: known[o][k] for k in keys if k in known.get(o, ())} for o, keys in wanted.items()}

    async def all_entries(self, owners: Iterable[str]) -> dict[str, dict[str, Stored]]:
        return {owner: dict(self.tables.entries.get(owner, {})) for owner in owners}

    async def save(self, expected: int, position: int, changes: Mapping[str, Change]) -> None:
        self.tables = self.tables.save(expected, position, changes)


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """What ``work``, which waits for nothing here, returns."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise AssertionError("nothing here can be waited for")
