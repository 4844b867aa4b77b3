"""A whole line on given services: topics under a prefix of its own, a database of its own, worker and projector as processes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from aiokafka import AIOKafkaProducer, TopicPartition
from psycopg.conninfo import conninfo_to_dict

from benchmarks.owners import make_known
from ops.keyring import open_keys
from ops.local.addresses import ServiceAddresses
from ops.local.postgres import dsn_with, ensure_database
from ops.settings import Settings, env_name, load_settings
from ops.wiring_setup import set_up
from projections.views import REGISTRY
from schemas.owner import Owner
from schemas.topics import Topics
from schemas.types import InboxTurn
from streams import kafka
from streams.producers import CommandProducer, InboxProducer
from tests.line.support.process import EmberlogProcess
from tests.line.support.reading import AcceptedLog, reading
from tests.line.support.standin import StandinServer
from tests.line.support.waiting import until

QUICK = {
    "EMBERLOG_SESSION_TIMEOUT_S": "6",
    "EMBERLOG_MODEL_TIMEOUT_S": "20",
    "EMBERLOG_MODEL_ATTEMPTS": "3",
    "EMBERLOG_PARTITIONS": "4",
    "EMBERLOG_LOG_LEVEL": "info",
    "EMBERLOG_LOG_FORMAT": "json",
    "VLLM_MODEL": "recorded",
}
FIELDS = Settings.model_fields
# what an operator may have set, and what would silently change what is proved here
UNSET = ("MEM0_TELEMETRY", "EMBEDDING_BASE_URL", "EMBEDDING_DIM", "VLLM_API_KEY", "EMBERLOG_SERVICES")


@dataclass(slots=True)
class Result:
    """What a command answered."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.code == 0, f"exit code {self.code}: {self.err}\n{self.out}"
        return json.loads(self.out)


