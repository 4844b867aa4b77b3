"""What is planted in any kind of place is found there; what is nowhere is found nowhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import psycopg
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer
from redis.asyncio import Redis

from ops.forgetting.files import PORTION
from ops.forgetting.findings import KEPT
from ops.forgetting.proof import Proof, prove
from ops.forgetting.stores import Kind, Places
from ops.local.redis import EmbeddedRedis
from projections import generation
from projections.view import ViewSettings
from projections.views import build_views
from projections.working_set import prefix_of
from schemas.owner import Owner
from schemas.sealed import Sealed
from schemas.sealing import seal
from schemas.types import Remember, ThermalPolicy
from streams.producers import CommandProducer, request_meta
from tests.keys.memory import MemoryKeys
from tests.services import temporary_data_dir

ABSENT = "Zebedee keeps no lighthouse at all"
MEMORY = UUID(int=7)
MENTION = (
    "INSERT INTO {schema}.memory_mention (memory_id, sequence, owner, turn_id, session_id, message_ids, "
    "producer_message_ids, occurred_at, partition, event_offset, cause, source_offset) "
    "VALUES (%s, 3, gen_random_uuid(), 't', %s, '{{}}', %s, now(), 0, 0, 0, 0)"
)
REMEMBERED = (
    "INSERT INTO brain_g1.user_brain (memory_id, slug, content, extra_metadata, created_at, updated_at, owner, tenant, user_id) "
    "VALUES (%s, %s, %s, '{}', now(), now(), gen_random_uuid(), 'default', %s)"
)
PARKED = (
    'INSERT INTO parked_g1.parked_work (parked_id, stage, topic, partition, "offset", reason, attempts, parked_at, size, key, '
    "value, headers) VALUES (%s, 'admit', 't', 0, 0, 'r', 1, now(), 1, %s, %s, %s)"
)


class Markers:
    """Texts to plant, each unlike the others; ``expected`` says in which store and place each is to be found."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.expected: list[tuple[str, str, str]] = []

    def new(self, store: str, place: str, form: str = "utf-8") -> str:
        text = f'Señor "Marker {chr(65 + len(self.texts))}{len(self.texts):03}" hides'
        self.texts.append(text)
        self.expected.append((store, place, form))
        return text


async def in_tables(places: Places, new: Markers) -> None:
    prefix = f"memory_id={MEMORY} sequence=3"
    async with await generation.connect(places.dsn) as connection:
        async with connection.transaction():
            await generation.create(connection, build_views(ViewSettings(places.topics), ["thermal"])["thermal"], "kept")
        text = new.new("thermal", f"thermal_g1.memory_mention.session_id {prefix}")
        array = new.new("thermal", f"thermal_g1.memory_mention.producer_message_ids {prefix}", "json")
        await connection.execute(MENTION.format(schema="thermal_g1"), (MEMORY, text.upper(), ["other", array]))
        kept = new.new("thermal", f"thermal_g2.memory_mention.session_id {prefix}")
        await connection.execute(MENTION.format(schema="thermal_g2"), (MEMORY, kept, []))
        row = f"parked_id={MEMORY}"
        key = new.new("parked", f"parked_g1.parked_work.key {row} byte 2")
        value = new.new("parked", f"parked_g1.parked_work.value {row} byte 0", "utf-16")
        header = new.new("parked", f"parked_g1.parked_work.headers {row}", "json")
        encoded = new.new("parked", f"parked_g1.parked_work.headers {row}", "base64")
        headers = json.dumps({"a": header, "b": base64.b64encode(b"-" + encoded.encode()).decode()})
        await connection.execute(PARKED, (MEMORY, b"\0\xff" + key.encode(), value.encode("utf-16-le"), headers))
        words = [new.new("brain", f"brain_g1.user_brain.{name} memory_id={MEMORY}") for name in ("slug", "content", "user_id")]
        await connection.execute(REMEMBERED, (MEMORY, *words))
        entry = new.new("decider", f"public.emberlog_decider_entry.value owner={MEMORY} byte 3")
        await connection.execute(
            "INSERT INTO emberlog_decider_entry VALUES ('t', %s, '', 0, %s)", (MEMORY, b"\x80\x00\x01" + entry.encode())
        )
        note = new.new("other tables", "public.notes.note row=(0,1)")
        await connection.execute("CREATE TABLE public.notes (note text PRIMARY KEY)")
        await connection.execute("INSERT INTO public.notes VALUES (%s)", (note,))
        sampled = new.new("planner statistics", "public.gone.note", "json")
        await connection.execute("CREATE TABLE public.gone (note text) WITH (autovacuum_enabled = false)")
        await connection.execute("INSERT INTO public.gone SELECT %s FROM generate_series(1, 9)", (sampled,))
        await connection.execute("ANALYZE public.gone")
        await connection.execute("DELETE FROM public.gone")


