"""A view's tables in SQLite: the same rows as in PostgreSQL, each value in the form that SQLite keeps it in.

UUIDs and times are text (times in UTC, ISO 8601 with microseconds, so that text order is time order), JSON and lists are JSON
text. Raises KeyError for a table with a type that has no form here, as vectors have none.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from msgspec.structs import astuple

from projections.rows import Changes, Key, Row, Rows, Wanted
from projections.view import Table

Convert = Callable[[Any], Any]


def _as_is(value: Any) -> Any:
    return value


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _in_utc(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds")


_FORMS: dict[str, tuple[str, Convert, Convert]] = {
    "uuid": ("TEXT", str, UUID),
    "text": ("TEXT", _as_is, _as_is),
    "int4": ("INTEGER", _as_is, _as_is),
    "int8": ("INTEGER", _as_is, _as_is),
    "float8": ("REAL", _as_is, _as_is),
    "bool": ("INTEGER", int, bool),
    "timestamptz": ("TEXT", _in_utc, datetime.fromisoformat),
    "jsonb": ("TEXT", _dumped, json.loads),
    "text[]": ("TEXT", _dumped, json.loads),
}
"""By PostgreSQL's type: SQLite's, and the ways there and back."""


def create(table: Table) -> list[str]:
    """Statements that make a table, with an index for each column by which its fold finds rows."""
    columns = [f'"{c.name}" {_FORMS[c.type][0]}{"" if c.null else " NOT NULL"}' for c in table.columns]
    key = ", ".join(f'"{name}"' for name in table.key)
    made = [f"CREATE TABLE {table.name} ({', '.join(columns)}, PRIMARY KEY ({key})) WITHOUT ROWID"]
    made += [f'CREATE INDEX {table.name}_{c} ON {table.name} ("{c}")' for c in table.lookups if c != table.key[0]]
    return made


def load(file: sqlite3.Connection, wanted: Wanted, rows: Rows) -> None:
    """Read what is wanted into ``rows``."""
    for (table, columns), values in wanted.values.items():
        where = " AND ".join(f'"{column}" = ?' for column in columns)
        query = f"SELECT {table.quoted} FROM {table.name} WHERE {where}"
        for value in values:
            rows.load(table, _read(table, file.execute(query, _sent(table, columns, value))))
        rows.know(table, columns, values)


def read_all(file: sqlite3.Connection, table: Table) -> list[Row]:
    """Every row of a table."""
    return list(_read(table, file.execute(f"SELECT {table.quoted} FROM {table.name}")))


def write(file: sqlite3.Connection, table: Table, changes: Changes) -> None:
    """Write what differs."""
    for column, value in changes.wiped:
        file.execute(f'DELETE FROM {table.name} WHERE "{column}" = ?', _sent(table, (column,), (value,)))
    same = " AND ".join(f'"{name}" = ?' for name in table.key)
    gone = [_sent(table, table.key, key) for key in changes.deleted]
    file.executemany(f"DELETE FROM {table.name} WHERE {same}", gone)
    marks = ", ".join("?" for _ in table.columns)
    put = [_sent(table, table.names, astuple(row)) for row in (*changes.changed, *changes.added)]
    file.executemany(f"INSERT OR REPLACE INTO {table.name} ({table.quoted}) VALUES ({marks})", put)


def _sent(table: Table, columns: Sequence[str], values: Key) -> list[Any]:
    types = {column.name: column.type for column in table.columns}
    pairs = zip(columns, values, strict=True)
    return [None if value is None else _FORMS[types[column]][1](value) for column, value in pairs]


def _read(table: Table, found: Iterable[tuple[Any, ...]]) -> Iterable[Row]:
    assert table.row is not None
    back = [_FORMS[column.type][2] for column in table.columns]
    for values in found:
        yield table.row(*[None if v is None else convert(v) for convert, v in zip(back, values, strict=True)])
