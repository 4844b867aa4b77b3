"""One table written anew, and its samples drawn anew."""

from __future__ import annotations

import re
from typing import Any

import psycopg
from psycopg import sql

Connection = psycopg.AsyncConnection[Any]
Name = tuple[str, str]

CATALOGS: tuple[Name, ...] = (("pg_catalog", "pg_statistic"), ("pg_catalog", "pg_statistic_ext_data"))
"""The planner's samples of values. Written last: new samples leave the old ones as dead rows."""

_FILE = "SELECT pg_relation_filenode(%s::regclass)"
_IS_SUPERUSER = "SELECT current_setting('is_superuser')::boolean"
_FORGET_SAMPLES = """
WITH part (id) AS (
    SELECT %(table)s::regclass::oid UNION ALL SELECT indexrelid FROM pg_index WHERE indrelid = %(table)s::regclass
),
extended AS (
    DELETE FROM pg_statistic_ext_data AS d USING pg_statistic_ext AS e WHERE d.stxoid = e.oid AND e.stxrelid = %(table)s::regclass
)
DELETE FROM pg_statistic WHERE starelid IN (SELECT id FROM part)
"""
_SAMPLED = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute AS a
WHERE a.attrelid = %(table)s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND EXISTS (
    SELECT FROM pg_stats AS s LEFT JOIN pg_index AS i ON i.indrelid = a.attrelid AND i.indexprs IS NOT NULL
    WHERE s.schemaname = %(schema)s AND (s.tablename = %(name)s AND s.attname = a.attname
        OR i.indexrelid = format('%%I.%%I', s.schemaname, s.tablename)::regclass))
"""
_FIRST_NUMBER = re.compile(r"\d+")


class Kept(Exception):
    """Deleted rows or samples stay in the files. The text says why; ``may_change``: later it may go."""

    def __init__(self, why: str, *, may_change: bool) -> None:
        super().__init__(why)
        self.may_change = may_change


class Dead:
    """Counts the dead rows that a VACUUM FULL had to copy, from what it says. Its words may be in any language."""

    def __init__(self, connection: Connection) -> None:
        self.rows = 0
        connection.add_notice_handler(self._hear)

    def _hear(self, said: psycopg.errors.Diagnostic) -> None:
        number = _FIRST_NUMBER.search(said.message_detail or "")
        if said.source_function == "copy_table_data" and number:
            self.rows += int(number[0])


async def rewrite(connection: Connection, dead: Dead, name: Name) -> None:
    """Write a table and its indexes anew, and draw its samples anew; one that is gone is nothing.

    Raises Kept, LockNotAvailable.
    """
    try:
        await _rewrite(connection, dead, name)
        if name not in CATALOGS:
            await _sample(connection, name)
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return  # a generation that was dropped meanwhile
    except psycopg.errors.InsufficientPrivilege:
        raise Kept("this role has no right to it", may_change=False) from None


async def _rewrite(connection: Connection, dead: Dead, name: Name) -> None:
    table = _quoted(name).as_string()
    before = await _value(connection, _FILE, table)
    dead.rows = 0
    await connection.execute(sql.SQL("VACUUM (FULL, VERBOSE) {}").format(_quoted(name)))
    # a right that is missing is a warning only
    if await _value(connection, _FILE, table) == before:
        raise Kept("this role has no right to write it anew", may_change=False)
    if dead.rows:
        raise Kept(f"a transaction that is still open can see {dead.rows} deleted rows", may_change=True)


async def _sample(connection: Connection, name: Name) -> None:
    """Draw the samples anew. ANALYZE alone keeps those of a table, or of a part's index, that has no rows any more."""
    table = _quoted(name)
    if await _value(connection, _IS_SUPERUSER):
        async with connection.transaction():
            # two that sample at once would be told that a sample was changed beside them
            await connection.execute(sql.SQL("LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE").format(table))
            await connection.execute(_FORGET_SAMPLES, {"table": table.as_string()})
            await connection.execute(sql.SQL("ANALYZE {}").format(table))
        return
    await connection.execute(sql.SQL("ANALYZE {}").format(table))
    if await _value(connection, sql.SQL("SELECT NOT EXISTS (SELECT FROM {})").format(table)):
        await _forget_samples(connection, name)


async def _forget_samples(connection: Connection, name: Name) -> None:
    """Of an empty table, without a superuser's rights: a column that is given its own type again loses its samples."""
    parameters = {"table": _quoted(name).as_string(), "schema": name[0], "name": name[1]}
    for column, type_ in await (await connection.execute(_SAMPLED, parameters)).fetchall():
        # the type comes from the catalog, quoted where it must be
        change = sql.SQL("ALTER TABLE {} ALTER {} TYPE {}").format(_quoted(name), sql.Identifier(column), sql.SQL(type_))
        try:
            await connection.execute(change)
        except psycopg.errors.FeatureNotSupported:  # a view stands on it
            raise Kept("it is empty: only a superuser can take the samples of its former rows away", may_change=False) from None


async def _value(connection: Connection, query: Any, *parameters: object) -> Any:
    row = await (await connection.execute(query, parameters or None)).fetchone()
    assert row is not None
    return row[0]


def _quoted(name: Name) -> sql.Identifier:
    return sql.Identifier(*name)
