"""``emberlog reindex`` on a running set."""

from __future__ import annotations

import psycopg

from tests.cli.support import Cli, Inside, addresses


def test_the_vector_index_is_made_as_of_today_and_only_once(running: Cli, inside: Inside) -> None:
    inside.ok("reindex")
    assert inside.ok("reindex", "--json").json["made"] == []
    assert "as of today already" in inside.ok("reindex").out
    with psycopg.connect(addresses(running).postgres_dsn, autocommit=True) as connection:
        query = "SELECT schemaname, indexname FROM pg_indexes WHERE indexname LIKE 'memory\\_embedding\\_hot\\_%'"
        [(schema, name)] = connection.execute(query).fetchall()
        connection.execute(f"ALTER INDEX {schema}.{name} RENAME TO {name[:-8]}20200101".encode())
    done = inside.ok("reindex", "--json").json
    assert done["made"] == [name]
