"""What all stores of a line hold: every published table, the topic of current memories, the working set.

Unlike ``projections.digest`` this covers every column that readers see, generated ones too, by the public names.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import psycopg

from ops.keyring import open_keys
from ops.view_settings import view_settings
from ops.wiring import runner_config
from projections import current_topic, tables
from projections.log_reader import KafkaLog
from projections.views import build_views
from projections.working_set import WorkingSet, connect, prefix_of
from tests.line.support.line import Line
from tests.line.support.waiting import until

_FORM = "SET timezone = 'UTC'; SET datestyle = 'ISO'; SET extra_float_digits = 1; SET bytea_output = 'hex'"
_DIGEST = """
SELECT count(*), encode(sha256(coalesce(string_agg(h, ''::bytea ORDER BY h), '')), 'hex')
FROM (SELECT sha256(convert_to(ROW({columns})::text, 'UTF8')) AS h FROM {table}) rows
"""
Digest = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Contents:
    """Rows and digest by published table; the newest record of each memory on its topic; the keys of the working set."""

    tables: dict[str, Digest]
    current: dict[bytes, Any] = field(default_factory=dict)
    working_set: dict[str, Any] = field(default_factory=dict)

    def differing(self, other: Contents) -> list[str]:
        """What differs, by name: tables, memories on the topic, keys of the working set."""
        found = []
        for part in fields(self):
            mine, others = getattr(self, part.name), getattr(other, part.name)
            found += [f"{part.name} {name}" for name in sorted({*mine, *others}) if mine.get(name) != others.get(name)]
        return found


def tables_of(line: Line, dsn: str | None = None) -> dict[str, Digest]:
    """Rows and digest of every published table of the views."""
    found = {}
    with psycopg.connect(dsn or line.dsn, autocommit=True) as connection:
        connection.execute(_FORM)
        for view in build_views(view_settings(line.as_settings)).values():
            passing = {"checkpoint", *(table.name for table in view.tables if not table.digested)}
            for public, (table, columns) in tables.published(view).items():
                if table not in passing:
                    listed = ", ".join(f'"{column}"' for column in columns)
                    row = connection.execute(_DIGEST.format(columns=listed, table=public).encode()).fetchone()
                    assert row is not None
                    found[public] = (int(row[0]), str(row[1]))
    return found


async def contents_of(line: Line) -> Contents:
    """Everything, once the projector has brought it up to the log."""
    return Contents(await asyncio.to_thread(tables_of, line), await _current(line), await working_set_of(line))


async def _current(line: Line) -> dict[bytes, Any]:
    source = current_topic.source_of(line.topics)
    async with open_keys(line.as_settings, line.dsn) as ring:
        config = runner_config(line.bootstrap, line.dsn, ring)
        async with KafkaLog(config.bulk_reader(), [source]) as reader:
            ends = await reader.ends()
            found: dict[bytes, Any] = {}
            for partition in range(line.topics.partitions):
                await reader.seek(dict.fromkeys(ends, 0))
                found |= await current_topic.newest(reader, line.topics.current, partition, ends)
    return found


async def working_set_of(line: Line) -> dict[str, Any]:
    """Every key of it without its prefix, and what it holds, with the second at which it expires; nothing without a Redis.

    Of its checkpoint what follows from the log.
    """
    found: dict[str, Any] = {}
    if line.as_settings.redis_url is None:
        return found
    redis, prefix = connect(line.as_settings.redis_url.get_secret_value()), prefix_of(line.prefix)
    try:
        async for key in redis.scan_iter(match=f"{prefix}*", count=1_000):
            name = key.decode().removeprefix(prefix)
            if name == "state":
                state: Any = await redis.hgetall(key)
                found[name] = {f: v for f, v in state.items() if f.startswith((b"owner:", b"at:"))}
            elif name.endswith(":focus"):
                pipe = redis.pipeline(transaction=True)
                pipe.zrange(key, 0, -1, withscores=True)
                pipe.time()
                pipe.pttl(key)
                held, (seconds, micros), left = await pipe.execute()
                found[name] = (held, round(float(seconds + micros / 1e6 + left / 1000)))
            else:
                found[name] = await redis.hgetall(key)
    finally:
        await redis.aclose()
    return found


@asynccontextmanager
async def roomy_working_set(line: Line) -> AsyncIterator[None]:
    """Redis evicts nobody meanwhile: which owners it would hold depends on who was read last, not on the log."""
    if line.as_settings.redis_url is None:
        yield
        return
    redis = connect(line.as_settings.redis_url.get_secret_value())
    try:
        before = (await redis.config_get("maxmemory"))["maxmemory"] or "0"
        await redis.config_set("maxmemory", "0")
        try:
            yield
        finally:
            await redis.config_set("maxmemory", before)
    finally:
        await redis.aclose()


async def lose_working_set(line: Line) -> None:
    """What a Redis that lost everything has of this line: nothing. Others may use the same one."""
    if line.as_settings.redis_url is None:
        return
    redis = connect(line.as_settings.redis_url.get_secret_value())
    try:
        found = [key async for key in redis.scan_iter(match=f"{prefix_of(line.prefix)}*", count=1_000)]
        assert found
        for at in range(0, len(found), 500):
            await redis.unlink(*found[at : at + 500])
    finally:
        await redis.aclose()


# -- waiting


async def level(line: Line, deadline_s: float = 120.0) -> None:
    """Wait until views, keys, working set and the topic of current memories are level with the log."""
    waits: dict[str, Any] = {}

    async def there() -> bool:
        topics = line.topics
        ends = await line.ends(topics.conversation, topics.events, topics.embeddings, topics.parked)
        waits["views"] = await line.behind(ends)
        waits["keys"] = await asyncio.to_thread(keys_behind, line, ends)
        waits["working set"] = await _working_set_behind(line, ends)
        waits["topic"] = (await line.rows("SELECT count(*) FROM memory_current_outbox"))[0][0]
        return not any(waits.values())

    def said() -> str:
        return f"all stores are level: {waits}\n" + "\n".join(f"{p.name}: {p.log()[-1500:]}" for p in line.processes if p.alive)

    await until(there, said, deadline_s)


def keys_behind(line: Line, ends: dict[tuple[str, int], int]) -> int:
    with psycopg.connect(line.keys_dsn, autocommit=True) as connection:
        rows = connection.execute("SELECT topic, partition, next_offset FROM emberlog_keys_checkpoint").fetchall()
    return sum(max(0, ends.get((topic, partition), 0) - at) for topic, partition, at in rows)


async def _working_set_behind(line: Line, ends: dict[tuple[str, int], int]) -> int:
    if line.as_settings.redis_url is None:
        return 0
    redis = connect(line.as_settings.redis_url.get_secret_value())
    wanted = {tp: end for tp, end in ends.items() if tp[0] in (line.topics.conversation, line.topics.events)}
    try:
        at = await WorkingSet(redis, prefix_of(line.prefix)).positions(line.topics)
    finally:
        await redis.aclose()
    return sum(wanted.values()) + 1 if at is None else sum(max(0, end - at[tp]) for tp, end in wanted.items())
