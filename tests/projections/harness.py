"""What the tests of the read side share: schemas to fold into without a broker, and real topics to fold from."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from psycopg import AsyncConnection

from projections import generation
from projections.applier import Applier
from projections.digest import ViewDigest, view_digest
from projections.log_reader import KafkaLog
from projections.owners import Owners
from projections.records import LogRecord, Positions
from projections.runner import ProjectionRunner, RunnerConfig
from projections.view import View
from schemas.ids import is_uuid
from schemas.owner import Owner
from schemas.topics import Topics
from tests.projections.logs import Rec

AUDIT_KEY = b"a key of the tests, 32 bytes....."
DEADLINE_S = 30.0


def owner() -> str:
    """A new owner reference."""
    return str(uuid4())


def user() -> str:
    """A new reference of somebody whom ``EVERYBODY`` has for a user."""
    return f"{owner()[:-1]}1"


class Known:
    """Owners by reference; without a list everybody is known, half of them users and half companies."""

    def __init__(self, owners: Mapping[str, Owner] | None = None) -> None:
        self._owners = owners

    def named(self, references: Iterable[str]) -> dict[str, Owner]:
        if self._owners is not None:
            return {reference: self._owners[reference] for reference in references if reference in self._owners}
        kinds = {reference: "user" if int(reference[-1], 16) % 2 else "company" for reference in references if is_uuid(reference)}
        return {reference: Owner("default", kind, f"{kind} {reference}") for reference, kind in kinds.items()}

    async def owners_of(self, references: Collection[str]) -> Mapping[str, Owner]:
        return self.named(references)


EVERYBODY = Known()


def of_view(view: View, records: Iterable[Rec]) -> list[Rec]:
    """The records on the topics that the view reads."""
    topics = {s.topic for s in view.sources}
    return [r for r in records if r.topic in topics]


async def eventually(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until ``condition`` holds."""
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, f"not within {DEADLINE_S:g} s: {what}"
        await asyncio.sleep(0.01)


class Fold:
    """One view folded into a schema of its own, without a broker."""

    def __init__(self, view: View, schema: str, conn: AsyncConnection[Any], applier: Applier, owners: Owners) -> None:
        self.view, self.schema, self.conn, self.applier, self.owners = view, schema, conn, applier, owners

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, dsn: str, view: View, *, owner_cache: int = 100, owners: Owners = EVERYBODY) -> AsyncIterator[Fold]:
        schema = f"{view.name}_t{secrets.token_hex(5)}"
        async with await generation.connect(dsn) as conn:
            async with conn.transaction():
                await generation.create_schema(conn, view, schema)
            applier = Applier(view, schema, conn, owner_cache=owner_cache, owners=owners)
            await applier.claim()
            yield cls(view, schema, conn, applier, owners)
            await conn.execute(f"DROP SCHEMA {schema} CASCADE")

    async def take(self, records: Sequence[LogRecord], cuts: Sequence[int] = ()) -> Fold:
        """Fold ``records`` in batches that end at ``cuts``."""
        borders = [0, *sorted(cuts), len(records)]
        for begin, end in itertools.pairwise(borders):
            await self.applier.apply(records[begin:end])
        return self

    async def restart(self) -> None:
        """Forget everything in memory, as a new process."""
        self.applier = Applier(self.view, self.schema, self.conn, owners=self.owners)
        await self.applier.claim()

    async def rows(self, what: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """``SELECT`` of ``what``, where ``{s}`` is the schema."""
        cursor = await self.conn.execute("SELECT " + what.format(s=self.schema), parameters or None)
        return list(await cursor.fetchall())

    async def digest(self) -> ViewDigest:
        return await view_digest(self.conn, self.view, self.schema)


class Broker:
    """Topics of one test on the real broker."""

    def __init__(self, bootstrap: str, topics: Topics, producer: Any) -> None:
        self.bootstrap, self.topics, self._producer = bootstrap, topics, producer
        self._sent = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, bootstrap: str, topics: Topics, *, create: bool = True, delete: bool = True) -> AsyncIterator[Broker]:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            if create:
                await admin.create_topics([NewTopic(s.name, s.partitions, 1, topic_configs=s.config) for s in topics.specs()])
            async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True) as producer:
                yield cls(bootstrap, topics, producer)
            if delete:
                await admin.delete_topics([s.name for s in topics.specs()])
        finally:
            await admin.close()

    async def send(self, records: Sequence[Rec], timestamp_ms: int | None = None) -> None:
        """Write records as batches, one per run of records of one partition; checks that they land at the offsets they name.

        Their time is ``timestamp_ms``, in milliseconds since 1970, or now.
        """
        sent = []
        for run in _runs(records):
            batch = self._producer.create_batch()
            for record in run:
                made = batch.append(key=record.key, value=record.value, timestamp=timestamp_ms, headers=list(record.headers))
                assert made is not None
            batch.close()
            sent.append((run[0], await self._producer.send_batch(batch, run[0].topic, partition=run[0].partition)))
        for first, future in sent:
            assert (await future).offset == first.offset


def _runs(records: Sequence[Rec], limit: int = 10) -> list[list[Rec]]:
    runs: list[list[Rec]] = []
    for record in records:
        if runs and (runs[-1][0].topic, runs[-1][0].partition) == (record.topic, record.partition) and len(runs[-1]) < limit:
            runs[-1].append(record)
        else:
            runs.append([record])
    return runs


@contextlib.asynccontextmanager
async def running(view: View, config: RunnerConfig, partitions: Collection[int] | None = None) -> AsyncIterator[ProjectionRunner]:
    """A runner at work; its error, if any, is raised at the end."""
    runner, stop = ProjectionRunner(view, config, partitions), asyncio.Event()
    task = asyncio.create_task(runner.run(stop))
    try:
        yield runner
    finally:
        stop.set()
        await asyncio.wait_for(task, DEADLINE_S)


async def ends(config: RunnerConfig, view: View) -> Positions:
    """End offsets of the view's topics."""
    async with KafkaLog(config.reader(), view.sources) as reader:
        return await reader.ends()