@dataclass
class Line:
    """Start it with ``running``. ``dsn`` may be changed by ``new_database``."""

    services: ServiceAddresses
    folder: Path
    standin: StandinServer
    prefix: str = field(default_factory=lambda: f"t{uuid4().hex[:10]}.")
    settings: dict[str, str] = field(default_factory=dict)
    worker_fault: str | None = None
    """A module that puts a fault into the workers."""
    dsn: str = ""
    keys_dsn: str = ""
    databases: list[str] = field(default_factory=list)
    processes: list[EmberlogProcess] = field(default_factory=list)
    _names: int = 0

    @property
    def bootstrap(self) -> str:
        return self.services.kafka_bootstrap

    @property
    def topics(self) -> Topics:
        return Topics(int(self.environment["EMBERLOG_PARTITIONS"]), self.prefix)

    @property
    def environment(self) -> dict[str, str]:
        """What the processes of this line are started with."""
        return {
            **dict.fromkeys(UNSET, ""),
            **QUICK,
            "EMBERLOG_TOPIC_PREFIX": self.prefix,
            "EMBERLOG_DATA_DIR": str(self.folder / "data"),
            "EMBERLOG_KAFKA_BOOTSTRAP": self.bootstrap,
            "EMBERLOG_POSTGRES_DSN": self.dsn,
            "EMBERLOG_KEYS_DSN": self.keys_dsn,
            "VLLM_BASE_URL": self.standin.base_url,
            **self.settings,
        }

    @property
    def as_settings(self) -> Settings:
        """The settings that the processes of this line see."""
        named = {name: value for name, value in self.environment.items() if value}
        given: dict[str, Any] = {field: named[env_name(info)] for field, info in FIELDS.items() if env_name(info) in named}
        return load_settings(**given)

    async def know(self, owners: Iterable[Owner | str]) -> None:
        """Make owners known under their fixed references: what is expected of them can then be said beforehand."""
        await make_known(self.as_settings, self.dsn, owners)

    async def prepare(self) -> None:
        """Topics, databases, tables and keys."""
        await self.new_key_store()
        await self.new_database()

    async def new_key_store(self) -> None:
        """Go on with an empty database for the key store; ``new_database`` makes what it needs."""
        name = f"emb_line_{uuid4().hex[:12]}_keys"
        await asyncio.to_thread(ensure_database, self.services.postgres_dsn, name)
        self.databases.append(name)
        self.keys_dsn = dsn_with(self.services.postgres_dsn, name)

    async def new_database(self) -> None:
        """Go on with an empty database: all views and the decider's state begin anew, topics and keys stay."""
        name = f"emb_line_{uuid4().hex[:12]}"
        await asyncio.to_thread(ensure_database, self.services.postgres_dsn, name)
        self.databases.append(name)
        self.dsn = dsn_with(self.services.postgres_dsn, name)
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        await set_up(self.as_settings, self.bootstrap, self.dsn)

    async def copied_database(self) -> str:
        """Address of a copy of the database as it is now, as from a backup. No process of the line may run."""
        name = f"emb_line_{uuid4().hex[:12]}"
        with psycopg.connect(self.services.postgres_dsn, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{conninfo_to_dict(self.dsn)["dbname"]}"')
        self.databases.append(name)
        return dsn_with(self.services.postgres_dsn, name)

    # -- processes

    def spawn(
        self, kind: str, *options: str, environment: Mapping[str, str] | None = None, plain: bool = False
    ) -> EmberlogProcess:
        """A worker or projector that waits for ``go``; ``plain`` ones are at work at once."""
        self._names += 1
        process = EmberlogProcess(
            f"{kind}-{self._names}",
            [kind, *options],
            self.folder / "logs",
            {**self.environment, **(environment or {})},
            fault=self.worker_fault if kind == "worker" else None,
            plain=plain,
        )
        self.processes.append(process)
        return process

    def go(self, process: EmberlogProcess) -> EmberlogProcess:
        """Let a spawned process begin."""
        process.go({"EMBERLOG_POSTGRES_DSN": self.dsn})
        return process

    async def start(
        self, *kinds: str, environment: Mapping[str, str] | None = None, plain: bool = False
    ) -> list[EmberlogProcess]:
        """Processes of these kinds, ready."""
        started = [self.go(self.spawn(kind, environment=environment, plain=plain)) for kind in kinds]
        for process in started:
            await process.ready()
        return started

    async def start_projectors(self, number: int) -> None:
        """So many that share the partitions, ready."""
        shares = [range(first, self.topics.partitions, number) for first in range(number)]
        started = [self.go(self.spawn("project", "--partitions", ",".join(map(str, share)))) for share in shares]
        for process in started:
            await process.ready()

    async def close(self) -> None:
        """Stop all processes and drop the databases."""
        await asyncio.gather(*(asyncio.to_thread(p.close) for p in self.processes))
        await asyncio.to_thread(self._drop)

    def _drop(self) -> None:
        with psycopg.connect(self.services.postgres_dsn, autocommit=True) as connection:
            for name in self.databases:
                connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    # -- what goes in

    @asynccontextmanager
    async def inbox(self) -> AsyncIterator[InboxProducer]:
        async with InboxProducer(self.bootstrap, self.topics) as producer:
            yield producer

    async def publish(self, turns: Iterable[InboxTurn]) -> None:
        """Publish turns in order. Their owners are made known before."""
        told = list(turns)
        await self.know(dict.fromkeys(turn.owner for turn in told))
        async with self.inbox() as producer:
            for turn in told:
                await producer.publish(turn)

    async def publish_raw(self, records: Iterable[tuple[bytes | None, bytes | None]]) -> list[tuple[int, int]]:
        """Bytes (key, value) as a careless producer would send them; partition and offset of each."""
        producer: AIOKafkaProducer = kafka.producer(self.bootstrap, "test-raw")
        await producer.start()
        try:
            sent = [await producer.send_and_wait(self.topics.inbox, value, key=key) for key, value in records]
        finally:
            await producer.stop()
        return [(s.partition, s.offset) for s in sent]

    @asynccontextmanager
    async def commands(self) -> AsyncIterator[CommandProducer]:
        async with CommandProducer(self.bootstrap, self.topics) as producer:
            yield producer

    # -- what comes out

    @asynccontextmanager
    async def log(self) -> AsyncIterator[AcceptedLog]:
        async with open_keys(self.as_settings, self.dsn) as ring, reading(self.bootstrap, self.topics, ring.keys) as log:
            yield log

    async def rows(self, query: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        """Rows from the database of the views."""
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            return await (await connection.execute(query, parameters)).fetchall()

    async def cli(self, *arguments: str, deadline_s: float = 60.0) -> Result:
        """Run an ``emberlog`` command against this line. Its owner is made known before."""
        if "--owner" in arguments:
            await self.know([arguments[arguments.index("--owner") + 1]])
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "ops.cli.main", *arguments),
            env={**os.environ, **self.environment, "COLUMNS": "250", "NO_COLOR": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(deadline_s):
                out, err = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(f"emberlog {' '.join(arguments)} did not end within {deadline_s:g} s") from None
        return Result(process.returncode or 0, out.decode(), err.decode())

    async def ends(self, *topics: str) -> dict[tuple[str, int], int]:
        """High watermarks."""
        consumer = kafka.reader(self.bootstrap, "test-ends")
        await consumer.start()
        try:
            tps = [TopicPartition(t, p) for t in topics for p in range(self.topics.partitions)]
            return {(tp.topic, tp.partition): end for tp, end in (await consumer.end_offsets(tps)).items()}
        finally:
            await consumer.stop()

    async def parked(self) -> list[dict[str, Any]]:
        """What is parked, as ``emberlog parked list --json`` tells it."""
        found: list[dict[str, Any]] = (await self.cli("parked", "list", "--json")).json()
        return found

    async def settled(self, turn_ids: Collection[str], deadline_s: float = 60.0) -> None:
        """Wait until ``turn_ids`` are decided, every memory has its vector and every view is level with its topics."""
        async with self.log() as log:
            await log.until_decided(turn_ids, deadline_s)
        await self.projected(deadline_s)

    async def projected(self, deadline_s: float = 60.0) -> None:
        """Wait until the views are level with their topics and no memory lacks a vector."""
        state: dict[str, Any] = {}

        async def level() -> bool:
            topics = self.topics
            ends = await self.ends(topics.conversation, topics.events, topics.embeddings, topics.parked)
            state["behind"] = await self.behind(ends)
            state["without a vector"] = (await self.rows(WITHOUT_VECTOR))[0][0]
            return not state["behind"] and not state["without a vector"]

        await until(level, lambda: f"the views are level: {state}", deadline_s)

    async def behind(self, ends: Mapping[tuple[str, int], int]) -> list[tuple[str, str, int, int]]:
        """View, topic, partition and records not applied yet, where there are any below ``ends``."""
        behind = []
        for view in REGISTRY:
            for topic, partition, at in await self.rows(f"SELECT topic, partition, next_offset FROM emberlog_{view}_checkpoint"):
                if at < ends.get((topic, partition), 0):
                    behind.append((view, topic, partition, ends[topic, partition] - at))
        return behind


WITHOUT_VECTOR = """
SELECT count(*) FROM thermal_memory_archive a WHERE NOT EXISTS (SELECT 1 FROM memory_embedding e WHERE e.trace_id = a.id)
"""


@asynccontextmanager
async def running(line: Line, *kinds: str) -> AsyncIterator[Line]:
    """``line`` prepared, with processes of ``kinds`` (worker and projector where none is named), until the block ends."""
    try:
        await line.prepare()
        await line.start(*(kinds or ("worker", "project")))
        yield line
    finally:
        await line.close()
