"""Questions to a broker, asked with a real client, from code that may or may not be inside an event loop."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

# A broker that is starting or down is what these checks are about: the client's own complaints say nothing new.
CHECK_THREAD = "emberlog-kafka-check"
for _name in ("aiokafka", "aiokafka.client", "aiokafka.conn", "aiokafka.cluster", "aiokafka.consumer.group_coordinator"):
    logging.getLogger(_name).addFilter(lambda record: record.threadName != CHECK_THREAD)


def connects(host: str, port: int) -> bool:
    """Whether something accepts a TCP connection there."""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False


def answers_metadata(bootstrap: str, *, deadline_s: float = 5.0) -> bool:
    """Whether the broker answers a metadata request within `deadline_s` seconds and names a live broker."""
    return _run(lambda: _metadata(bootstrap, deadline_s), deadline_s)


def carries_a_record(bootstrap: str, *, deadline_s: float = 30.0) -> bool:
    """Whether a record can be written to a topic made for it and read back by a consumer group."""
    return _run(lambda: _round_trip(bootstrap), deadline_s)


def _run(question: Callable[[], Coroutine[Any, Any, bool]], deadline_s: float) -> bool:
    """The answer, False when there is none in time; in a loop and thread of its own, as the caller may be in a loop."""
    answers: list[bool] = []

    async def ask() -> bool:
        from aiokafka.errors import KafkaError

        try:
            return await asyncio.wait_for(question(), deadline_s)
        except (KafkaError, OSError, TimeoutError):
            return False

    thread = threading.Thread(target=lambda: answers.append(asyncio.run(ask())), name=CHECK_THREAD)
    thread.start()
    thread.join()
    return bool(answers and answers[0])


async def _metadata(bootstrap: str, deadline_s: float) -> bool:
    from aiokafka.admin import AIOKafkaAdminClient

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=max(100, int(deadline_s * 1000)))
    try:
        await admin.start()
        described = await admin.describe_cluster()
        return bool(described["brokers"])  # a broker that still waits to be admitted is not in the list
    finally:
        await admin.close()


async def _round_trip(bootstrap: str) -> bool:
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    topic = f"emberlog-check-{uuid.uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
        await producer.start()
        try:
            await producer.send_and_wait(topic, b"value", key=b"key", headers=[("header", b"h")])
        finally:
            await producer.stop()
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=bootstrap, group_id=topic, auto_offset_reset="earliest", enable_auto_commit=False
        )
        await consumer.start()
        try:
            record = await consumer.getone()
            await consumer.commit()
            return bool(record.value == b"value")
        finally:
            await consumer.stop()
            await admin.delete_topics([topic])
    finally:
        await admin.close()
