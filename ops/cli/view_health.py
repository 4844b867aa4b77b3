"""How far each view is, by partition: records and seconds behind, when it moved last, and whether a projector has it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition

from ops.cli.target import Target
from ops.cli.topics import topic_reader
from projections.holding import held

Ends = dict[TopicPartition, int]
"""End offsets."""
AGE_S = 5.0
"""How long the broker may take to show the oldest records that are not applied."""


async def view_of(connection: psycopg.AsyncConnection[Any], name: str, ends: Ends) -> dict[str, Any]:
    """A view's standing, without the age of what it has not applied: ``add_ages`` adds it."""
    try:
        live = await one(
            connection, "SELECT generation FROM emberlog_view_generation WHERE view = %s AND state = 'live'", (name,)
        )
    except psycopg.errors.UndefinedTable:
        live = None
    if live is None:
        return {"generation": None, "lag": None, "lag_s": None, "alarms": 0, "problems": 0, "partitions": []}
    running = await held(connection, name)
    cursor = await connection.execute(
        "SELECT topic, partition, next_offset, extract(epoch FROM now() - moved_at)::float8 "
        f"FROM emberlog_{name}_checkpoint ORDER BY topic, partition".encode()
    )
    partitions = [
        {
            "topic": topic,
            "partition": partition,
            "next_offset": offset,
            "lag": max(0, ends.get(TopicPartition(topic, partition), offset) - offset),
            "lag_s": 0.0,
            "quiet_s": None if quiet is None else round(max(0.0, quiet), 1),
            "running": partition in running,
        }
        for topic, partition, offset, quiet in await cursor.fetchall()
    ]
    return {
        "generation": live,
        "lag": sum(place["lag"] for place in partitions),
        "lag_s": 0.0,
        "alarms": await one(connection, f"SELECT count(*) FROM emberlog_{name}_owner_alarm"),
        "problems": await one(connection, f"SELECT count(*) FROM emberlog_{name}_view_problem"),
        "partitions": partitions,
    }


async def one(connection: psycopg.AsyncConnection[Any], query: str, parameters: tuple[Any, ...] = ()) -> Any:
    """The one value that ``query`` gives."""
    row = await (await connection.execute(query, parameters)).fetchone()
    return row[0] if row else None


async def add_ages(target: Target, views: Iterable[dict[str, Any]]) -> None:
    """Add ``lag_s``: the age of the oldest record that is not applied, by its time on the broker."""
    behind = [view for view in views if view["lag"]]
    if not behind:
        return
    async with topic_reader(target.bootstrap) as consumer:
        for view in behind:
            places = {TopicPartition(p["topic"], p["partition"]): p for p in view["partitions"] if p["lag"]}
            times = await _times_at(consumer, {tp: place["next_offset"] for tp, place in places.items()})
            for tp, written_ms in times.items():
                places[tp]["lag_s"] = round(max(0.0, time.time() - written_ms / 1000), 3)
            view["lag_s"] = max(place["lag_s"] for place in places.values())


async def _times_at(consumer: AIOKafkaConsumer, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """When the first record at or behind each offset was written, in milliseconds since 1970."""
    consumer.assign(sorted(offsets))
    for tp, offset in offsets.items():
        consumer.seek(tp, offset)
    found: dict[TopicPartition, int] = {}
    deadline = time.monotonic() + AGE_S
    while len(found) < len(offsets) and time.monotonic() < deadline:
        left = [tp for tp in offsets if tp not in found]
        for tp, records in (await consumer.getmany(*left, timeout_ms=200)).items():
            found.setdefault(tp, records[0].timestamp)
    return found


def stall_of(view: Mapping[str, Any], stalled_s: float) -> str | None:
    """Why a view does not get on; None where it does. One that has begun anew, or that is not long behind, does."""
    stuck = [
        place
        for place in view["partitions"]
        if place["lag"] and place["lag_s"] > stalled_s and (place["quiet_s"] is None or place["quiet_s"] > stalled_s)
    ]
    if not stuck:
        return None
    numbers = sorted({place["partition"] for place in stuck})
    alone = sorted({place["partition"] for place in stuck if not place["running"]})
    records, seconds = sum(place["lag"] for place in stuck), max(place["lag_s"] for place in stuck)
    words = f"{records} records behind on partition {', '.join(map(str, numbers))}, the oldest {seconds:.0f} s old"
    if not alone:
        return f"{words}, and its projector does not get on"
    if alone == numbers:
        return f"{words}, and no projector runs there: start one with emberlog project"
    return f"{words}; no projector runs for partition {', '.join(map(str, alone))}, and the others do not get on"
