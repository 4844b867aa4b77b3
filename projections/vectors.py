"""pgvector's ``vector`` on the wire: its binary form, so that vectors are neither printed nor parsed.

Binary form (pgvector 0.8, ``vector_recv``): int16 dimensions, int16 zero, then float32 big endian.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from psycopg import AsyncConnection
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format
from psycopg.types import TypeInfo

_HEAD = struct.Struct(">hh")


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

    def dump(self, obj: Vector) -> bytes:
        return _HEAD.pack(obj.dimensions, 0) + np.frombuffer(obj.data, dtype="<f4").astype(">f4").tobytes()


class _VectorLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> Vector:
        return Vector(np.frombuffer(bytes(data)[_HEAD.size :], dtype=">f4").astype("<f4").tobytes())


async def register_vector(conn: AsyncConnection[Any]) -> None:
    """Teach a connection to send Vector, and to read it in binary. Does nothing where the database lacks the extension."""
    info = await TypeInfo.fetch(conn, "vector")
    if info is None:
        return
    info.register(conn)
    conn.adapters.register_dumper(Vector, type("_OidVectorDumper", (_VectorDumper,), {"oid": info.oid}))
    conn.adapters.register_loader(info.oid, _VectorLoader)
