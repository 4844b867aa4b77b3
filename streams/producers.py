"""Producers for those outside the line: turns into the inbox, requests into the command topic."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from msgspec.structs import replace

from schemas import codec, envelope
from schemas.ids import part_id
from schemas.slices import MAX_EVENTS
from schemas.topics import Topics, partition_of
from schemas.types import Command, CommandMeta, Forget, InboxTurn, ParkedResolved, ParkedRetryRequested
from streams import kafka

SOURCE = "emberlog/producer"
OPERATOR = "operator"
"""Actor of what is asked for on the command line."""


class _Producer:
    def __init__(self, bootstrap: str, topics: Topics) -> None:
        self._bootstrap, self._topics = bootstrap, topics
        self._producer: AIOKafkaProducer = kafka.producer(bootstrap, "producer")

    async def __aenter__(self) -> Self:
        try:
            await self._producer.start()
        except BaseException:
            await self._producer.stop()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._producer.stop()


class InboxProducer(_Producer):
    """Publishes turns to the inbox, in Avro. Use as an async context manager."""

    async def publish(self, turn: InboxTurn) -> tuple[int, int]:
        """Publish one turn; its partition and offset in the inbox. Turns of one owner keep their order."""
        now = datetime.now(UTC)
        headers = envelope.headers_for(turn, id=turn.id or uuid.uuid4().hex, source=SOURCE, subject=None, time=now)
        sent = await self._producer.send_and_wait(
            self._topics.inbox, codec.encode(turn), key=turn.owner.encode(), headers=headers
        )
        return sent.partition, sent.offset


def forget_commands(
    meta: CommandMeta, memory_ids: Iterable[str], conversation_end: int, *, include_source: bool = False
) -> list[Forget]:
    """One request to forget as commands, each of which leads to no more events than a slice holds; to be sent in this order.

    ``meta`` is that of the request: one receipt is issued for it.
    """
    wanted = tuple(memory_ids)
    parts = [wanted[at : at + MAX_EVENTS] for at in range(0, len(wanted), MAX_EVENTS)] or [()]
    return [
        Forget(replace(meta, command_id=part_id(meta.command_id, number, len(parts))), part, conversation_end, include_source)
        for number, part in enumerate(parts, 1)
    ]


class CommandProducer(_Producer):
    """Publishes requests to change memory. Use as an async context manager."""

    async def send(self, command: Command) -> int:
        """Publish a command; its offset in its owner's partition, which its events name as their cause."""
        meta = command.meta
        headers = envelope.headers_for(command, id=meta.command_id, source=SOURCE, subject=meta.owner, time=meta.occurred_at)
        sent = await self._producer.send_and_wait(
            self._topics.commands,
            codec.encode(command),
            key=meta.owner.encode(),
            partition=partition_of(meta.owner, self._topics.partitions),
            headers=headers,
        )
        return int(sent.offset)

    async def forget(self, owner: str, memory_ids: Iterable[str]) -> list[Forget]:
        """Ask to forget memories of an owner (reference); the commands that carry it out, in their order.

        The end offset of the owner's conversation partition is read first: turns from then on may teach a fact anew.
        """
        commands = forget_commands(request_meta(owner), memory_ids, await self.conversation_end(owner))
        for command in commands:
            await self.send(command)
        return commands

    async def conversation_end(self, owner: str) -> int:
        """End offset of the owner's partition of conversation.events."""
        partition = partition_of(owner, self._topics.partitions)
        consumer: AIOKafkaConsumer = kafka.reader(self._bootstrap, "producer")
        await consumer.start()
        try:
            return await kafka.end_offset(consumer, TopicPartition(self._topics.conversation, partition))
        finally:
            await consumer.stop()

    async def retry_parked(self, parked: Iterable[tuple[str, str | None]]) -> None:
        """Ask for parked work (parked id, owner reference or None) to be tried again."""
        for parked_id, owner in parked:
            await self._to_lot(ParkedRetryRequested(parked_id, owner, datetime.now(UTC)))

    async def drop_parked(self, parked: Iterable[tuple[str, str | None]]) -> None:
        """Give parked work up for good."""
        for parked_id, owner in parked:
            await self._to_lot(ParkedResolved(parked_id, owner, "dropped", datetime.now(UTC)))

    async def _to_lot(self, record: ParkedRetryRequested | ParkedResolved) -> None:
        headers = envelope.headers_for(record, id=uuid.uuid4().hex, source=SOURCE, subject=record.owner, time=datetime.now(UTC))
        key = record.owner or record.parked_id
        await self._producer.send_and_wait(
            self._topics.parked,
            codec.encode(record),
            key=key.encode(),
            partition=partition_of(key, self._topics.partitions),
            headers=headers,
        )


def request_meta(owner: str, actor: str = OPERATOR) -> CommandMeta:
    """Metadata of a new request about an owner (reference), asked for now."""
    return CommandMeta(command_id=str(uuid.uuid4()), owner=owner, occurred_at=datetime.now(UTC), actor=actor)
