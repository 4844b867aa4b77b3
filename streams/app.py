"""Faust applications: one per agent, so that a slow agent's full buffers hold no other agent back.

Faust brings the consumer group, rebalancing and commits; order and acknowledgement are ours. Streams run with ``noack``: an event
is acknowledged only through ``OrderedAcks``. No tables, no leader topic, no web server, no exactly-once mode (it is broken: it
commits what was not done).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import faust
import structlog

from streams import kafka
from streams.config import WorkerConfig
from streams.order import InOrder

log = structlog.get_logger(__name__)

COMMIT_INTERVAL_S = 1.0
HEARTBEATS_PER_SESSION = 4

OnEvent = Callable[[Any], Awaitable[None]]
OnAssigned = Callable[[set[tuple[str, int]]], Awaitable[None]]
OnRevoked = Callable[[], Awaitable[None]]


def build_app(
    config: WorkerConfig,
    agent: str,
    topic: str,
    on_event: OnEvent,
    on_assigned: OnAssigned,
    on_revoked: OnRevoked,
    on_fatal: Callable[[BaseException], None],
) -> faust.App:
    """The Faust application of one agent: ``on_event`` for each event of ``topic``, in offset order per partition.

    ``on_assigned`` gets the whole new assignment, as (topic, partition), after each rebalance; ``on_revoked`` is called when it
    is taken away, before another worker can have it. What one of them raises ends the worker through ``on_fatal``: Faust itself
    would acknowledge the event and go on.
    """
    group = config.group(agent)
    directory = config.data_dir / "faust" / group
    directory.parent.mkdir(parents=True, exist_ok=True)
    app = faust.App(
        group,
        broker=f"kafka://{config.bootstrap}",
        datadir=str(directory),
        store="memory://",
        autodiscover=False,
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        topic_partitions=config.topics.partitions,
        broker_session_timeout=config.session_timeout_s,
        broker_heartbeat_interval=config.session_timeout_s / HEARTBEATS_PER_SESSION,
        broker_commit_interval=COMMIT_INTERVAL_S,
        broker_max_poll_interval=600.0,
        consumer_auto_offset_reset="earliest",
        stream_wait_empty=False,
        stream_ack_cancelled_tasks=False,
        producer_acks=-1,
    )
    source = app.topic(topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

    order = InOrder(config.bootstrap, group, topic)

    def waiting(error: BaseException) -> None:
        log.warning("an agent waits for the broker", agent=agent, error=type(error).__name__)

    async def take(partition: int, offset: int) -> bool:
        return await kafka.until_done(lambda: order.take(partition, offset), waiting)

    async def prepare(mine: set[tuple[str, int]]) -> None:
        order.hold()
        await on_assigned(mine)
        # last: from here on events are taken, and whoever takes them must be ready
        await order.reset({partition for _, partition in mine})

    async def consume(stream: Any) -> None:
        async for event in stream.noack().events():
            partition, offset = event.message.partition, event.message.offset
            try:
                if order.take_next(partition, offset) or await take(partition, offset):
                    await on_event(event)
            except Exception as error:
                on_fatal(error)

    async def assigned(_app: Any, partitions: Any, **_: Any) -> None:
        mine = {(tp.topic, tp.partition) for tp in partitions if tp.topic == topic}
        try:
            # the broker may be away, or still be making the topic of committed offsets
            await kafka.until_done(lambda: prepare(mine), waiting)
        except Exception as error:
            on_fatal(error)

    async def revoked(_app: Any, _partitions: Any, **_: Any) -> None:
        order.hold()
        try:
            await on_revoked()
        except Exception as error:
            on_fatal(error)

    app.agent(source, name=f"{group}-agent")(consume)
    app.on_partitions_assigned.connect(assigned)
    app.on_partitions_revoked.connect(revoked)
    return app
