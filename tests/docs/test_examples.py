"""The examples of the README, run as they stand, against a real broker."""

from __future__ import annotations

import ast
import asyncio
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from confluent_kafka import Producer

from benchmarks.owners import fixed_reference
from ops.keyring import Keyring
from ops.keys.database import KeyDatabase
from ops.keys.master import LocalMasterKey, Masters
from ops.local.addresses import ServiceAddresses
from schemas import codec
from schemas.asyncapi import document
from schemas.ids import memory_id
from schemas.owner import Owner
from schemas.sealing import seal
from schemas.topics import Topics, partition_of
from schemas.types import ConversationTurn
from streams.agents.admit import InboxPosition, admit
from streams.protocol import batch
from streams.protocol.partition import Append
from streams.setup import create_topics
from tests.docs.log import added, appender, reheated
from tests.docs.readme import CLIENTS, EXAMPLE, filled

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
DEADLINE_S = 60.0

ALICE, BOB = fixed_reference("alice"), fixed_reference("bob")


@pytest.fixture
async def topics(services: ServiceAddresses, topic_prefix: str) -> Topics:
    found = Topics(partitions=2, prefix=topic_prefix)
    await create_topics(services.kafka_bootstrap, found)
    return found


@contextmanager
def running(*command: str) -> Iterator[Queue[str]]:
    """A program of the examples; its lines. Ended by its process id."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)
    lines: Queue[str] = Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line.rstrip("\n"))

    reader = Thread(target=read, daemon=True)
    reader.start()
    try:
        yield lines
    finally:
        process.send_signal(signal.SIGINT)  # as a person ends it: it leaves its group, so the next one need not wait
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(10)
        assert process.stdout is not None
        process.stdout.close()


async def take(lines: Queue[str], count: int) -> list[str]:
    """The next ``count`` lines; fewer when the deadline comes first."""
    found: list[str] = []
    deadline = time.monotonic() + DEADLINE_S
    while len(found) < count and time.monotonic() < deadline:
        with suppress(Empty):
            found.append(await asyncio.to_thread(lines.get, True, 0.5))
    return found


async def test_the_consumer_example_prints_every_accepted_event_once_and_no_repetition(
    services: ServiceAddresses, topics: Topics
) -> None:
    cat, lake = added(ALICE, 1, "Alice has a cat called Miso"), added(ALICE, 2, "Alice swims in the lake")
    tea = added(BOB, 1, "Bob prefers tea")
    async with appender(services.kafka_bootstrap, topics) as log:
        await log.append([cat, lake])
        await log.append([tea])
        await log.append([cat])  # a zombie begins again, in smaller slices
        await log.append([lake, added(ALICE, 3, "of another version")])  # and another in a longer one, which is dropped whole
        await log.append([reheated(ALICE, 3)])
        await log.append([reheated(BOB, 2), reheated(BOB, 3)])
        await log.append([reheated(BOB, 3)])
        await log.append([added(ALICE, 4, "the last word")])
        await log.append([added(BOB, 4, "the last word")])
    with running(sys.executable, str(EXAMPLES / "consumer.py"), services.kafka_bootstrap, topics.events) as lines:
        printed = await take(lines, 8)
    by_owner = {owner: [line for line in printed if f" {owner} " in line] for owner in (ALICE, BOB)}
    assert by_owner[ALICE] == [
        f"emberlog.MemoryAdded.v1 {ALICE} 1 {memory_id(ALICE, 1, 0)}",
        f"emberlog.MemoryAdded.v1 {ALICE} 2 {memory_id(ALICE, 2, 0)}",
        f"emberlog.MemoryReheated.v1 {ALICE} 3 {memory_id(ALICE, 1, 0)}",
        f"emberlog.MemoryAdded.v1 {ALICE} 4 {memory_id(ALICE, 4, 0)}",
    ]
    assert by_owner[BOB] == [
        f"emberlog.MemoryAdded.v1 {BOB} 1 {memory_id(BOB, 1, 0)}",
        f"emberlog.MemoryReheated.v1 {BOB} 2 {memory_id(BOB, 1, 0)}",
        f"emberlog.MemoryReheated.v1 {BOB} 3 {memory_id(BOB, 1, 0)}",
        f"emberlog.MemoryAdded.v1 {BOB} 4 {memory_id(BOB, 4, 0)}",
    ]


async def test_the_consumer_example_stops_at_a_gap_and_says_so(services: ServiceAddresses, topics: Topics) -> None:
    async with appender(services.kafka_bootstrap, topics) as log:
        await log.append([added(ALICE, 1, "one")])
        await log.append([added(ALICE, 3, "three")])
    with running(sys.executable, str(EXAMPLES / "consumer.py"), services.kafka_bootstrap, topics.events) as lines:
        printed = await take(lines, 2)
    assert printed[0] == f"emberlog.MemoryAdded.v1 {ALICE} 1 {memory_id(ALICE, 1, 0)}"
    assert printed[1] == f"{ALICE}: 3 came where 2 was due; this never happens, so stop and look"


async def test_the_consumer_example_reads_sealed_records_without_a_key(
    services: ServiceAddresses, topics: Topics, fresh_database: str
) -> None:
    async with KeyDatabase(fresh_database, Masters(LocalMasterKey(bytes(32))), connections=1) as database:
        await database.prepare()
        ring = Keyring(database)
        alice = await ring.directory.reference_of(Owner.parse("alice"))
        sealed = await seal(ring.keys, added(alice, 1, "Alice has a cat"))
    assert sealed.content.cipher == "aes-256-siv"
    assert b"cat" not in sealed.content.data
    async with appender(services.kafka_bootstrap, topics) as log:
        await log.append([sealed, added(alice, 2, "two")])
    with running(sys.executable, str(EXAMPLES / "consumer.py"), services.kafka_bootstrap, topics.events) as lines:
        printed = await take(lines, 2)
    assert printed == [f"emberlog.MemoryAdded.v1 {alice} {n} {memory_id(alice, n, 0)}" for n in (1, 2)]


def test_the_consumer_example_is_short_and_needs_nothing_of_ours() -> None:
    code = (EXAMPLES / "consumer.py").read_text(encoding="utf-8")
    assert len(code.splitlines()) < 30
    imported = {
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported == {"io", "sys", "pathlib", "confluent_kafka", "fastavro"}


def test_the_page_for_clients_shows_the_examples_that_are_run_here() -> None:
    text = CLIENTS.read_text(encoding="utf-8")
    assert set(EXAMPLE.findall(text)) == {"docs/examples/consumer.py", "docs/examples/publish.sh"}
    assert text == filled(text), "run: .venv/bin/python -m tests.docs.readme"


async def admitted(services: ServiceAddresses, topics: Topics) -> list[tuple[bytes, ConversationTurn]]:
    """Keys and turns in the inbox, read and checked by the admission itself."""
    tps = [TopicPartition(topics.inbox, p) for p in range(topics.partitions)]
    found: list[tuple[bytes, ConversationTurn]] = []
    async with AIOKafkaConsumer(bootstrap_servers=services.kafka_bootstrap, auto_offset_reset="earliest") as consumer:
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        for tp in tps:
            consumer.seek(tp, 0)
            while await consumer.position(tp) < ends[tp]:
                record = await consumer.getone(tp)
                at = InboxPosition(
                    topics.inbox, tp.partition, record.offset, datetime.fromtimestamp(record.timestamp / 1000, UTC)
                )
                admitted = admit(record.value, at, datetime.now(UTC))
                found.append((record.key, admitted.turn(fixed_reference(admitted.owner))))
    return found


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("example", ["producer.py", "producer_confluent.py"])
async def test_a_producer_example_publishes_a_turn_that_is_admitted(
    example: str, services: ServiceAddresses, topics: Topics
) -> None:
    await asyncio.to_thread(run, sys.executable, str(EXAMPLES / example), services.kafka_bootstrap, topics.inbox)
    ((key, turn),) = await admitted(services, topics)
    assert key == b"default/user/u-1"
    assert turn.owner == fixed_reference("default/user/u-1")
    assert turn.session_id.text == "chat-7"
    assert turn.messages[0].role == "user"
    assert abs(turn.occurred_at - datetime.now(UTC)) < timedelta(minutes=5)


async def test_the_same_turn_published_twice_by_the_producer_example_is_one_turn(
    services: ServiceAddresses, topics: Topics
) -> None:
    for _ in range(2):
        await asyncio.to_thread(run, sys.executable, str(EXAMPLES / "producer.py"), services.kafka_bootstrap, topics.inbox)
    found = await admitted(services, topics)
    assert len(found) == 2
    assert len({turn.turn_id for _, turn in found}) == 1


async def test_the_partitioner_that_librdkafka_must_be_given_is_the_one_of_the_topics(
    services: ServiceAddresses, topics: Topics
) -> None:
    owners = [fixed_reference(f"u-{n}") for n in range(20)]

    def partitions(**settings: str) -> list[int]:
        found: dict[str, int] = {}

        def delivered(error: object, record: Any) -> None:
            assert error is None
            found[record.key().decode()] = record.partition()

        producer = Producer({"bootstrap.servers": services.kafka_bootstrap, **settings})
        for owner in owners:
            producer.produce(topics.inbox, key=owner, value=b"", on_delivery=delivered)
        assert producer.flush(30) == 0
        return [found[owner] for owner in owners]

    right = [partition_of(owner, topics.partitions) for owner in owners]
    assert await asyncio.to_thread(partitions, partitioner="murmur2_random") == right
    assert await asyncio.to_thread(partitions) != right, "librdkafka's own default"


async def test_the_decider_writes_the_headers_that_asyncapi_describes(services: ServiceAddresses, topics: Topics) -> None:
    event = added(ALICE, 1, "Alice has a cat")
    slice_ = Append(append_id="a-1", owner=ALICE, first=1, commands=(1,), events=(event,), values=(codec.encode(event),))
    async with AIOKafkaProducer(bootstrap_servers=services.kafka_bootstrap, acks="all") as producer:
        await batch.append(producer, topics.events, partition_of(ALICE, topics.partitions), [batch.records_of(slice_)])
    async with AIOKafkaConsumer(
        topics.events, bootstrap_servers=services.kafka_bootstrap, auto_offset_reset="earliest"
    ) as reader:
        record = await asyncio.wait_for(reader.getone(), DEADLINE_S)
    described = document()["components"]["messageTraits"]["event"]["headers"]
    assert {name for name, _ in record.headers} == set(described["required"])


async def test_the_turn_that_asyncapi_shows_is_admitted(services: ServiceAddresses, topics: Topics) -> None:
    (example,) = document()["components"]["messages"]["InboxTurnJson"]["examples"]
    async with AIOKafkaProducer(bootstrap_servers=services.kafka_bootstrap) as producer:
        await producer.send_and_wait(topics.inbox, json.dumps(example["payload"]).encode())
    ((_, turn),) = await admitted(services, topics)
    assert turn.messages[0].content.text == "I am allergic to walnuts."


async def test_the_kcat_line_publishes_a_turn_that_is_admitted(services: ServiceAddresses, topics: Topics) -> None:
    if shutil.which("kcat") is None:
        pytest.skip("kcat is not installed")
    line = (EXAMPLES / "publish.sh").read_text(encoding="utf-8")
    assert "localhost:9092" in line
    assert "conversation.inbox.v1" in line
    line = line.replace("localhost:9092", services.kafka_bootstrap).replace("conversation.inbox.v1", topics.inbox)
    await asyncio.to_thread(run, "bash", "-euo", "pipefail", "-c", line)
    ((key, turn),) = await admitted(services, topics)
    assert key == b"default/user/u-1"
    assert turn.owner == fixed_reference("u-1")
    assert turn.messages[0].content.text == "I am allergic to walnuts."
