"""Rows in memory: what a fold reads and writes, whether it follows the log live or makes a view anew.

A table's row is a struct; ``table_of`` makes the table from it:

    class Day(Row, frozen=True):
        owner: UUID
        day: date
        facts: int

    DAY = table_of(Day, "facts_per_day", key=("owner", "day"))

A fold says beforehand which rows it wants to look at, then works on ``Rows`` alone. They notice a look at what nobody wanted, as
the database may hold a row there.
"""

from __future__ import annotations

import typing
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from operator import attrgetter
from types import NoneType
from typing import Annotated, Any, TypeVar, cast
from uuid import UUID

import msgspec

from projections.vectors import Vector
from projections.view import Column, Table

Int4 = Annotated[int, "int4"]
Json = Annotated[Any, "jsonb"]
"""Anything that JSON holds."""

_SQL = {
    UUID: "uuid", str: "text", int: "int8", float: "float8", bool: "bool", datetime: "timestamptz", date: "date",
    bytes: "bytea", Vector: "vector", list[str]: "text[]", list[UUID]: "uuid[]",
}  # fmt: skip


class Row(msgspec.Struct, frozen=True, gc=False):
    """Base of all rows. Fields are columns, in their order; a field that may be None may be null."""


R = TypeVar("R", bound=Row)


@lru_cache(maxsize=4_096)
def uuid_of(text: str) -> UUID:
    """``UUID(text)``; several views ask for the same ones, one after the other."""
    return UUID(text)


Key = tuple[Any, ...]


def table_of(row: type[Row], name: str, *, key: tuple[str, ...], **how: Any) -> Table:
    """The table whose rows are ``row``; ``how`` is for ``Table``. Raises KeyError for a type that has no SQL type."""
    hints = typing.get_type_hints(row, include_extras=True)
    columns = tuple(Column(field, *_column(hints[field])) for field in row.__struct_fields__)
    return Table(name, columns, key, row=row, **how)


def _column(hint: Any) -> tuple[str, bool]:
    """SQL type, and whether null may be in it."""
    if typing.get_origin(hint) is Annotated:
        return typing.get_args(hint)[1], False
    inner = [part for part in typing.get_args(hint) if part is not NoneType]
    if NoneType in typing.get_args(hint) and len(inner) == 1:
        return _column(inner[0])[0], True
    return _SQL[hint], False


class Wanted:
    """Which rows a fold wants to look at."""

    def __init__(self) -> None:
        self.values: dict[tuple[Table, tuple[str, ...]], set[Key]] = defaultdict(set)

    def key(self, table: Table, *key: Hashable) -> None:
        """The row of this key, if there is one."""
        self.values[table, table.key].add(key)

    def where(self, table: Table, column: str, value: Hashable) -> None:
        """All rows with ``value`` in ``column``, which is one of the table's lookups."""
        self.values[table, (column,)].add((value,))


@dataclass(slots=True)
class Changes:
    """What is to be done to one table, in this order: rows that go by a column's value, single rows that go, rows that are new or
    other than before."""

    wiped: dict[tuple[str, Any], None] = field(default_factory=dict)
    deleted: list[Key] = field(default_factory=list)
    changed: list[Row] = field(default_factory=list)
    """There before, with other values."""
    added: list[Row] = field(default_factory=list)


