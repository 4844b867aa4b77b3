"""Searching tables: every column but vectors, read in portions. What is sought stays here, the server never sees it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from ops.forgetting.findings import Search, Searched
from ops.forgetting.stores import ALL_TABLES, Kind, Store

PORTION = 100
_VECTORS = {"vector", "halfvec", "sparsevec"}
_TELLING_NOTHING = {"uuid", "int2", "int4", "int8"}
"""Types of key columns that may name a row; any other could hold what is sought."""
_SCHEMAS = "NOT LIKE ALL (ARRAY['pg\\_%', 'information\\_schema'])"
_TABLES = f"""
SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname {_SCHEMAS} ORDER BY 1, 2
"""
_COLUMNS = """
SELECT a.attname, t.typname, coalesce(a.attnum = ANY(i.indkey), false)
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_index AS i ON i.indrelid = c.oid AND i.indisprimary
WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_STATISTICS = f"""
SELECT schemaname, tablename, attname, most_common_vals::text, histogram_bounds::text, most_common_elems::text
FROM pg_stats WHERE schemaname {_SCHEMAS}
"""
Connection = psycopg.AsyncConnection[Any]


class Column(NamedTuple):
    """A column of a table that is searched."""

    name: str
    type: str
    in_key: bool


async def generations(connection: Connection) -> list[tuple[str, int]]:
    """View and number of every generation that has tables."""
    cursor = await connection.execute("SELECT view, generation FROM public.emberlog_view_generation ORDER BY 1, 2")
    return [(view, number) for view, number in await cursor.fetchall()]


async def tables_of(connection: Connection, stores: Iterable[Store]) -> dict[str, list[tuple[str, str]]]:
    """Tables (schema, name) of the database by the store that has them; ones that are not there any more are left out."""
    owner = {place: store.name for store in stores if store.kind is Kind.TABLES for place in store.places}
    cursor = await connection.execute(_TABLES)
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for schema, table in await cursor.fetchall():
        if name := owner.get(f"{schema}.{table}", owner.get(ALL_TABLES)):
            found[name].append((schema, table))
    return found


async def search_database(search: Search, dsn: str, stores: Sequence[Store]) -> None:
    """Search ``stores``, which are all of one database. Raises psycopg.OperationalError where it is away."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.set_read_only(True)
        await connection.execute("SET statement_timeout = 0")
        have = await tables_of(connection, stores)
        await connection.commit()
        for store in stores:
            into = search.begin(store)
            if store.kind is Kind.STATISTICS:
                await _statistics(search, into, connection)
            for schema, table in have.get(store.name, ()):
                try:
                    async with connection.transaction():
                        await _table(search, into, connection, schema, table)
                except psycopg.errors.UndefinedTable:
                    continue  # a generation that was dropped meanwhile
                except psycopg.errors.InsufficientPrivilege:
                    into.failures.append(f"{schema}.{table}: no right to read it")


async def _statistics(search: Search, into: Searched, connection: Connection) -> None:
    """The planner's samples: deleted values stay there until the table is analysed anew."""
    cursor = await connection.execute(_STATISTICS)
    for schema, table, column, *samples in await cursor.fetchall():
        search.item(into)
        for sample in samples:
            search.value(into, sample, lambda _, place=f"{schema}.{table}.{column}": place)  # type: ignore[misc]
    await connection.commit()


async def _table(search: Search, into: Searched, connection: Connection, schema: str, table: str) -> None:
    columns = [Column(*row) for row in await (await connection.execute(_COLUMNS, (schema, table))).fetchall()]
    key = [c for c in columns if c.in_key and c.type in _TELLING_NOTHING]
    sought = [c for c in columns if c.type not in _VECTORS]
    names = [sql.Identifier(c.name) for c in key] or [sql.Identifier("ctid")]
    chosen = [*(sql.SQL("{}::text").format(n) for n in names), *map(_as_searched, sought)]
    query = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(chosen), sql.Identifier(schema, table))
    labels = [c.name for c in key] or ["row"]
    async with connection.cursor(name="emberlog_proof") as cursor:
        cursor.itersize = PORTION
        await cursor.execute(query)
        async for row in cursor:
            search.item(into)
            for column, value in zip(sought, row[len(names) :], strict=True):
                search.value(into, value, _Place(schema, table, column, labels, row))


def _as_searched(column: Column) -> sql.Composed:
    """Bytes as they are; anything else as text."""
    return sql.SQL("{}" if column.type == "bytea" else "{}::text").format(sql.Identifier(column.name))


class _Place:
    """Names a place when something is found there, which is seldom."""

    __slots__ = ("_column", "_labels", "_row", "_schema", "_table")

    def __init__(self, schema: str, table: str, column: Column, labels: Sequence[str], row: Sequence[Any]) -> None:
        self._schema, self._table, self._column, self._labels, self._row = schema, table, column, labels, row

    def __call__(self, at: int) -> str:
        row = " ".join(f"{label}={value}" for label, value in zip(self._labels, self._row, strict=False))
        byte = f" byte {at}" if self._column.type == "bytea" else ""
        return f"{self._schema}.{self._table}.{self._column.name} {row}{byte}"
