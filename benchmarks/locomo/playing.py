"""Playing LoCoMo through the line: every turn with its own date into the inbox, and waiting until all of it can be recalled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.harness import Failed, Progress
from benchmarks.line import Line
from benchmarks.owners import make_known
from ops.standin.locomo import LocomoConversation
from schemas import codec, envelope
from schemas.owner import Owner
from schemas.slices import SliceAssembler
from schemas.topics import Topics
from schemas.types import InboxMessage, InboxTurn, WorkParked
from streams import kafka
from streams.producers import InboxProducer

STALLED_S = 60.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Played:
    """What came of it. ``seconds`` is from the first turn published to the last memory recallable."""

    turns: int
    memories: int
    seconds: float


def owner_of(conversation: str) -> Owner:
    """The owner of a conversation."""
    return Owner.parse(f"locomo/shared/{conversation}")


def inbox_turns(conversation: LocomoConversation) -> list[InboxTurn]:
    """A conversation's turns in order; a message's id is its turn's in the set (dia_id), one session of ours each session."""
    first_speaker = conversation.speakers[0]
    return [
        InboxTurn(
            owner=str(owner_of(conversation.conversation)),
            session_id=f"session-{session.number}",
            id=f"{conversation.conversation}/{turn.dia_id}",
            occurred_at=turn.at,
            messages=(
                InboxMessage(
                    role="user" if turn.speaker == first_speaker else "assistant",
                    content=turn.text,
                    id=turn.dia_id,
                    name=turn.speaker,
                    image_caption=turn.image_caption,
                    sent_at=turn.at,
                ),
            ),
        )
        for session in conversation.sessions
        for turn in session.turns
    ]


async def play(line: Line, conversations: Sequence[LocomoConversation], progress: Progress) -> Played:
    """Publish everything, wait until it is recallable. Raises Failed where work was parked or nothing moves any more."""
    lists = [inbox_turns(conversation) for conversation in conversations]
    total = sum(map(len, lists))
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        group.create_task(_publish(line, lists))
        with progress.bar("turns decided", total) as show:
            await _until_decided(line, total, show)
    memories = await _until_recallable(line, progress)
    return Played(total, memories, time.monotonic() - began)


async def _publish(line: Line, lists: Sequence[Sequence[InboxTurn]]) -> None:
    await make_known(line.settings, line.dsn, {turn.owner for turns in lists for turn in turns})
    async with InboxProducer(line.bootstrap, line.topics) as producer:

        async def one_by_one(turns: Sequence[InboxTurn]) -> None:
            for turn in turns:
                await producer.publish(turn)

        await asyncio.gather(*map(one_by_one, lists))


async def _until_decided(line: Line, total: int, show: Callable[[int], None]) -> None:
    """Read the log until every turn has left an event."""
    topics = line.topics
    assemblers = [SliceAssembler() for _ in range(topics.partitions)]
    turns: set[str] = set()
    last = time.monotonic()
    consumer = kafka.reader(line.bootstrap, "benchmark")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(t, p) for t in (topics.events, topics.parked) for p in range(topics.partitions)])
        while len(turns) < total:
            before = len(turns)
            for tp, messages in (await consumer.getmany(timeout_ms=500)).items():
                for message in messages:
                    if tp.topic == topics.parked:
                        _must_not_be_parked(message.value)
                    else:
                        turns.update(_turns(assemblers[tp.partition], message))
            show(len(turns))
            last = time.monotonic() if len(turns) > before else last
            if time.monotonic() - last > STALLED_S:
                raise Failed(f"{len(turns)} of {total} turns were decided, then nothing for {STALLED_S:.0f} s")
    finally:
        await consumer.stop()


def _turns(assembler: SliceAssembler, message: Any) -> set[str]:
    done = assembler.feed(message.offset, envelope.as_map(message.headers), message.value)
    sources = (getattr(event, "source", None) for event in done.events) if done is not None else ()
    return {source.turn_id for source in sources if source is not None}


def _must_not_be_parked(value: bytes | None) -> None:
    record = codec.decode(value or b"")
    if isinstance(record, WorkParked):
        raise Failed(f"work was parked at stage {record.stage}: {record.reason}")


async def _until_recallable(line: Line, progress: Progress) -> int:
    """Wait until the archive has read the whole log and every memory has its vector; the number of memories."""
    progress.say("waiting for the archive and the vectors")
    ends = await _event_ends(line.bootstrap, line.topics)
    deadline = time.monotonic() + STALLED_S
    async with await psycopg.AsyncConnection.connect(line.dsn, autocommit=True) as conn:
        while True:
            positions = await _rows(conn, "SELECT topic, partition, next_offset FROM emberlog_thermal_checkpoint")
            read = {(topic, partition): offset for topic, partition, offset in positions}
            counts = await _rows(
                conn,
                "SELECT count(*), count(*) FILTER (WHERE NOT EXISTS (SELECT 1 FROM memory_embedding e WHERE e.trace_id = a.id))"
                " FROM thermal_memory_archive a",
            )
            memories, without_vector = counts[0]
            if all(read.get(place, 0) >= end for place, end in ends.items()) and not without_vector:
                return int(memories)
            if time.monotonic() > deadline:
                raise Failed(f"the archive or the vectors did not arrive: {without_vector} of {memories} lack one")
            await asyncio.sleep(POLL_S)


async def _rows(conn: psycopg.AsyncConnection[Any], statement: LiteralString) -> list[tuple[Any, ...]]:
    return await (await conn.execute(statement)).fetchall()


async def _event_ends(bootstrap: str, topics: Topics) -> dict[tuple[str, int], int]:
    consumer: AIOKafkaConsumer = kafka.reader(bootstrap, "benchmark")
    await consumer.start()
    try:
        ends = await consumer.end_offsets([TopicPartition(topics.events, p) for p in range(topics.partitions)])
    finally:
        await consumer.stop()
    return {(tp.topic, tp.partition): int(end) for tp, end in ends.items()}
