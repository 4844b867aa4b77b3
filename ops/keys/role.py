"""The key store's own role and database on a server that is Emberlog's alone.

The role owns its database and nothing else, and may connect to no other one; nobody but a superuser may connect to its database.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

# the lock of one database on the server: set-ups that run at once come one after the other
_LOCK = "SELECT pg_advisory_lock(hashtext('emberlog_keys_role'))"
_UNLOCK = "SELECT pg_advisory_unlock(hashtext('emberlog_keys_role'))"
_ROLE = "SELECT FROM pg_roles WHERE rolname = %s"
_OWNER = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s"
_IS_OPEN = "SELECT has_database_privilege('public', %s, 'CONNECT') OR has_database_privilege('public', %s, 'TEMPORARY')"
_SCHEMAS = """
SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%%' AND nspname NOT IN ('information_schema', 'public')
    AND pg_get_userbyid(nspowner) <> %(role)s
"""
_RELATIONS = """
SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'v', 'm') AND n.nspname NOT LIKE 'pg\\_%%' AND n.nspname <> 'information_schema'
    AND pg_get_userbyid(c.relowner) <> %(role)s
    AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
"""
Connection = psycopg.Connection[Any]


def ensure_own(server: str, own: str) -> None:
    """Make role and database of the address ``own`` where they are missing; what another role owns there goes over to it.

    ``server`` is the address of another database on the same server, whose role is a superuser. Repeating it does no harm, nor do
    two at once. Raises psycopg's errors.
    """
    parts = conninfo_to_dict(own)
    role, database = str(parts["user"]), str(parts["dbname"])
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(_LOCK)
        try:
            _make(connection, role, database)
            for name in (database, connection.info.dbname):
                _close(connection, name)
            with psycopg.connect(server, dbname=database) as inside:
                _take_over(inside, role)
        finally:
            connection.execute(_UNLOCK)


def _make(connection: Connection, role: str, database: str) -> None:
    names = {"role": sql.Identifier(role), "database": sql.Identifier(database)}
    if connection.execute(_ROLE, (role,)).fetchone() is None:
        connection.execute(sql.SQL("CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE").format(**names))
    owner = connection.execute(_OWNER, (database,)).fetchone()
    if owner is None:
        connection.execute(sql.SQL("CREATE DATABASE {database} OWNER {role}").format(**names))
    elif owner[0] != role:
        connection.execute(sql.SQL("ALTER DATABASE {database} OWNER TO {role}").format(**names))


def _close(connection: Connection, database: str) -> None:
    """Take the right to connect from everybody who was not given it by name."""
    is_open = connection.execute(_IS_OPEN, (database, database)).fetchone()
    if is_open and is_open[0]:
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database)))


def _take_over(connection: Connection, role: str) -> None:
    """In one transaction: schemas, tables and views of an installation from before it had this role."""
    to = sql.Identifier(role)
    for (schema,) in connection.execute(_SCHEMAS, {"role": role}).fetchall():
        connection.execute(sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(sql.Identifier(schema), to))
    for schema, name in connection.execute(_RELATIONS, {"role": role}).fetchall():
        # for views, too
        connection.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(sql.Identifier(schema, name), to))
