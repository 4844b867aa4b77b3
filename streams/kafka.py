"""Our own Kafka clients beside Faust's: settings in one place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from schemas.envelope import Headers
from schemas.topics import partition_of
from streams.failures import Away, Refused

T = TypeVar("T")

MAX_BATCH_BYTES = 1_000_000
MAX_REQUEST_BYTES = 1_040_000
REQUEST_TIMEOUT_MS = 15_000
FETCH_WAIT_MS = 200
METADATA_MAX_AGE_MS = 30_000

OUTAGE_ERRORS: tuple[type[BaseException], ...] = (KafkaError, ConnectionError, TimeoutError)


def producer(bootstrap: str, client: str) -> AIOKafkaProducer:
    """An idempotent producer with acks=all. ``client`` names the component in the broker's logs."""
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        client_id=f"emberlog-{client}",
        acks="all",
        enable_idempotence=True,
        max_batch_size=MAX_BATCH_BYTES,
        max_request_size=MAX_REQUEST_BYTES,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        metadata_max_age_ms=METADATA_MAX_AGE_MS,
        linger_ms=0,
    )


def reader(bootstrap: str, client: str) -> AIOKafkaConsumer:
    """A consumer without a group: partitions by ``assign``, positions by ``seek``, nothing committed."""
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        client_id=f"emberlog-{client}",
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=FETCH_WAIT_MS,
        fetch_max_bytes=8_388_608,
        max_partition_fetch_bytes=2_097_152,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        metadata_max_age_ms=METADATA_MAX_AGE_MS,
    )


async def end_offset(consumer: AIOKafkaConsumer, tp: TopicPartition) -> int:
    """High watermark of ``tp``: the offset behind its last record."""
    ends: dict[TopicPartition, int] = await consumer.end_offsets([tp])
    return ends[tp]


async def send_to_owner(
    producer: AIOKafkaProducer,
    topic: str,
    partitions: int,
    owner: str,
    value: bytes | None,
    headers: Headers,
    *,
    key: bytes | None = None,
) -> int:
    """Write one record to the partition of ``owner`` (reference); its offset. ``key`` is the owner where none is given.

    Raises Away while the broker is, Refused for a record that is too large for it.
    """
    try:
        sent = await producer.send_and_wait(
            topic,
            value,
            key=owner.encode() if key is None else key,
            partition=partition_of(owner, partitions),
            headers=headers,
        )
    except MessageSizeTooLargeError:
        raise Refused(f"what came of it exceeds {MAX_REQUEST_BYTES} bytes") from None
    except OUTAGE_ERRORS as error:
        raise Away(f"the broker is away ({type(error).__name__})") from None
    return int(sent.offset)


async def until_done(work: Callable[[], Awaitable[T]], on_outage: Callable[[BaseException], None]) -> T:
    """Run ``work`` until it succeeds, with pauses growing from 0.2 s to 5 s; an outage pauses, it never fails.

    What is no outage is raised; so is MessageSizeTooLargeError, as no waiting helps against it.
    """
    pause = 0.2
    while True:
        try:
            return await work()
        except MessageSizeTooLargeError:
            raise
        except OUTAGE_ERRORS as error:
            on_outage(error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)


def is_cancelled() -> bool:
    """Whether the running task itself was cancelled, told apart from a CancelledError that a client lets out of its own tasks."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
