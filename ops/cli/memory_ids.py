"""Memory ids as people write them: whole, or their first digits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg

from ops.cli.errors import UsageError
from ops.cli.target import Target

SHORTEST_PREFIX = 4


async def resolve(target: Target, reference: str, wanted: Sequence[str]) -> list[str]:
    """Full memory ids; beginnings are looked up among the live memories of the owner of ``reference``. Raises UsageError."""
    full = []
    async with await psycopg.AsyncConnection.connect(target.dsn, autocommit=True) as connection:
        for text in wanted:
            try:
                full.append(str(UUID(text)))
            except ValueError:
                full.append(await _by_beginning(connection, reference, text.lower()))
    return full


async def _by_beginning(connection: psycopg.AsyncConnection[Any], reference: str, text: str) -> str:
    if len(text) < SHORTEST_PREFIX or set(text) - set("0123456789abcdef-"):
        raise UsageError(f"{text} is no memory id", "ids are shown by: emberlog recall … and emberlog tail events")
    cursor = await connection.execute(
        "SELECT id::text FROM thermal_memory_archive WHERE owner = %s::uuid AND id::text LIKE %s LIMIT 2",
        (reference, f"{text}%"),
    )
    found = [row[0] for row in await cursor.fetchall()]
    if len(found) != 1:
        problem = "fits several memories: write more of it" if found else "fits no live memory of this owner"
        raise UsageError(f"{text} {problem}")
    return str(found[0])
