"""Rows in the binary form of COPY, by a function that is written for each table.

PostgreSQL's form: a header, then for each row the number of fields (int16), and each field's length (int32, -1 for null) and
bytes; at the end -1 as a number of fields. psycopg's ``write_row`` would ask for the dumper of each value anew.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from struct import Struct
from typing import Any, cast

import numpy as np
import orjson

from projections.view import Column, Table

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
Encode = Callable[[Any], bytes]
"""A row to its bytes. Raises one of ``REFUSED`` for a value that its column cannot hold."""
REFUSED = (struct.error, OverflowError, UnicodeEncodeError, TypeError, ValueError, AttributeError)

# struct's format behind the length, the length, and the expression of the value
_FIXED = {
    "uuid": ("16s", 16, "{x}.bytes"),
    "int8": ("q", 8, "{x}"),
    "int2": ("h", 2, "{x}"),
    "int4": ("i", 4, "{x}"),
    "float8": ("d", 8, "{x}"),
    "bool": ("?", 1, "{x}"),
    "timestamptz": ("q", 8, "moment({x})"),
    "date": ("i", 4, "day({x})"),
}
_SIZED = {
    "text": "{x}.encode()",
    "bytea": "{x}",
    "jsonb": "document({x})",
    "text[]": "texts({x})",
    "uuid[]": "uuids({x})",
    "vector": "vector({x})",
    "halfvec": "halfvec({x})",
}
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_FIRST_DAY = date(2000, 1, 1)
_NULL = b"\xff\xff\xff\xff"
_ARRAY = Struct(">iiIii")
_SIZE = Struct(">i")
_UUID = Struct(">i16s")
_VECTOR = Struct(">hh")
_TEXT_OID, _UUID_OID = 25, 2950
_NO_ITEMS = {oid: Struct(">iiI").pack(0, 0, oid) for oid in (_TEXT_OID, _UUID_OID)}


def encoder(table: Table, types: Sequence[str] | None = None) -> Encode | None:
    """The function for the rows of ``table``; None where it has a column of a type that is not known here.

    ``types`` are those that its columns have in the database, where these may be others (``projections.vectors``).
    """
    columns = [replace(column, type=kind) for column, kind in zip(table.columns, types or table.types, strict=True)]
    if not all(_base(column) in _FIXED or _base(column) in _SIZED for column in columns):
        return None
    made = _Function(columns)
    scope: dict[str, Any] = {**_HELPERS, **made.scope}
    exec(compile(made.source, f"<rows of {table.name}>", "exec"), scope)  # noqa: S102 - made of our own column names
    return cast(Encode, scope["encode"])


def _base(column: Column) -> str:
    """The type without its modifier, such as a number of dimensions."""
    return column.type.split("(")[0]


class _Function:
    """Source of one table's function: neighbouring columns of fixed size are packed at once."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.scope: dict[str, Any] = {}
        self._lines: list[str] = []
        self._parts: list[str] = []
        self._format, self._values = ">h", [str(len(columns))]
        for n, column in enumerate(columns):
            self._column(f"v{n}", column)
        self._pack()
        body = "".join(f"    {line}\n" for line in self._lines)
        self.source = f"def encode(row):\n{body}    return b''.join(({', '.join(self._parts)},))\n"

    def _column(self, x: str, column: Column) -> None:
        self._lines.append(f"{x} = row.{column.name}")
        if _base(column) in _FIXED:
            self._fixed(x, column)
            return
        value = _SIZED[_base(column)].format(x=x)
        if column.null:
            self._lines.append(f"b{x} = b'' if {x} is None else {value}")
            self._add("i", f"-1 if {x} is None else len(b{x})")
        else:
            self._lines.append(f"b{x} = {value}")
            self._add("i", f"len(b{x})")
        self._pack()
        self._parts.append(f"b{x}")

    def _fixed(self, x: str, column: Column) -> None:
        form, length, value = _FIXED[_base(column)]
        if not column.null:
            self._add("i" + form, str(length), value.format(x=x))
            return
        self._pack()
        name = f"pack_{x}"
        self.scope[name] = Struct(">i" + form).pack
        self._parts.append(f"null if {x} is None else {name}({length}, {value.format(x=x)})")

    def _add(self, form: str, *values: str) -> None:
        self._format += form
        self._values += values

    def _pack(self) -> None:
        if self._values:
            name = f"pack{len(self._parts)}"
            self.scope[name] = Struct(self._format).pack
            self._parts.append(f"{name}({', '.join(self._values)})")
        self._format, self._values = ">", []


def _moment(value: datetime) -> int:
    since = value - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _day(value: date) -> int:
    return (value - _FIRST_DAY).days


def _document(value: Any) -> bytes:
    try:
        return b"\x01" + orjson.dumps(value)
    except TypeError:  # whole numbers of more than 64 bits
        return b"\x01" + json.dumps(value, allow_nan=False).encode()


def _texts(values: list[str]) -> bytes:
    if not values:
        return _NO_ITEMS[_TEXT_OID]
    parts = [_ARRAY.pack(1, 0, _TEXT_OID, len(values), 1)]
    for value in values:
        data = value.encode()
        parts += (_SIZE.pack(len(data)), data)
    return b"".join(parts)


def _uuids(values: list[Any]) -> bytes:
    if not values:
        return _NO_ITEMS[_UUID_OID]
    return _ARRAY.pack(1, 0, _UUID_OID, len(values), 1) + b"".join([_UUID.pack(16, value.bytes) for value in values])


def _vector(value: Any) -> bytes:
    return _VECTOR.pack(value.dimensions, 0) + np.frombuffer(value.data, dtype="<f4").byteswap().tobytes()


def _halfvec(value: Any) -> bytes:
    return _VECTOR.pack(value.dimensions, 0) + np.frombuffer(value.data, dtype="<f4").astype(">f2").tobytes()


_HELPERS = {
    "moment": _moment, "day": _day, "document": _document, "texts": _texts, "uuids": _uuids, "vector": _vector,
    "halfvec": _halfvec, "null": _NULL
}  # fmt: skip
