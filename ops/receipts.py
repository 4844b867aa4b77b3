"""Receipts: once every store has followed a forgetting, they confirm it by commands, and the receipt is issued.

A side effect, so it is no part of any projection. What was sent is sent again until the log has the receipt: the commands' ids
follow from the forgetting, so each is decided once.

The working set, where a Redis is configured, is one of these stores. Its position is read from Redis itself: one that has lost
everything, or came back older, is behind again, and while it is made anew it has none.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import structlog
from psycopg.rows import class_row
from redis.exceptions import RedisError

from ops.forgetting.stores import BACKUPS, WORKING_SET
from projections.checkpoint import position_of
from projections.errors import is_outage
from projections.kept import unfinished_cleared
from projections.working_set import WorkingSet, connect, prefix_of
from schemas import ids
from schemas.topics import INBOX_RETENTION_MS, Topics
from schemas.types import CommandMeta, ConfirmCleared, IssueReceipt, StoreOutcome
from streams import kafka
from streams.producers import CommandProducer

log = structlog.get_logger(__name__)

ACTOR = "emberlog/receipts"
POLL_S = 0.25
NAMED = 10_000
"""So many messages that stay are named at most: a record has its size."""
AGAIN_S = 30.0
"""A command without an event after so long is sent again."""
VIEWS = ("thermal", "graph", "brain", "capture", "mem0")
"""Views that hold what is forgotten: each confirms once it has passed the event."""

_OPEN = """
SELECT request_id AS forget_id, owner::text, max(partition) AS partition, max(event_offset) AS event_offset,
    min(asked_at) AS asked_at, sum(memories)::bigint AS memories, sum(keys)::bigint AS keys,
    ARRAY(SELECT DISTINCT m FROM forgetting g, unnest(g.remaining) AS m WHERE g.request_id = f.request_id ORDER BY m) AS remaining
FROM forgetting AS f WHERE receipt_id IS NULL GROUP BY request_id, owner HAVING bool_and(complete)
ORDER BY max(event_offset) LIMIT 100
"""


@dataclass(frozen=True, slots=True)
class Open:
    """A request to forget that was carried out in the key store, and has no receipt yet. ``forget_id`` is the request's."""

    forget_id: str
    owner: str
    partition: int
    event_offset: int
    asked_at: datetime
    memories: int
    keys: int
    remaining: list[str]


class Receipts:
    """Issues receipts until ``stop`` is set. ``keys_dsn`` is the key store's database, ``dsn`` that of the views.

    ``backups_days`` is how long the operator keeps backups, None where that was not declared; ``redis_url`` the working set's
    Redis, None where there is none.
    """

    def __init__(
        self,
        bootstrap: str,
        dsn: str,
        keys_dsn: str,
        topics: Topics,
        backups_days: int | None = None,
        redis_url: str | None = None,
    ) -> None:
        self._bootstrap, self._dsn, self._keys_dsn, self._topics = bootstrap, dsn, keys_dsn, topics
        self._backups_days = backups_days
        self._redis = None if redis_url is None else connect(redis_url)
        self._stores = VIEWS if redis_url is None else (*VIEWS, WORKING_SET)
        self._sent: dict[str, float] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop; an outage only pauses it."""
        try:
            while not stop.is_set():
                try:
                    await self._work(stop)
                except psycopg.Error as error:
                    if not is_outage(error):
                        raise
                    await self._wait(error)
                except kafka.OUTAGE_ERRORS as error:
                    await self._wait(error)
                except RedisError as error:
                    await self._wait(error)
        finally:
            if self._redis is not None:
                await self._redis.aclose()

    async def _wait(self, error: BaseException) -> None:
        log.warning("receipts wait", error=type(error).__name__)
        await asyncio.sleep(1.0)

    async def _work(self, stop: asyncio.Event) -> None:
        async with (
            await psycopg.AsyncConnection.connect(self._keys_dsn, autocommit=True) as keys,
            await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as views,
            CommandProducer(self._bootstrap, self._topics) as producer,
        ):
            while not stop.is_set():
                async with keys.cursor(row_factory=class_row(Open)) as cursor:
                    found = await (await cursor.execute(_OPEN)).fetchall()
                self._sent = {forgotten.forget_id: self._sent.get(forgotten.forget_id, -math.inf) for forgotten in found}
                for forgotten in found:
                    if time.monotonic() - self._sent[forgotten.forget_id] > AGAIN_S and await self._followed(views, forgotten):
                        for command in commands(forgotten, self._topics, self._backups_days, self._stores):
                            await producer.send(command)
                        self._sent[forgotten.forget_id] = time.monotonic()
                        log.info("a forgetting was confirmed", memories=forgotten.memories, keys=forgotten.keys)
                await asyncio.sleep(POLL_S)

    async def _followed(self, views: psycopg.AsyncConnection[Any], forgotten: Open) -> bool:
        """Whether every view and the working set have passed the event, and no unfinished rebuild holds what it took away."""
        topic, partition, offset = self._topics.events, forgotten.partition, forgotten.event_offset
        for view in VIEWS:
            position = await position_of(views, view, topic, partition)
            if position <= offset or not await unfinished_cleared(views, view, topic, partition, offset):
                return False
        return self._redis is None or await working_set_passed(
            WorkingSet(self._redis, prefix_of(self._topics.prefix)), self._topics, partition, offset
        )


async def working_set_passed(working_set: WorkingSet, topics: Topics, partition: int, offset: int) -> bool:
    """Whether the working set stands behind this place of the log now; not while it is lost or made anew. Raises RedisError."""
    positions = await working_set.positions(topics)
    return positions is not None and positions[topics.events, partition] > offset


def commands(
    forgotten: Open, topics: Topics, backups_days: int | None, stores: Sequence[str] = VIEWS
) -> Sequence[ConfirmCleared | IssueReceipt]:
    """What the keys, ``stores`` and topics confirm, and the receipt. All but the time of asking follows from the arguments."""
    inbox_until = forgotten.asked_at + timedelta(milliseconds=INBOX_RETENTION_MS)
    outcomes = [
        StoreOutcome("keys", forgotten.keys),
        *(StoreOutcome(store, forgotten.memories) for store in stores),
        # purged behind admission; in a partition where nothing follows, its last segment stays until then
        StoreOutcome(topics.inbox, 0, inbox_until),
    ]
    if backups_days is not None:
        outcomes.append(StoreOutcome(BACKUPS, 0, forgotten.asked_at + timedelta(days=backups_days)))
    forget_id, owner = forgotten.forget_id, forgotten.owner
    confirmed = [
        ConfirmCleared(_meta(owner, ids.confirmation_id(forget_id, outcome.store)), forget_id, outcome)
        for outcome in outcomes
        if outcome.pending_until is None
    ]
    meta, remaining = _meta(owner, ids.receipt_command_id(forget_id)), tuple(forgotten.remaining[:NAMED])
    return [*confirmed, IssueReceipt(meta, ids.receipt_id(forget_id), forget_id, tuple(outcomes), remaining)]


def _meta(owner: str, command_id: str) -> CommandMeta:
    return CommandMeta(command_id, owner, datetime.now(UTC), ACTOR)