class Rows:
    """Rows of a view's tables. ``complete``: there are none but these, so nothing has to be wanted."""

    def __init__(self, tables: Iterable[Table], *, complete: bool = False) -> None:
        self._held = {table: _Held(table) for table in tables}
        self._known: dict[tuple[Table, tuple[str, ...]], set[Key]] = defaultdict(set)
        self._complete = complete

    def load(self, table: Table, rows: Iterable[Row]) -> None:
        """Take rows that the database has."""
        self._held[table].load(rows)

    def know(self, table: Table, columns: tuple[str, ...], values: Iterable[Key]) -> None:
        """All rows that have any of ``values`` in ``columns`` were loaded."""
        self._known[table, columns].update(values)

    def get(self, row: type[R], table: Table, *key: Hashable) -> R | None:
        """The row of a key, None where there is none."""
        if not self._complete:
            self._must_be_known(table, table.key, key)
        return cast("R | None", self._held[table].now.get(key))

    def where(self, row: type[R], table: Table, column: str, value: Hashable) -> list[R]:
        """The rows with ``value`` in a lookup column."""
        if not self._complete:
            self._must_be_known(table, (column,), (value,))
        return cast("list[R]", self._held[table].found(column, value))

    def put(self, table: Table, row: Row) -> None:
        """Write a row, in the place of the one with the same key, which was wanted."""
        held = self._held[table]
        key = held.key_of(row)
        if not self._complete:
            self._must_be_known(table, table.key, key)
        held.put(key, row)

    def add(self, table: Table, row: Row) -> None:
        """Write a row whose key cannot be there yet, so nobody had to want it."""
        held = self._held[table]
        key = held.key_of(row)
        assert key not in held.now, f"a row of {table.name} is there already"
        held.put(key, row)

    def remove(self, table: Table, *key: Hashable) -> None:
        """Remove the row of a key, if there is one; it was wanted."""
        if not self._complete:
            self._must_be_known(table, table.key, key)
        self._held[table].remove(key)

    def remove_where(self, table: Table, column: str, value: Hashable) -> None:
        """Remove all rows with ``value`` in a lookup column, those too that nobody wanted."""
        self._held[table].wipe(column, value)

    def changes(self) -> Iterator[tuple[Table, Changes]]:
        """What differs from what was loaded, by table, in the tables' order."""
        for table, held in self._held.items():
            yield table, held.changes()

    def drain(self, table: Table) -> list[Row]:
        """Every row that is held; from now on they are not: for rows that no fold looks at again."""
        held, self._held[table] = self._held[table], _Held(table)
        return list(held.now.values())

    def all(self, table: Table) -> Iterable[Row]:
        """Every row that is held."""
        return self._held[table].now.values()

    def _must_be_known(self, table: Table, columns: tuple[str, ...], value: Key) -> None:
        if value in self._known[table, columns]:
            return
        if columns == table.key:
            held = self._held[table]
            # a key is also known by its row, and by a part of it by which all rows were found
            if value in held.now or any((part,) in self._known[table, (column,)] for column, part in held.parts(value)):
                return
        raise LookupError(f"a fold looked at {table.name} by {', '.join(columns)} without having wanted that")


class _Held:
    """The rows of one table, as they were loaded and as they are now."""

    def __init__(self, table: Table) -> None:
        self._table = table
        get = attrgetter(*table.key)
        self.key_of: Callable[[Row], Key] = get if len(table.key) > 1 else lambda row: (get(row),)
        self.now: dict[Key, Row] = {}
        self._before: dict[Key, Row] = {}
        self._dirty: dict[Key, None] = {}
        self._wiped: dict[tuple[str, Any], None] = {}
        self._index: dict[str, dict[Any, dict[Key, None]]] = {column: {} for column in table.lookups}

    def parts(self, key: Key) -> Iterator[tuple[str, Any]]:
        """Lookup columns that are part of a key, with their values."""
        return ((name, value) for name, value in zip(self._table.key, key, strict=True) if name in self._index)

    def load(self, rows: Iterable[Row]) -> None:
        for row in rows:
            key = self.key_of(row)
            if key not in self._before:
                self._before[key] = row
                self._set(key, row)

    def found(self, column: str, value: Any) -> list[Row]:
        return [self.now[key] for key in self._index[column].get(value, ())]

    def put(self, key: Key, row: Row) -> None:
        self._set(key, row)
        self._dirty[key] = None

    def remove(self, key: Key) -> None:
        if key in self.now:
            self._unset(key)
            self._dirty[key] = None

    def wipe(self, column: str, value: Any) -> None:
        for key in list(self._index[column].get(value, ())):
            self._unset(key)
            self._dirty[key] = None
        self._wiped[column, value] = None

    def changes(self) -> Changes:
        found = Changes(wiped=dict(self._wiped))
        for key in self._dirty:
            before, now = self._before.get(key), self.now.get(key)
            if now is None:
                if before is not None and not self._is_wiped(before):
                    found.deleted.append(key)
            elif before is None:
                found.added.append(now)
            elif now != before or self._is_wiped(before):
                found.changed.append(now)
        return found

    def _is_wiped(self, row: Row) -> bool:
        return any((column, getattr(row, column)) in self._wiped for column in self._index)

    def _set(self, key: Key, row: Row) -> None:
        before = self.now.get(key)
        self.now[key] = row
        for column, index in self._index.items():
            value = getattr(row, column)
            if before is not None:
                old = getattr(before, column)
                if old == value:
                    continue
                _drop(index, old, key)
            keys = index.get(value)
            if keys is None:
                index[value] = {key: None}
            else:
                keys[key] = None

    def _unset(self, key: Key) -> None:
        row = self.now.pop(key, None)
        if row is not None:
            for column, index in self._index.items():
                _drop(index, getattr(row, column), key)


def _drop(index: dict[Any, dict[Key, None]], value: Any, key: Key) -> None:
    keys = index[value]
    del keys[key]
    if not keys:
        del index[value]
