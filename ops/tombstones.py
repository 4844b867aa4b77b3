"""Before anything is served: the key store has carried out what the log says is forgotten.

A key store that was brought back from a backup has keys that were destroyed since. Its own position on the log came back with it,
or not at all, so the projection ``keys`` destroys them again; whoever opens values waits for that. Views that were brought back
hold what was forgotten since: recall asks the key store what that is.
"""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import structlog
from aiokafka import TopicPartition
from psycopg_pool import AsyncConnectionPool

from projections.errors import is_outage
from schemas.topics import Topics
from streams import kafka

log = structlog.get_logger(__name__)

POLL_S = 0.1
SAY_EVERY_S = 10.0
_LAST = "SELECT partition, event_offset FROM forgetting WHERE owner = %s::uuid ORDER BY event_offset DESC LIMIT 1"


class KnownForgettings:
    """What the key store has carried out, for recall (``projections.recall.Forgettings``). ``pool`` is open on its database."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool

    async def last(self, owner_ref: str) -> tuple[int, int] | None:
        """Where the owner's last forgetting stands on the log. Raises psycopg's errors."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_LAST, (owner_ref,), prepare=True)).fetchone()
        return None if row is None else (row[0], row[1])


async def replayed(bootstrap: str, keys_dsn: str, topics: Topics) -> None:
    """Wait until the key store at ``keys_dsn`` has passed what was on the log when this was called. Outages are waited for."""
    ends = await kafka.until_done(lambda: _ends(bootstrap, topics), _waiting)
    said = 0.0
    while (behind := await _behind(keys_dsn, topics.events, ends)) is None or behind:
        said += POLL_S
        if said >= SAY_EVERY_S:
            said = 0.0
            log.warning("waiting until what was forgotten is destroyed again: does a projector run?", records=behind)
        await asyncio.sleep(POLL_S)


async def _ends(bootstrap: str, topics: Topics) -> dict[int, int]:
    reader = kafka.reader(bootstrap, "tombstones")
    await reader.start()
    try:
        tps = [TopicPartition(topics.events, p) for p in range(topics.partitions)]
        return {tp.partition: end for tp, end in (await reader.end_offsets(tps)).items()}
    finally:
        await reader.stop()


async def _behind(keys_dsn: str, topic: str, ends: dict[int, int]) -> int | None:
    """Records of the log that are still to be carried out; None while the key store is away."""
    try:
        async with await psycopg.AsyncConnection.connect(keys_dsn, autocommit=True) as connection:
            query = "SELECT partition, next_offset FROM emberlog_keys_checkpoint WHERE topic = %s"
            at: dict[int, int] = dict(await (await connection.execute(query, (topic,))).fetchall())
    except psycopg.errors.UndefinedTable:
        return None  # still to be set up
    except psycopg.Error as error:
        if not is_outage(error):
            raise
        return None
    return sum(max(0, end - at.get(partition, 0)) for partition, end in ends.items())


def _waiting(error: BaseException) -> None:
    log.warning("waiting for the broker", error=type(error).__name__)
