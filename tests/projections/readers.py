"""Database roles that try to read what is not theirs, and where they look."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Iterable
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.conninfo import make_conninfo

Connection = AsyncConnection[Any]
MARKS = {"ana": "cormorant", "ben": "puffin", "acme": "gannet", "other ana": "petrel"}
"""By owner, a word that all of the owner's values hold, and no other's."""

_RELATIONS = """
SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'v', 'm', 'p', 'S') AND n.nspname !~ %s ORDER BY 1, 2
"""


def owners_in(texts: Iterable[object]) -> set[str]:
    """The owners whose marks stand in any of ``texts``."""
    whole = "\n".join(map(str, texts))
    return {owner for owner, mark in MARKS.items() if mark in whole}


@contextlib.asynccontextmanager
async def role(dsn: str, *groups: str) -> AsyncIterator[tuple[str, str]]:
    """A new role that may log in, member of ``groups``, with a schema to make functions in; its name and its DSN."""
    name, password = f"emb_reader_{secrets.token_hex(4)}", secrets.token_hex(8)
    async with await AsyncConnection.connect(dsn, autocommit=True) as admin:
        quoted = sql.Identifier(name)
        await admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(quoted, sql.Literal(password)))
        try:
            for group in groups:
                await admin.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), quoted))
            await admin.execute(sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(quoted, quoted))
            yield name, make_conninfo(dsn, user=name, password=password)
        finally:
            await admin.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(quoted))
            await admin.execute(sql.SQL("DROP ROLE {}").format(quoted))


async def everywhere(conn: Connection, *, catalogs: bool = True) -> dict[str, set[str]]:
    """By table or view of the database, the owners of whom the role can read something there."""
    without = "^pg_(toast|temp)" if catalogs else "^(pg_|information_schema$)"
    found: dict[str, set[str]] = {}
    for schema, name in await (await conn.execute(_RELATIONS, (without,))).fetchall():
        with contextlib.suppress(psycopg.Error):
            # pg_stats shows its samples as arrays of any type, so rows are taken as text
            cursor = await conn.execute(sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(schema, name)))
            if seen := owners_in(row[0] for row in await cursor.fetchall()):
                found[f"{schema}.{name}"] = seen
    return found


async def seen_by(conn: Connection, query: str, *parameters: Any) -> set[str]:
    """The owners whose marks stand in what a query answers, says in notices, or is refused with."""
    said: list[object] = []
    conn.add_notice_handler(lambda notice: said.append(notice.message_primary))
    try:
        cursor = await conn.execute(query.encode(), parameters or None)
        said += await cursor.fetchall() if cursor.description else []
    except psycopg.Error as error:
        said.append(f"{error} {error.diag.message_detail} {error.diag.context}")
    return owners_in(said)