async def in_topics(places: Places, new: Markers) -> None:
    topics = places.topics

    def at(topic: str, rest: str) -> tuple[str, str]:
        return topic.removeprefix(topics.prefix), f"{topic} 1@0 {rest}"

    key, value = new.new(*at(topics.inbox, "key")), new.new(*at(topics.inbox, "value byte 4"))
    header, name = new.new(*at(topics.inbox, "header 2")), new.new(*at(topics.inbox, "name of header 3"))
    squeezed, compacted = new.new(*at(topics.events, "value byte 9000")), new.new(*at(topics.embeddings, "key"))
    async with AIOKafkaProducer(bootstrap_servers=places.bootstrap) as producer:
        headers = [("a", b"b"), ("c", header.encode()), (name, b"")]
        await producer.send_and_wait(topics.inbox, b"\1\2\3\4" + value.encode(), key.encode(), partition=1, headers=headers)
        await producer.send_and_wait(topics.embeddings, None, compacted.encode(), partition=1)
    async with AIOKafkaProducer(bootstrap_servers=places.bootstrap, compression_type="gzip") as producer:
        await producer.send_and_wait(topics.events, b"x" * 9000 + squeezed.encode(), partition=1)


def in_files(places: Places, new: Markers) -> None:
    def write(inside: str, data: bytes) -> None:
        path = places.data_dir / inside
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    logged = new.new("logs", "logs/worker.log byte 12", "json")
    write("logs/worker.log", b'{"event": "a' + json.dumps(logged)[1:].encode())
    write("kafka/broker.log", b"x" + new.new("services' logs", "kafka/broker.log byte 1").encode())
    split = PORTION - 5
    segment = new.new("broker's files", f"kafka/log/t-0/0.log byte {split}")
    write("kafka/log/t-0/0.log", b"\0" * split + segment.encode() + b"\0" * 100)
    write("elsewhere/base/5", b"\0" + new.new("database's files", "postgres/cluster/base/5 byte 1").encode())
    write("elsewhere/pg_wal/1", new.new("write-ahead log", "postgres/cluster/pg_wal/1 byte 0").encode())
    (places.data_dir / "postgres").mkdir()
    outside = places.data_dir.with_name(places.data_dir.name + "-outside")
    (places.data_dir / "elsewhere").rename(outside)
    (places.data_dir / "postgres" / "cluster").symlink_to(outside)  # as where the database runs as a user of its own
    before = PORTION - 40  # the next portion begins with it once more
    write("faust/x/y.db", b"\1" * before + new.new("other files", f"faust/x/y.db byte {before}").encode() + b"\0" * 100)


def found_by(proof: Proof) -> Iterator[tuple[int, tuple[str, str, str]]]:
    for searched in proof.stores:
        for finding in searched.findings:
            yield finding.needle, (finding.store, finding.place, finding.form)


async def test_a_marker_in_each_kind_of_place_is_found_there_and_nowhere_else(places: Places) -> None:
    markers = Markers()
    await in_tables(places, markers)
    await in_topics(places, markers)
    in_files(places, markers)
    (places.data_dir / "keys" / "audit.key").write_bytes(ABSENT.encode())  # key files hold no text, so they are not read
    said: list[str] = []
    proof = await prove(places, [*markers.texts, ABSENT], lambda store, items: said.append(store))
    expected = dict(enumerate(markers.expected, start=1))
    found = [pair for pair in found_by(proof) if pair[1][0:2] != ("planner statistics", "public.notes.note")]
    assert dict(found) == expected
    assert len(found) == len(expected) == proof.found
    assert not proof.failures
    assert said == [searched.store.name for searched in proof.stores]
    assert not any(text in repr(proof) for text in markers.texts)


