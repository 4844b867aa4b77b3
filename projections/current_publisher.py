"""Keeps the topic ``memory.current.v1`` like the table of the view ``current``: a side effect, so no fold does it, and no replay.

    await CurrentPublisher(view, topics, config).run(stop)      # beside the view's runner

What the outbox notes is sent, and leaves it once the broker has acknowledged it: after a kill between both it is sent again,
which changes nothing. A record holds the state of the moment in which it was sent, and one publisher works at a time, so an older
state never follows a newer one. Should it, as from a process that was stopped for long, the topic's end says that somebody else
has written: then topic and table are compared as a whole, as they are for a new generation and for a topic that was made anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any
from uuid import UUID

import psycopg
import structlog
from aiokafka import AIOKafkaProducer
from psycopg import AsyncConnection

from projections import generation
from projections.current_topic import Update, differences, frozen, newest, noted, source_of, waiting
from projections.errors import NotInstalled, is_outage
from projections.log_reader import BROKER_AWAY, KafkaLog, is_cancelled
from projections.runner import RunnerConfig
from projections.view import View
from projections.views.current import OUTBOX, SENT
from schemas.topics import CURRENT_MAX_BYTES, Topics

log = structlog.get_logger(__name__)

PUBLISH_LOCK = 0x454D4250  # "EMBP"
AT_ONCE = 200
POLL_S = 0.1
CHECK_S = 10.0
"""How often an idle publisher looks whether the topic ends where it left it."""
PAUSE_FIRST_S, PAUSE_MAX_S = 0.5, 10.0
REQUEST_TIMEOUT_MS = 15_000

Ends = dict[int, int]
"""By partition the offset behind the last record."""


class CurrentPublisher:
    """Sends what the live generation of ``view`` notes."""

    def __init__(self, view: View, topics: Topics, config: RunnerConfig) -> None:
        self._view, self._topics, self._config = view, topics, config
        self._source = source_of(topics)
        self._checked = 0.0
        self._pause = PAUSE_FIRST_S

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set; outages only pause it."""
        while not stop.is_set():
            try:
                async with self._session(stop) as (conn, producer):
                    while not stop.is_set():
                        await self._turn(conn, producer, stop)
                        self._pause = PAUSE_FIRST_S
            except asyncio.CancelledError as error:
                if is_cancelled():
                    raise
                await self._paused(error, stop)
            except (*BROKER_AWAY, psycopg.Error, NotInstalled, TimeoutError) as error:
                if isinstance(error, psycopg.Error) and not is_outage(error):
                    raise
                await self._paused(error, stop)

    @contextlib.asynccontextmanager
    async def _session(self, stop: asyncio.Event) -> AsyncIterator[tuple[AsyncConnection[Any], AIOKafkaProducer]]:
        """Connections to database and broker, once no other publisher works on the database."""
        async with await generation.connect(self._config.dsn) as conn:
            while not stop.is_set() and not await self._alone(conn):
                await _wait(stop, POLL_S)
            producer = AIOKafkaProducer(
                bootstrap_servers=self._config.bootstrap,
                client_id="emberlog-current",
                acks="all",
                enable_idempotence=True,
                max_request_size=CURRENT_MAX_BYTES,
                request_timeout_ms=REQUEST_TIMEOUT_MS,
            )
            try:
                await producer.start()
                self._checked = 0.0
                yield conn, producer
            finally:
                await producer.stop()

    async def _alone(self, conn: AsyncConnection[Any]) -> bool:
        cursor = await conn.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", (PUBLISH_LOCK, self._topics.current))
        row = await cursor.fetchone()
        return row is not None and bool(row[0])

    async def _turn(self, conn: AsyncConnection[Any], producer: AIOKafkaProducer, stop: asyncio.Event) -> None:
        """One look at the outbox, and what follows from it."""
        live = await generation.live(conn, self._view.name)
        if live.fold_version != self._view.version:  # the runner says so
            await _wait(stop, PAUSE_MAX_S)
            return
        known = await self._known(conn, live.schema)
        if known is None or not await self._untouched(known):
            await _unless(stop, self._reconcile(conn, live.schema, producer))
            return
        updates = await noted(conn, live.schema, AT_ONCE)
        if updates:
            await self._publish(conn, live.schema, producer, updates, known)
        else:
            await _wait(stop, POLL_S)

    async def _known(self, conn: AsyncConnection[Any], schema: str) -> Ends | None:
        """Where the topic ended when this publisher, or the one before it, was done; None where that was never so."""
        cursor = await conn.execute(f"SELECT partition, end_offset FROM {schema}.{SENT.name}")
        known: Ends = dict(await cursor.fetchall())
        return known if len(known) == self._topics.partitions else None

    async def _untouched(self, known: Ends) -> bool:
        """Whether the topic, looked at from time to time, ends where it should: else others wrote, or it is another topic."""
        if time.monotonic() - self._checked < CHECK_S:
            return True
        async with KafkaLog(self._config.reader(), [self._source]) as reader:
            ends = {partition: end for (_, partition), end in (await reader.ends()).items()}
        self._checked = time.monotonic()
        return ends == known

    async def _publish(
        self, conn: AsyncConnection[Any], schema: str, producer: AIOKafkaProducer, updates: Sequence[Update], known: Ends
    ) -> None:
        """Send ``updates`` of the outbox, then take them out of it."""
        ends = await self._send(producer, updates)
        if any(ends[partition][0] != known[partition] for partition in ends):
            # there was something between what was known and what was sent; what was sent is sent again, if need be
            log.warning("the topic of current memories does not end where it was left, comparing it", view=self._view.name)
            await conn.execute(f"DELETE FROM {schema}.{SENT.name}")
            return
        done = [(u.owner, UUID(u.key.decode()), u.sequence) for u in updates if u.owner is not None]
        async with conn.transaction():
            await _settle(conn, schema, done)
            await _remember(conn, schema, {partition: end for partition, (_, end) in ends.items()})

    async def _send(self, producer: AIOKafkaProducer, updates: Sequence[Update]) -> dict[int, tuple[int, int]]:
        """Send in order; by partition the first offset and the one behind the last, all acknowledged."""
        topic = self._topics.current
        sent = [
            await producer.send(topic, update.value, key=update.key, partition=update.partition, headers=update.headers)
            for update in updates
        ]
        offsets: dict[int, tuple[int, int]] = {}
        for place in await asyncio.gather(*sent):
            first, end = offsets.get(place.partition, (place.offset, 0))
            offsets[place.partition] = min(first, place.offset), max(end, place.offset + 1)
        return offsets

    async def _reconcile(self, conn: AsyncConnection[Any], schema: str, producer: AIOKafkaProducer) -> None:
        """Compare topic and table as a whole, partition by partition, and send what differs."""
        began, sent = time.monotonic(), 0
        async with (
            KafkaLog(self._config.bulk_reader(), [self._source]) as reader,
            await generation.connect(self._config.dsn) as snapshot,
        ):
            ends = await reader.ends()
            await reader.seek(dict.fromkeys(ends, 0))
            for partition in range(self._topics.partitions):
                batch, end = list[Update](), ends[self._topics.current, partition]
                found = await newest(reader, self._topics.current, partition, ends)
                async with frozen(snapshot):
                    settled = await waiting(snapshot, schema, partition)
                    async for _, update in differences(snapshot, schema, partition, found):
                        batch.append(update)
                        if len(batch) == AT_ONCE:
                            end, sent = (await self._send(producer, batch))[partition][1], sent + len(batch)
                            batch.clear()
                if batch:
                    end, sent = (await self._send(producer, batch))[partition][1], sent + len(batch)
                async with conn.transaction():
                    await _settle(conn, schema, settled)
                    await _remember(conn, schema, {partition: end})
        log.info("topic and table of current memories were compared", sent=sent, seconds=round(time.monotonic() - began, 3))

    async def _paused(self, error: BaseException, stop: asyncio.Event) -> None:
        log.warning("publishing of current memories pauses", error=type(error).__name__)
        await _wait(stop, self._pause)
        self._pause = min(2 * self._pause, PAUSE_MAX_S)


