"""Digests of tables: equal if and only if they hold the same rows, whatever the order in which rows were written.

A row's hash is SHA-256 over its text form; the hashes are sorted in 256 buckets, each bucket is hashed, and the buckets together.
Any size of table fits: 2 billion rows make buckets of 256 MB in the database, and nothing here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from projections.tables import OWNER_ALARM, OWNER_POSITION
from projections.view import Table, View

# settings under which values are printed: the same text on every server and session
_TEXT_FORM = (
    "SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'; SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex'"
)


@dataclass(frozen=True, slots=True)
class TableDigest:
    """Rows of a table and their digest (hex)."""

    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class ViewDigest:
    """Digest of a view (hex) and of each of its tables."""

    digest: str
    tables: dict[str, TableDigest]

    def differing(self, other: ViewDigest) -> list[str]:
        """Names of the tables that are not equal."""
        names = sorted({*self.tables, *other.tables})
        return [name for name in names if self.tables.get(name) != other.tables.get(name)]


def digested(view: View) -> tuple[Table, ...]:
    """The tables that count: the view's own, and what its acceptance rule remembers. Notes on skipped records do not."""
    return (*(table for table in view.tables if table.digested), OWNER_POSITION, OWNER_ALARM)


async def table_digest(conn: AsyncConnection[Any], schema: str, table: Table) -> TableDigest:
    """Digest of one table. Call it inside a transaction."""
    await conn.execute(_TEXT_FORM)
    cursor = await conn.execute(
        "SELECT count(*), sha256(string_agg(h, ''::bytea ORDER BY h)) FROM "
        f"(SELECT sha256(convert_to(ROW({table.quoted})::text, 'UTF8')) AS h FROM {schema}.{table.name}) rows "
        "GROUP BY get_byte(h, 0) ORDER BY get_byte(h, 0)"
    )
    whole, count = hashlib.sha256(), 0
    for rows, digest in await cursor.fetchall():
        count += rows
        whole.update(digest)
    return TableDigest(count, whole.hexdigest())


async def view_digest(conn: AsyncConnection[Any], view: View, schema: str) -> ViewDigest:
    """Digests of one generation. For a view that is written to, call it inside a REPEATABLE READ transaction."""
    async with conn.transaction():
        return combine({table.name: await table_digest(conn, schema, table) for table in digested(view)})


def combine(tables: dict[str, TableDigest]) -> ViewDigest:
    """One digest out of those of the tables."""
    return ViewDigest(_over((name, str(d.rows), d.digest) for name, d in sorted(tables.items())), tables)


def _over(lines: Iterable[tuple[str, ...]]) -> str:
    return hashlib.sha256("\n".join(" ".join(line) for line in lines).encode()).hexdigest()