async def test_what_is_sealed_on_a_topic_is_found_as_long_as_its_key_is_there(places: Places) -> None:
    keys = MemoryKeys()
    owner = await keys.reference_of(Owner.parse("u-1"))
    request = Remember(request_meta(owner), Sealed.of("u-1"), Sealed.of(ABSENT), "0" * 64, 1.0, ThermalPolicy())
    async with CommandProducer(places.bootstrap, places.topics) as producer:
        await producer.send(await seal(keys, request))
    alive = await prove(replace(places, keys=keys), [ABSENT.upper()])
    assert [pair[1][0::2] for pair in found_by(alive)] == [("memory.commands.v1", "sealed")]
    assert (await prove(places, [ABSENT])).found == 0
    await keys.destroy_owner(owner)
    assert (await prove(replace(places, keys=keys), [ABSENT])).found == 0
    stranger = await prove(replace(places, keys=MemoryKeys()), [ABSENT])
    assert stranger.failures == [f"{places.topics.commands}: KeyLost"]


async def test_what_is_nowhere_is_found_nowhere(places: Places) -> None:
    proof = await prove(places, [ABSENT])
    assert (proof.found, proof.failures) == (0, [])
    assert {s.store.name for s in proof.stores if s.items} >= {"bookkeeping", "thermal", "keys"}


async def test_findings_beyond_the_limit_are_counted_and_not_kept(places: Places) -> None:
    path = places.data_dir / "logs" / "worker.log"
    path.parent.mkdir()
    path.write_text(f"{ABSENT}\n" * (KEPT + 7))
    proof = await prove(places, [ABSENT])
    [logs] = [searched for searched in proof.stores if searched.store.name == "logs"]
    assert (logs.found, len(logs.findings), proof.found) == (KEPT + 7, KEPT, KEPT + 7)


async def test_a_compression_that_cannot_be_read_is_a_failure_and_no_proof(places: Places) -> None:
    producer = Producer({"bootstrap.servers": places.bootstrap, "compression.type": "lz4", "log_level": 0})
    producer.produce(places.topics.inbox, ABSENT.encode() * 100, partition=0)
    assert producer.flush(30) == 0
    proof = await prove(places, [ABSENT])
    assert proof.failures == [f"{places.topics.inbox}: UnsupportedCodecError"]


async def test_the_key_store_is_searched_where_there_is_one(places: Places, fresh_database: str, tmp_path: Path) -> None:
    async with await psycopg.AsyncConnection.connect(fresh_database, autocommit=True) as connection:
        await connection.execute("CREATE SCHEMA keys CREATE TABLE owner (reference uuid PRIMARY KEY, id text)")
        await connection.execute("INSERT INTO keys.owner VALUES (%s, %s)", (MEMORY, ABSENT))
    both = Places(places.bootstrap, places.dsn, places.topics, tmp_path, key_dsn=fresh_database)
    proof = await prove(both, [ABSENT])
    assert (1, ("key store", f"keys.owner.id reference={MEMORY}", "utf-8")) in list(found_by(proof))


async def test_every_kind_of_key_of_the_working_set_is_searched_and_a_redis_that_is_away_is_a_failure(places: Places) -> None:
    folder = temporary_data_dir()
    server = EmbeddedRedis(folder)
    server.start()
    try:
        prefix = prefix_of(places.topics.prefix)
        async with Redis.from_url(server.url) as redis:
            await redis.hset(f"{prefix}hash", mapping={"field": ABSENT, ABSENT: "value"})
            await redis.zadd(f"{prefix}zset", {ABSENT: 1.0})
            await redis.sadd(f"{prefix}set", ABSENT)
            await redis.rpush(f"{prefix}list", "one", ABSENT)
            await redis.set(f"{prefix}string", ABSENT)
            await redis.set(f"{prefix}{ABSENT}", "its name")
            await redis.set("somebody else's", ABSENT)
        proof = await prove(replace(places, redis_url=server.url), [ABSENT])
        [searched] = [it for it in proof.stores if it.store.kind is Kind.KEY_VALUES]
        assert (searched.items, searched.found, searched.failures) == (6, 7, [])
    finally:
        server.stop()
        server.remove()
    proof = await prove(replace(places, redis_url=server.url), [ABSENT])
    assert proof.failures == [f"{prefix}*: ConnectionError"]