async def _settle(conn: AsyncConnection[Any], schema: str, done: Sequence[tuple[UUID, UUID, int]]) -> None:
    """Take what was sent out of the outbox, unless it was noted anew since. What the runner has locked is about to be."""
    if not done:
        return
    owners, memories, sequences = (list(column) for column in zip(*done, strict=True))
    await conn.execute(
        f"DELETE FROM {schema}.{OUTBOX.name} WHERE ctid IN (SELECT o.ctid FROM {schema}.{OUTBOX.name} o "
        "JOIN unnest(%s::uuid[], %s::uuid[], %s::bigint[]) AS d(owner, memory_id, sequence) USING (owner, memory_id, sequence) "
        "FOR UPDATE OF o SKIP LOCKED)",
        (owners, memories, sequences),
    )


async def _remember(conn: AsyncConnection[Any], schema: str, ends: Ends) -> None:
    """Note where the topic ends."""
    async with conn.cursor() as cursor:
        await cursor.executemany(SENT.upsert(schema), list(ends.items()))


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do ``work``, and give it up where ``stop`` is set before it is done."""
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
    finally:
        given_up = not task.done()
        task.cancel()
        stopped.cancel()
        with contextlib.suppress(asyncio.CancelledError) if given_up else contextlib.nullcontext():
            await task


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
