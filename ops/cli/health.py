"""How a running set is: services, topics, what each agent and view still has to do, and what needs a person."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import psycopg
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError
from redis.exceptions import RedisError

from ops.cli.errors import NotRunning
from ops.cli.target import Target
from ops.cli.topics import TopicMissing, partitions_of, topic_reader
from ops.cli.view_health import Ends, add_ages, one, stall_of, view_of
from ops.keyring import keys_dsn
from ops.keys.erasing import ErasingView
from projections.views import REGISTRY
from projections.working_set import WorkingSet, connect, prefix_of
from streams.config import AGENTS, EMBED_MESSAGES

AGENT_TOPICS = {
    "admit": {"admit": "inbox"},
    "extract": {"extract": "conversation"},
    "decide": {"decide": "commands"},
    "embed": {"embed": "events", EMBED_MESSAGES: "conversation"},
}
"""The topic that each consumer group of an agent reads."""
GROUP_PREFIX = "emberlog"


@dataclass(slots=True)
class Health:
    """``kafka``, ``postgres`` and ``key_store`` are "ok" or why not; lags are records not done yet, None where nobody has begun.

    Among ``views`` is the projection that carries out what is forgotten, whose tables are the key store's. ``stalled`` says of
    views that do not get on, why.
    """

    kafka: str = "ok"
    postgres: str = "ok"
    key_store: str = "ok"
    topics: dict[str, dict[str, Any]] = field(default_factory=dict)
    agents: dict[str, int | None] = field(default_factory=dict)
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    working_set: dict[str, Any] = field(default_factory=lambda: {"state": "not configured", "lag": None})
    """``state`` is "ok" or why not: Emberlog goes on without it."""
    parked: int | None = None
    stalled: dict[str, str] = field(default_factory=dict)

    @property
    def reached(self) -> bool:
        """Whether all services answered."""
        return {self.kafka, self.postgres, self.key_store} == {"ok"}

    @property
    def alarms(self) -> int:
        """Owners whose log has a gap, over all views: always a true alarm."""
        return sum(view["alarms"] for view in self.views.values())


async def look(target: Target) -> Health:
    """Look at everything; what cannot be reached is said, not raised."""
    health = Health()
    ends: Ends = {}
    try:
        ends = await _topics(target, health)
        await _agents(target, health, ends)
    except (NotRunning, KafkaError) as error:
        health.kafka = str(error)
    health.postgres = await _reached(_views(target, health, ends))
    health.key_store = await _reached(_erasing(target, health, ends))
    if health.kafka == "ok":
        try:
            await add_ages(target, health.views.values())
        except (NotRunning, KafkaError) as error:
            health.kafka = str(error)
    said = {name: stall_of(view, target.settings.stalled_s) for name, view in health.views.items()}
    health.stalled = {name: words for name, words in said.items() if words is not None}
    if target.settings.redis_url is not None:
        health.working_set = await _working_set(target, target.settings.redis_url.get_secret_value(), ends)
    return health


async def _reached(looking: Coroutine[Any, Any, None]) -> str:
    try:
        async with asyncio.timeout(10):
            await looking
    except (psycopg.Error, TimeoutError) as error:
        return f"not reachable ({type(error).__name__})"
    return "ok"


async def _topics(target: Target, health: Health) -> Ends:
    names = [spec.name for spec in target.topics.specs()]
    all_ends: Ends = {}
    async with topic_reader(target.bootstrap) as consumer:
        for name in names:
            try:
                partitions = await partitions_of(consumer, name)
            except TopicMissing:
                health.topics[name] = {"partitions": 0, "records": 0, "end_offsets": []}
                continue
            ends = await consumer.end_offsets(partitions)
            all_ends.update(ends)
            offsets = [ends[tp] for tp in partitions]
            health.topics[name] = {"partitions": len(partitions), "records": sum(offsets), "end_offsets": offsets}
    return all_ends


async def _agents(target: Target, health: Health, ends: Ends) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=target.bootstrap, client_id="emberlog-status")
    await admin.start()
    try:
        for agent in AGENTS:
            read = {g: topic for g, topic in AGENT_TOPICS[agent].items() if g != EMBED_MESSAGES or target.settings.embed_messages}
            lags = [await _lag(admin, target, group, topic, ends) for group, topic in read.items()]
            # a part that has not begun has everything before it
            begun = any(committed for _, committed in lags)
            health.agents[agent] = sum(lag for lag, _ in lags) if begun else None
    finally:
        await admin.close()


async def _lag(admin: AIOKafkaAdminClient, target: Target, group: str, topic: str, ends: Ends) -> tuple[int, bool]:
    """Records of the topic that the group has not done, and whether it has committed any."""
    name = getattr(target.topics, topic)
    try:
        committed = await admin.list_consumer_group_offsets(f"{target.topics.prefix}{GROUP_PREFIX}-{group}")
    except GroupCoordinatorNotAvailableError:  # a broker that never had a consumer group
        committed = {}
    done = {tp: place.offset for tp, place in committed.items() if tp.topic == name and place.offset >= 0}
    mine = {tp: end for tp, end in ends.items() if tp.topic == name}
    return sum(max(0, end - done.get(tp, 0)) for tp, end in mine.items()), bool(done)


async def _views(target: Target, health: Health, ends: Ends) -> None:
    async with await psycopg.AsyncConnection.connect(target.dsn, autocommit=True) as connection:
        for name in REGISTRY:
            health.views[name] = await view_of(connection, name, ends)
        if "parked" in health.views and health.views["parked"]["generation"] is not None:
            health.parked = await one(connection, "SELECT count(*) FROM parked_work")


async def _erasing(target: Target, health: Health, ends: Ends) -> None:
    dsn = keys_dsn(target.settings, target.dsn)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        health.views[ErasingView.name] = await view_of(connection, ErasingView.name, ends)


async def _working_set(target: Target, url: str, ends: Ends) -> dict[str, Any]:
    redis = connect(url)
    try:
        positions = await WorkingSet(redis, prefix_of(target.topics.prefix)).positions(target.topics)
    except RedisError as error:
        return {"state": f"not reachable ({type(error).__name__})", "lag": None}
    finally:
        await redis.aclose()
    if positions is None:
        return {"state": "not made yet", "lag": None}
    return {"state": "ok", "lag": sum(max(0, ends.get(TopicPartition(*at), offset) - offset) for at, offset in positions.items())}
