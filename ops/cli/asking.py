"""Asking for a change of memory: the command goes out, its events are read back, and the views are waited for.

    async with asking(target, owner, timeout_s) as request:
        events = await request.ask(Pin(request.meta(), memory_id))

What a command led to is read from the log by the rule that every reader follows, from the position of the archive on: so a slice
that readers drop is never taken for the answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition

from ops.cli.errors import CliError, TimedOut
from ops.cli.target import Target
from ops.cli.topics import partitions_of, topic_reader
from ops.keyring import Keyring, open_keys
from projections.checkpoint import position_of
from schemas import envelope
from schemas.errors import ContractError
from schemas.owner import Owner
from schemas.sealing import Keys, seal
from schemas.slices import Slice, SliceAssembler, Verdict, verdict
from schemas.topics import partition_of
from schemas.types import Command, CommandMeta, MemoryEvent
from streams.producers import CommandProducer, request_meta

POLL_S = 0.02
VIEWS = ("thermal", "graph")


@dataclass(slots=True)
class Asking:
    """Requests about one owner, by reference; ``deadline`` is on the clock of ``time.monotonic``."""

    target: Target
    reference: str
    producer: CommandProducer
    keys: Keys = field(repr=False)
    deadline: float
    _consumer: AIOKafkaConsumer = field(repr=False)
    _connection: psycopg.AsyncConnection[Any] = field(repr=False)

    @property
    def partition(self) -> int:
        return partition_of(self.reference, self.target.topics.partitions)

    def meta(self) -> CommandMeta:
        """Metadata of a new request about the owner."""
        return request_meta(self.reference)

    async def ask(self, command: Command) -> tuple[MemoryEvent, ...]:
        """The events that the command led to, once archive and graph have taken them in. Raises TimedOut."""
        sealed = await seal(self.keys, command)
        start, last = await self._position()
        cause = await self.producer.send(sealed)
        decided = await self._decided(start, last, cause)
        for view in VIEWS:
            await self._projected(view, decided.end_offset)
        return tuple(event for event in decided.events if event.meta.cause == cause)

    async def _position(self) -> tuple[int, int]:
        """Up to where the archive has read the owner's partition, and the owner's last sequence there; of one moment."""
        cursor = await self._connection.execute(
            "SELECT next_offset, coalesce((SELECT last_sequence FROM emberlog_thermal_owner_position WHERE owner = %s), 0) "
            "FROM emberlog_thermal_checkpoint WHERE topic = %s AND partition = %s",
            (self.reference, self.target.topics.events, self.partition),
        )
        row = await cursor.fetchone()
        return (0, 0) if row is None else (row[0], row[1])

    async def _decided(self, start: int, last: int, cause: int) -> Slice:
        """The accepted slice that holds what the command at offset ``cause`` led to."""
        tp = TopicPartition(self.target.topics.events, self.partition)
        self._consumer.assign([tp])
        self._consumer.seek(tp, start)
        assembler = SliceAssembler()
        while time.monotonic() < self.deadline:
            for record in (await self._consumer.getmany(timeout_ms=50)).get(tp, ()):
                try:
                    whole = assembler.feed(record.offset, envelope.as_map(record.headers), record.value or b"")
                except ContractError:
                    continue
                if whole is None or whole.owner != self.reference:
                    continue
                match verdict(whole.first, last):
                    case Verdict.GAP:
                        raise CliError("the owner's log has a gap: every reader has stopped there", "see: emberlog status")
                    case Verdict.ACCEPT:
                        last = whole.events[-1].meta.sequence
                        if any(event.meta.cause == cause for event in whole.events):
                            return whole
        raise TimedOut("the request is on the log, but nobody has decided it yet", "does a worker run? emberlog status")

    async def _projected(self, view: str, offset: int) -> None:
        while await position_of(self._connection, view, self.target.topics.events, self.partition) < offset:
            if time.monotonic() > self.deadline:
                raise TimedOut(f"decided, but the view {view} has not followed yet", "does a projector run? emberlog status")
            await asyncio.sleep(POLL_S)


@dataclass(slots=True)
class Request(Asking):
    """Requests about an owner whose name is known."""

    owner: Owner


@asynccontextmanager
async def asking_for(target: Target, reference: str, timeout_s: float) -> AsyncIterator[Asking]:
    """Requests about the owner of this ``reference``; all of them together have ``timeout_s``."""
    async with open_keys(target.settings, target.dsn, connections=1) as ring, _asking(target, reference, ring, timeout_s) as it:
        yield it


@asynccontextmanager
async def _asking(target: Target, reference: str, ring: Keyring, timeout_s: float) -> AsyncIterator[Asking]:
    deadline = time.monotonic() + timeout_s
    async with (
        topic_reader(target.bootstrap) as consumer,
        CommandProducer(target.bootstrap, target.topics) as producer,
        await psycopg.AsyncConnection.connect(target.dsn, autocommit=True) as connection,
    ):
        await partitions_of(consumer, target.topics.events, target.topics.partitions)
        yield Asking(target, reference, producer, ring.keys, deadline, consumer, connection)


@asynccontextmanager
async def asking(target: Target, owner: Owner, timeout_s: float) -> AsyncIterator[Request]:
    """Requests about ``owner``'s memories, who becomes known by it; all of them together have ``timeout_s``."""
    async with open_keys(target.settings, target.dsn, connections=1) as ring:
        reference = await ring.directory.reference_of(owner)
        async with _asking(target, reference, ring, timeout_s) as it:
            yield Request(target, reference, it.producer, it.keys, it.deadline, it._consumer, it._connection, owner)
