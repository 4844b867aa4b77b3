"""Wiring: settings and addresses become the parts of worker, projector and recall."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import structlog
from aiokafka import TopicPartition
from psycopg_pool import AsyncConnectionPool

from ops.keyring import Keyring, keys_dsn, open_keys
from ops.keys.erasing import ErasingView
from ops.settings import Settings
from ops.tombstones import KnownForgettings, replayed
from projections.errors import NotFollowed, is_outage
from projections.progress import STALLED_S
from projections.recall import Recall
from projections.records import Positions
from projections.runner import RunnerConfig
from projections.working_set import WorkingSetConfig
from streams.config import WorkerConfig
from streams.extraction.embedders import build_embedder
from streams.extraction.errors import ModelUnavailable
from streams.extraction.ports import Embedder, KnownMemory
from streams.kafka import end_offset, reader

if TYPE_CHECKING:
    from schemas.registry import SchemaRegistry

log = structlog.get_logger(__name__)
OnReady = Callable[[], None]
POOL_WAIT_S = 10.0
OUTAGE_PAUSE_S = 0.5
OPENING = frozenset({"extract", "embed"})
"""Agents that open what is sealed."""
ERASING = ErasingView.name
"""The projection beside the views that carries out what is forgotten."""


def use_schema_registry(settings: Settings) -> SchemaRegistry | None:
    """Let this process write and read by the settings' schema registry; None where none is set. Asks it nothing yet."""
    from schemas import codec

    registry = None
    if settings.schema_registry_url is not None:
        from schemas.registry import SchemaRegistry

        registry = SchemaRegistry(settings.schema_registry_url.get_secret_value())
    codec.use_registry(registry)
    return registry


@asynccontextmanager
async def registered_schemas(settings: Settings) -> AsyncIterator[None]:
    """Work by the settings' schema registry, where one is set. All types are registered first: no record waits for it later.

    Raises RegistryUnavailable and RegistryRefused.
    """
    registry = use_schema_registry(settings)
    try:
        if registry is not None:
            registered = await asyncio.to_thread(registry.register_all)
            log.info("schemas registered", schemas=len(registered))
        yield
    finally:
        if registry is not None:
            registry.close()


def make_embedder(settings: Settings) -> Embedder:
    """The embedder that the settings ask for."""
    key = settings.embedding_api_key
    return build_embedder(
        settings.embedding_base_url,
        settings.embedding_model,
        settings.embedding_dim,
        api_key=key.get_secret_value() if key else None,
        timeout_s=settings.model_timeout_s,
    )


@asynccontextmanager
async def open_recall(settings: Settings, dsn: str, embedder: Embedder, connections: int = 4) -> AsyncIterator[Recall]:
    """Recall over the live views, with pools of connections of its own to them and to the key store."""
    from streams.agents.vectors import HEAD

    def pool_of(address: str) -> AsyncConnectionPool[Any]:
        return AsyncConnectionPool(
            address, min_size=1, max_size=connections, open=False, timeout=POOL_WAIT_S, kwargs={"autocommit": True}
        )

    async with pool_of(dsn) as views, pool_of(keys_dsn(settings, dsn)) as keys:
        yield Recall(views, settings.topics, model=embedder.name, head=HEAD, forgettings=KnownForgettings(keys))


class Projected:
    """The archive as extraction asks for it (``streams.recent.ProjectedMemories``)."""

    def __init__(self, recall: Recall, bootstrap: str, events: str) -> None:
        self._recall, self._bootstrap, self._events = recall, bootstrap, events

    async def nearest(self, owner_ref: str, vector: Sequence[float], limit: int) -> tuple[Sequence[KnownMemory], int]:
        """The owner's nearest memories (those still without a vector last, score 0) and the last command applied.

        Raises ModelUnavailable while a database is away, or while the archive still holds what was forgotten since: extraction
        then pauses, and parks nothing.
        """
        try:
            found = await self._recall.nearest(owner_ref, vector, limit)
        except NotFollowed:
            raise ModelUnavailable("the archive has not followed a forgetting yet") from None
        except psycopg.Error as error:
            if is_outage(error):
                raise ModelUnavailable("the database is away") from None
            raise
        return [KnownMemory(row.memory_id, row.text, row.score or 0.0) for row in found.rows], found.last_cause

    async def lag(self, partition: int) -> int:
        """Events of the partition that the archive has not applied. Waits while the database is away."""
        applied = (await self._positions()).get((self._events, partition), 0)
        consumer = reader(self._bootstrap, "lag")
        await consumer.start()
        try:
            return max(0, await end_offset(consumer, TopicPartition(self._events, partition)) - applied)
        finally:
            await consumer.stop()

    async def _positions(self) -> Positions:
        while True:
            try:
                return (await self._recall.positions())["thermal"]
            except psycopg.Error as error:
                if not is_outage(error):
                    raise
                log.warning("waiting for the database", error=type(error).__name__)
                await asyncio.sleep(OUTAGE_PAUSE_S)


