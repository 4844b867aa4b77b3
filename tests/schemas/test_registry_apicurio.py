"""A real schema registry, a real broker: records in Confluent's framing, from a producer to a consumer who knows nothing else."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
from collections.abc import Iterator
from typing import Any

import fastavro
import httpx
import pytest
from aiokafka import AIOKafkaConsumer

from benchmarks.owners import fixed_reference
from ops.local.addresses import ServiceAddresses
from ops.local.services import LocalServices
from ops.settings import Settings, restore_settings
from ops.wiring import registered_schemas, use_schema_registry
from schemas import codec
from schemas.codec import Codec
from schemas.errors import UnknownSchema
from schemas.registry import RegistryRefused, SchemaRegistry
from schemas.topics import Topics
from schemas.types import RECORDS, InboxMessage, InboxTurn, Pin
from schemas.versions import FILES, SchemaFiles
from streams.producers import CommandProducer, InboxProducer, request_meta
from streams.setup import create_topics
from tests.cli.support import Cli, up
from tests.schemas.apicurio import apicurio
from tests.schemas.made_up import BASE, put, without
from tests.services import temporary_data_dir

pytestmark = pytest.mark.slow

TURN = InboxTurn("default/user/u-1", "s-1", (InboxMessage("user", "I live in Lima."),))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with apicurio(tmp_path_factory.mktemp("apicurio")) as address:
        yield address


@pytest.fixture
def settings(url: str) -> Iterator[Settings]:
    """Settings with the registry; afterwards this process is without one again."""
    yield restore_settings({"EMBERLOG_SCHEMA_REGISTRY_URL": url})
    use_schema_registry(restore_settings({}))


def test_all_types_are_registered_once_and_every_process_gets_the_same_ids(url: str) -> None:
    with SchemaRegistry(url) as one, SchemaRegistry(url) as other:
        ids = one.register_all()
        assert set(ids) == set(FILES.all_versions())
        assert other.register_all() == ids
    subjects = set(httpx.get(f"{url}/subjects", trust_env=False).json())
    assert {f"emberlog.v1.{kind.__name__}" for kind in RECORDS} <= subjects
    with SchemaRegistry(url) as reader:
        assert {reader.fingerprint_of(number) for number in ids.values()} == {FILES.fingerprint(*key) for key in ids}


def test_an_id_that_there_is_not_is_unknown_and_an_address_without_the_api_is_told(url: str) -> None:
    with SchemaRegistry(url) as registry, pytest.raises(UnknownSchema, match="no schema 999999"):
        registry.fingerprint_of(999_999)
    with SchemaRegistry(url.rsplit("/apis", 1)[0]) as wrong, pytest.raises(RegistryRefused, match="no Confluent API"):
        wrong.register_all(["Forget"])


def test_a_registry_that_minds_compatibility_says_so_of_a_version_that_breaks(
    url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("avro")
    put(folder, 1, without("text"), "Strict")
    put(folder, 2, BASE, "Strict")
    with SchemaRegistry(url, SchemaFiles(folder)) as registry:
        registry.id_of("Strict", 1)
        httpx.put(f"{url}/config/made.up.Strict", json={"compatibility": "BACKWARD"}, trust_env=False).raise_for_status()
        with pytest.raises(RegistryRefused, match=r"made\.up\.Strict \(version 2\) incompatible"):
            registry.register_all()


async def test_a_record_goes_from_a_producer_through_the_broker_to_a_consumer_in_confluent_s_framing(
    settings: Settings, url: str, services: ServiceAddresses, topic_prefix: str
) -> None:
    topics = Topics(partitions=1, prefix=topic_prefix)
    await create_topics(services.kafka_bootstrap, topics)
    owner = fixed_reference(TURN.owner)
    pin = Pin(request_meta(owner), "00000000-0000-5000-8000-000000000000")

    async with (
        InboxProducer(services.kafka_bootstrap, topics) as inbox,
        CommandProducer(services.kafka_bootstrap, topics) as commands,
    ):
        await inbox.publish(TURN)  # before there was a registry
        async with registered_schemas(settings):
            await inbox.publish(TURN)
            await commands.send(pin)

    consumer = AIOKafkaConsumer(
        topics.inbox, topics.commands, bootstrap_servers=services.kafka_bootstrap, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        read = [await asyncio.wait_for(consumer.getone(), 30) for _ in range(3)]
    finally:
        await consumer.stop()
    before, after = (m.value for m in sorted((m for m in read if m.topic == topics.inbox), key=lambda m: m.offset))
    command = next(m.value for m in read if m.topic == topics.commands)

    assert before[:2] == codec.MARKER
    assert after[:1] == command[:1] == b"\0"
    with SchemaRegistry(url) as another:
        elsewhere = Codec(ids=another)  # as another process, which has to ask for the ids
        assert elsewhere.decode(before) == elsewhere.decode(after) == TURN
        assert elsewhere.decode(command) == pin
    assert _as_a_foreign_client(url, after)["messages"][0]["content"] == "I live in Lima."
    assert _as_a_foreign_client(url, command)["memory_id"] == pin.memory_id
    with pytest.raises(UnknownSchema, match="EMBERLOG_SCHEMA_REGISTRY_URL"):
        Codec().decode(after)


def test_the_whole_line_works_by_a_registry_and_who_has_none_is_told_what_to_set(url: str) -> None:
    folder = temporary_data_dir()
    folder.mkdir(mode=0o755)
    here = Cli(folder, {"EMBERLOG_SCHEMA_REGISTRY_URL": url})
    try:
        with up(here):
            here.ok("publish", "--owner", "u-1", "--text", "I live in Lima.", "--wait")
            assert "Lima" in here.ok("recall", "where does she live?", "--owner", "u-1").out
            assert [line["type"] for line in here.ok("tail", "events", "--json").lines] == ["MemoryAdded"]
            assert all(report["equal"] for report in here.ok("verify", "--json").json)
            assert "set EMBERLOG_SCHEMA_REGISTRY_URL" in Cli(folder).ok("tail", "events").out
    finally:
        LocalServices(folder / ".emberlog").destroy()
        shutil.rmtree(folder, ignore_errors=True)


def _as_a_foreign_client(url: str, wire: bytes) -> dict[str, Any]:
    """A record read with nothing of ours: the id behind the first byte, the registry's schema, the body."""
    answer = httpx.get(f"{url}/schemas/ids/{int.from_bytes(wire[1:5], 'big')}", trust_env=False).raise_for_status()
    read = fastavro.schemaless_reader(io.BytesIO(wire[5:]), json.loads(answer.json()["schema"]), None)
    assert isinstance(read, dict)
    return read
