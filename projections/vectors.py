"""pgvector's types on the wire: their binary forms, so that vectors are neither printed nor parsed.

Binary form (pgvector 0.8, ``vector_recv``, ``halfvec_recv``): int16 dimensions, int16 zero, then float32 or float16, big endian.
Whatever the column, a vector is float32 here, which holds every float16 exactly.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from psycopg import AsyncConnection, Connection
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format
from psycopg.types import TypeInfo

from projections.view import Table

_HEAD = struct.Struct(">hh")
_NUMBERS = {"halfvec": ">f2", "vector": ">f4"}
"""How each type writes a number. The last is the one that a statement's parameter has; PostgreSQL casts it as a column wants."""
_TYPES = "SELECT a.attname, t.typname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = %s::regclass"


class Vector:
    """A vector to send; ``data`` is float32, little endian."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    @classmethod
    def of(cls, values: Any) -> Vector:
        """From any sequence of numbers."""
        return cls(np.asarray(values, dtype="<f4").tobytes())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vector) and self.data == other.data

    def __hash__(self) -> int:
        return hash(self.data)

    @property
    def dimensions(self) -> int:
        return len(self.data) // 4


class _VectorDumper(Dumper):
    format = Format.BINARY
    numbers: str

    def dump(self, obj: Vector) -> bytes:
        return _HEAD.pack(obj.dimensions, 0) + np.frombuffer(obj.data, dtype="<f4").astype(self.numbers).tobytes()


class _VectorLoader(Loader):
    format = Format.BINARY
    numbers: str

    def load(self, data: Buffer) -> Vector:
        return Vector(np.frombuffer(bytes(data)[_HEAD.size :], dtype=self.numbers).astype("<f4").tobytes())


async def register_vector(conn: AsyncConnection[Any]) -> None:
    """Teach a connection to send Vector, and to read it in binary. Leaves out the types that the database lacks."""
    for name, numbers in _NUMBERS.items():
        info = await TypeInfo.fetch(conn, name)
        if info is None:
            continue
        info.register(conn)
        known = {"oid": info.oid, "numbers": numbers}
        conn.adapters.register_dumper(Vector, type("_OidVectorDumper", (_VectorDumper,), known))
        conn.adapters.register_loader(info.oid, type("_OidVectorLoader", (_VectorLoader,), known))


async def wire_types(conn: AsyncConnection[Any], schema: str, table: Table) -> list[str]:
    """Types of the table's columns for binary COPY: of vectors those that this generation has, whatever is set by now."""
    if _NUMBERS.keys().isdisjoint(table.types):
        return list(table.types)
    cursor = await conn.execute(_TYPES, (f"{schema}.{table.name}",))
    return _of_vectors(table, dict(await cursor.fetchall()))


def sent_types(conn: Connection[Any], schema: str, table: Table) -> list[str]:
    """``wire_types`` on a connection that waits."""
    if _NUMBERS.keys().isdisjoint(table.types):
        return list(table.types)
    return _of_vectors(table, dict(conn.execute(_TYPES, (f"{schema}.{table.name}",)).fetchall()))


def _of_vectors(table: Table, found: Mapping[str, str]) -> list[str]:
    return [found[column.name] if column.type in _NUMBERS else column.type for column in table.columns]


async def fitting(conn: AsyncConnection[Any], statements: Sequence[str]) -> list[str]:
    """``statements`` for this database: with ``vector`` in place of ``halfvec`` where pgvector is older than that (0.7)."""
    lacks = any("halfvec" in statement for statement in statements) and await TypeInfo.fetch(conn, "halfvec") is None
    return _full(statements) if lacks else list(statements)


def fitted(conn: Connection[Any], statements: Sequence[str]) -> list[str]:
    """``fitting`` on a connection that waits."""
    lacks = any("halfvec" in statement for statement in statements) and TypeInfo.fetch(conn, "halfvec") is None
    return _full(statements) if lacks else list(statements)


def _full(statements: Sequence[str]) -> list[str]:
    return [re.sub(r"\bhalfvec", "vector", statement) for statement in statements]