@asynccontextmanager
async def worker_config(settings: Settings, bootstrap: str, dsn: str, agents: frozenset[str]) -> AsyncIterator[WorkerConfig]:
    """What a worker needs, with its extractor, embedder and database pool open. Raises KeyFileError."""
    from streams.extraction.build import ModelConfig, build_extractor
    from streams.recent import RecentFacts

    embedder = make_embedder(settings)
    model = None
    if settings.vllm_base_url is not None:
        model = ModelConfig(
            base_url=settings.vllm_base_url,
            model=settings.vllm_model,
            api_key=settings.vllm_api_key.get_secret_value() if settings.vllm_api_key else None,
            temperature=settings.vllm_temperature,
            max_tokens=settings.vllm_max_tokens,
            timeout_s=settings.model_timeout_s,
            call_timeout_s=2 * settings.model_timeout_s,
        )
    connections = max(4, min(16, settings.max_in_flight))
    async with open_recall(settings, dsn, embedder, connections) as recall, open_keys(settings, dsn) as ring:
        recent = RecentFacts(Projected(recall, bootstrap, settings.topics.events), embedder)
        extractor = build_extractor(model, embedder, recent, in_flight=settings.max_in_flight)
        try:
            yield WorkerConfig(
                bootstrap=bootstrap,
                topics=settings.topics,
                state_dsn=dsn,
                data_dir=settings.data_dir,
                keys=ring.keys,
                directory=ring.directory,
                policy=settings.policy,
                extractor=extractor,
                embedder=embedder,
                precision=settings.embedding_precision,
                embed_messages=settings.embed_messages,
                recent=recent,
                agents=agents,
                max_in_flight=settings.max_in_flight,
                # chat and embedding calls of one extraction together
                call_timeout_s=2 * settings.model_timeout_s,
                attempts=settings.model_attempts,
                session_timeout_s=settings.session_timeout_s,
            )
        finally:
            await extractor.close()
            await embedder.close()


async def run_worker(
    settings: Settings, bootstrap: str, dsn: str, agents: frozenset[str], stop: asyncio.Event, on_ready: OnReady
) -> None:
    """Run the agents until ``stop`` is set."""
    async with registered_schemas(settings):
        from streams import worker

        async with worker_config(settings, bootstrap, dsn, agents) as config:
            if agents & OPENING:
                await replayed(bootstrap, keys_dsn(settings, dsn), settings.topics)
            log.info("worker starts", agents=sorted(agents), rules_only=settings.rules_only)
            await worker.run_worker(config, stop, on_ready)


async def embed_again(settings: Settings, bootstrap: str, dsn: str, progress: Callable[[int, int], None]) -> int:
    """Embed the whole log with the embedder of ``settings``, beside the agents that run; how many records were looked at."""
    from streams import reembedding

    async with registered_schemas(settings), worker_config(settings, bootstrap, dsn, frozenset({"embed"})) as config:
        await replayed(bootstrap, keys_dsn(settings, dsn), settings.topics)
        apart = reembedding.apart_of(config.embedder.name)
        return await reembedding.embed_again(replace(config, apart=apart), progress)


def runner_config(bootstrap: str, dsn: str, ring: Keyring, stalled_s: float = STALLED_S) -> RunnerConfig:
    """Addresses and keys for runners and rebuilds."""
    return RunnerConfig(bootstrap=bootstrap, dsn=dsn, keys=ring.keys, owners=ring.directory, stalled_s=stalled_s)


def working_set_config(settings: Settings, bootstrap: str, ring: Keyring) -> WorkingSetConfig | None:
    """What the working set's runner needs; None where no Redis is configured."""
    url = redis_url(settings)
    if url is None:
        return None
    return WorkingSetConfig(bootstrap, url, settings.topics, ring.keys, settings.redis_focus_ttl_seconds)


def redis_url(settings: Settings) -> str | None:
    """The address of the working set's Redis, with its password; None where there is none."""
    return None if settings.redis_url is None else settings.redis_url.get_secret_value()
