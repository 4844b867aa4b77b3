"""Another embedder's vectors beside those that are there, made from the log alone, while everything goes on.

    await embed_again(replace(config, agents=..., embedder=new, apart=apart_of(new.name)), progress)
    await vectors_by_model(bootstrap, topics)      # what stands on memory.embeddings
    await drop(bootstrap, topics, old)             # tombstones for another model's vectors

It is the agent ``embed`` with consumer groups of its own: it goes on where it was stopped, and later with what came since.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError

from schemas import envelope
from schemas.topics import Topics
from schemas.types import MessageEmbedding
from streams import kafka
from streams.config import EMBED_MESSAGES, WorkerConfig
from streams.order import committed_offsets
from streams.worker import run_worker

Progress = Callable[[int, int], None]
"""Called with records done and records in all."""

POLL_S, OUTAGE_S = 0.2, 1.0
READ_MS = 500
DROPPED_AT_ONCE = 1_000
_MESSAGE = f"emberlog.{MessageEmbedding.__name__}.".encode()


def apart_of(model: str) -> str:
    """What stands behind the names of consumer groups and stages that embed with ``model``."""
    return f"-again-{hashlib.sha256(model.encode()).hexdigest()[:12]}"


async def embed_again(config: WorkerConfig, progress: Progress = lambda done, total: None) -> int:
    """Embed what stands on the log now with ``config.embedder``; how many records were looked at in this call.

    ``config`` is that of a worker with the agent ``embed`` alone and an ``apart`` of its own. Cancelled or killed, the next call
    goes on from there. Raises WorkerFailed.
    """
    ends = await _ends(config)
    begins = await _committed(config, ends)
    total = sum(end - begins[tp] for tp, end in ends.items())
    if not total:
        return 0
    stop = asyncio.Event()
    worker = asyncio.create_task(run_worker(config, stop))
    watching = asyncio.create_task(_until_done(config, ends, lambda left: progress(total - left, total)))
    try:
        await asyncio.wait([worker, watching], return_when=asyncio.FIRST_COMPLETED)
    finally:
        watching.cancel()
        stop.set()
        await worker
    if not watching.cancelled():
        watching.result()
    return total


async def _until_done(config: WorkerConfig, ends: Mapping[TopicPartition, int], left: Callable[[int], None]) -> None:
    while True:
        try:
            done = await _committed(config, ends)
        except kafka.OUTAGE_ERRORS:
            await asyncio.sleep(OUTAGE_S)  # the worker waits for the broker too
            continue
        missing = sum(max(0, end - done[tp]) for tp, end in ends.items())
        left(missing)
        if not missing:
            return
        await asyncio.sleep(POLL_S)


async def _ends(config: WorkerConfig) -> dict[TopicPartition, int]:
    """Ends of what is embedded, by partition; empty partitions are left out."""
    consumer = kafka.reader(config.bootstrap, "embed-again")
    await consumer.start()
    try:
        wanted = [TopicPartition(topic, p) for topic in _groups(config) for p in range(config.topics.partitions)]
        ends: dict[TopicPartition, int] = await consumer.end_offsets(wanted)
        return {tp: end for tp, end in ends.items() if end}
    finally:
        await consumer.stop()


async def _committed(config: WorkerConfig, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    done: dict[TopicPartition, int] = {}
    for topic, group in _groups(config).items():
        try:
            found = await committed_offsets(config.bootstrap, group, topic)
        except GroupCoordinatorNotAvailableError:  # a broker that never had a consumer group
            found = {}
        done |= {tp: found.get(tp.partition, 0) for tp in ends if tp.topic == topic}
    return done


def _groups(config: WorkerConfig) -> dict[str, str]:
    """The consumer group that reads each topic."""
    groups = {config.topics.events: config.group("embed")}
    if config.embed_messages:
        groups[config.topics.conversation] = config.group(EMBED_MESSAGES)
    return groups


@dataclass(slots=True)
class Counts:
    """Vectors of one model that count, the newest of each memory or message."""

    memories: int = 0
    messages: int = 0


@dataclass(slots=True)
class _Standing:
    """The newest records of memory.embeddings, by key."""

    kinds: dict[bytes, tuple[bool, int, bytes]] = field(default_factory=dict)
    """Whether it is of a message; its partition; its owner."""

    def take(self, record: ConsumerRecord) -> None:
        if record.key is None or record.key.count(b"/") < 2:
            return
        if record.value is None:
            self.kinds.pop(record.key, None)
            return
        headers = envelope.as_map(record.headers)
        is_message = headers.get("ce_type", b"").startswith(_MESSAGE)
        self.kinds[record.key] = (is_message, record.partition, headers.get("ce_subject", b""))


async def vectors_by_model(bootstrap: str, topics: Topics) -> dict[str, Counts]:
    """How many vectors of each model stand on the topic."""
    found: dict[str, Counts] = {}
    for key, (is_message, _, _) in (await _standing(bootstrap, topics)).kinds.items():
        counts = found.setdefault(_model(key), Counts())
        if is_message:
            counts.messages += 1
        else:
            counts.memories += 1
    return dict(sorted(found.items()))


async def drop(bootstrap: str, topics: Topics, model: str, progress: Progress = lambda done, total: None) -> int:
    """Write a tombstone for every vector of ``model``; how many. Repeating it finishes what was cut off."""
    standing = (await _standing(bootstrap, topics)).kinds
    keys = [key for key in standing if _model(key) == model]
    producer = kafka.producer(bootstrap, "embed-again")
    await producer.start()
    try:
        now = datetime.now(UTC).isoformat().encode()
        for at in range(0, len(keys), DROPPED_AT_ONCE):
            sent = []
            for key in keys[at : at + DROPPED_AT_ONCE]:
                _, partition, owner = standing[key]
                headers = [("ce_subject", owner), ("ce_time", now)]
                sent.append(await producer.send(topics.embeddings, None, key=key, partition=partition, headers=headers))
            await asyncio.gather(*sent)  # raises what the broker refused: flushing alone would count it as dropped
            progress(at + len(sent), len(keys))
    finally:
        await producer.stop()
    return len(keys)


def _model(key: bytes) -> str:
    return key.split(b"/", 2)[2].decode(errors="replace")


async def _standing(bootstrap: str, topics: Topics) -> _Standing:
    standing = _Standing()
    async for record in _all(bootstrap, topics.embeddings, topics.partitions):
        standing.take(record)
    return standing


async def _all(bootstrap: str, topic: str, partitions: int) -> AsyncIterator[ConsumerRecord]:
    """Every record that stands on ``topic`` now, in order within a partition."""
    consumer: AIOKafkaConsumer = kafka.reader(bootstrap, "embed-again")
    await consumer.start()
    try:
        tps = [TopicPartition(topic, p) for p in range(partitions)]
        ends = await consumer.end_offsets(tps)
        for tp in tps:
            consumer.assign([tp])
            await consumer.seek_to_beginning(tp)
            # a compacted partition's last records may be gone: the position passes them
            while await consumer.position(tp) < ends[tp]:
                for record in (await consumer.getmany(tp, timeout_ms=READ_MS)).get(tp, ()):
                    yield record
    finally:
        await consumer.stop()
