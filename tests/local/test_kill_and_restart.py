"""A broker and a database that are killed come back on the same address with what they had acknowledged."""

from __future__ import annotations

import subprocess

import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from ops.local.kafka import EmbeddedKafka
from ops.local.services import LocalServices

RECORDS = 200


async def produce(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    finally:
        await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        for number in range(RECORDS):
            await producer.send_and_wait(topic, str(number).encode())
    finally:
        await producer.stop()


async def consume(bootstrap: str, topic: str) -> list[int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        numbers: list[int] = []
        end = (await consumer.end_offsets([partition]))[partition]
        while len(numbers) < end:
            numbers += [int(record.value) for record in (await consumer.getmany(timeout_ms=1000)).get(partition, [])]
        return numbers
    finally:
        await consumer.stop()


async def test_a_killed_broker_comes_back_on_its_port_with_every_acknowledged_record(running: LocalServices) -> None:
    bootstrap = running.kafka.bootstrap
    await produce(bootstrap, "kept")
    running.kafka.kill()
    assert not running.kafka.healthy(deadline_s=1.0)
    running.kafka.restart()
    assert running.kafka.bootstrap == bootstrap
    assert await consume(bootstrap, "kept") == list(range(RECORDS))


def test_a_killed_database_comes_back_at_its_dsn_with_every_committed_row(running: LocalServices) -> None:
    dsn = running.postgres.dsn
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS number")
        connection.commit()
        running.postgres.kill()
        assert not running.postgres.healthy()
    running.postgres.restart()
    assert running.postgres.dsn == dsn
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*), sum(number) FROM kept").fetchone() == (1000, 500500)


def test_a_pid_file_that_names_another_live_program_does_not_stop_a_start(running: LocalServices) -> None:
    running.postgres.stop()
    user = running.postgres.home.user
    with subprocess.Popen(
        ["sleep", "600"],
        user=user[0] if user else None,
        cwd="/",
    ) as other:
        try:
            pid_file = running.postgres.home.data / "postmaster.pid"
            pid_file.write_text(f"{other.pid}\n{running.postgres.home.data}\n1\n5432\n\n\n\nready\n")
            running.postgres.start()
            assert running.postgres.healthy()
            assert other.poll() is None
        finally:
            other.kill()


def test_a_broker_takes_another_port_when_its_own_was_taken(running: LocalServices) -> None:
    other = EmbeddedKafka(running.data_dir / "second", port=running.kafka.port)
    try:
        other.start()
        assert other.port != running.kafka.port
        assert other.healthy()
        assert running.kafka.healthy()
    finally:
        other.stop()


def test_the_database_log_holds_no_statement_and_no_value(running: LocalServices) -> None:
    with psycopg.connect(running.postgres.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE secrets (word text PRIMARY KEY)")
        connection.execute("INSERT INTO secrets VALUES ('likes-marzipan')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO secrets VALUES ('likes-marzipan')")
    log = running.postgres.log.read_text()
    assert "duplicate key" in log
    assert "marzipan" not in log
