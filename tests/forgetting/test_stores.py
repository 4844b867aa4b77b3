"""The registry knows every topic, view, table and file there is."""

from __future__ import annotations

from pathlib import PurePosixPath

import psycopg
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from ops.forgetting.stores import (
    ALL_TABLES,
    Forgets,
    Kind,
    Places,
    file_stores,
    key_value_stores,
    store_of,
    table_stores,
    topic_stores,
)
from ops.forgetting.tables import generations, tables_of
from projections import generation
from projections.view import ViewSettings
from projections.views import REGISTRY, build_views
from schemas.topics import Topics


def test_every_topic_of_the_contract_is_in_the_registry_and_no_other() -> None:
    topics = Topics(prefix="some.")
    known = [place for store in topic_stores(topics) for place in store.places]
    assert sorted(known) == sorted(spec.name for spec in topics.specs())


async def test_every_topic_that_set_up_makes_is_in_the_registry(places: Places) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=places.bootstrap)
    await admin.start()
    try:
        made = [name for name in await admin.list_topics() if name.startswith(places.topics.prefix)]
    finally:
        await admin.close()
    assert made
    assert set(made) <= {place for store in topic_stores(places.topics) for place in store.places}


async def test_every_table_that_set_up_makes_and_every_kept_generation_is_in_the_registry(places: Places) -> None:
    async with await generation.connect(places.dsn) as connection:
        thermal = build_views(ViewSettings(places.topics), ["thermal"])["thermal"]
        async with connection.transaction():
            await generation.create(connection, thermal, state="kept")
        numbers = await generations(connection)
        cursor = await connection.execute(
            "SELECT table_schema || '.' || table_name FROM information_schema.tables "
            "WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')"
        )
        tables = {row[0] for row in await cursor.fetchall()}
    assert ("thermal", 2) in numbers
    stores = table_stores(numbers)
    known = {place for store in stores for place in store.places} - {ALL_TABLES}
    assert {"thermal_g2.memory_mention", "public.emberlog_decider_entry"} <= tables
    assert tables - known == set()
    assert known - tables == set()


def test_every_view_is_in_the_registry_and_no_other() -> None:
    stores = table_stores([(view, 1) for view in REGISTRY])
    of_views = {store.name for store in stores if any(place.partition(".")[0].endswith("_g1") for place in store.places)}
    assert of_views == set(REGISTRY)


async def test_a_table_that_nobody_registered_belongs_to_the_store_of_other_tables(places: Places) -> None:
    async with await psycopg.AsyncConnection.connect(places.dsn, autocommit=True) as connection:
        await connection.execute("CREATE TABLE public.somebodys_notes (note text)")
        found = await tables_of(connection, table_stores(await generations(connection)))
    assert found["other tables"] == [("public", "somebodys_notes")]


@pytest.mark.parametrize(
    ("path", "store"),
    [
        ("keys/master.key", "keys"),
        ("logs/worker.log", "logs"),
        ("kafka/broker.log", "services' logs"),
        ("kafka/broker.log.1", "services' logs"),
        ("postgres.log", "services' logs"),
        ("kafka/log/conversation.inbox.v1-0/00000000000000000000.log", "broker's files"),
        ("postgres/cluster/base/5/2619", "database's files"),
        ("postgres/cluster/pg_wal/000000010000000000000001", "write-ahead log"),
        ("capture/interactions.sqlite", "capture file"),
        ("redis.log", "services' logs"),
        ("redis/appendonly.aof", "working set's files"),
        ("redis/appendonlydir/appendonly.aof.1.incr.aof", "working set's files"),
        ("services.json", "other files"),
        ("faust/decide/x", "other files"),
    ],
)
def test_every_file_of_the_data_folder_has_one_store(path: str, store: str) -> None:
    assert store_of(PurePosixPath(path)).name == store


def test_names_of_stores_are_unique_and_only_key_files_are_not_read() -> None:
    stores = [*topic_stores(Topics()), *table_stores([], key_store=True), *key_value_stores(Topics()), *file_stores()]
    assert len({store.name for store in stores}) == len(stores)
    assert [store.name for store in stores if store.kind is Kind.UNREAD] == ["keys"]
    assert all(isinstance(store.forgets, Forgets) and store.holds for store in stores)
