"""The file of commands that Redis appends to (AOF): it holds what was deleted until it is written anew."""

from __future__ import annotations

import asyncio
import time

from redis.asyncio import Redis

POLL_S = 0.05


async def begin(redis: Redis) -> bool:
    """Have the file written anew. True once that has begun, or there is none; False while another one is under way."""
    about = await redis.info("persistence")
    if not about.get("aof_enabled"):
        return True
    if about.get("aof_rewrite_in_progress") or about.get("aof_rewrite_scheduled") or about.get("rdb_bgsave_in_progress"):
        return False
    await redis.bgrewriteaof()
    return True


async def ended(redis: Redis) -> bool | None:
    """Whether the last one ended well; None while it is under way."""
    about = await redis.info("persistence")
    if about.get("aof_rewrite_in_progress") or about.get("aof_rewrite_scheduled"):
        return None
    return not about.get("aof_enabled") or about.get("aof_last_bgrewrite_status") == "ok"


async def write_anew(redis: Redis, patience_s: float) -> bool:
    """Write the file anew, and wait for the end; False where that failed or took longer. Raises ``redis.RedisError``."""
    deadline = time.monotonic() + patience_s
    while not await begin(redis):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_S)
    while (done := await ended(redis)) is None:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_S)
    return done
