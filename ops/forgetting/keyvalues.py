"""Searching a key-value store: every key of Emberlog's there, and all that stands in its value. What is sought stays here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from ops.forgetting.findings import Search, Searched
from ops.forgetting.stores import Store
from projections.working_set import connect

PORTION = 500


async def search_key_values(search: Search, url: str, stores: list[Store]) -> None:
    """Search ``stores``, whose places are beginnings of keys, in the Redis at ``url``. One that is away is a failure."""
    redis = connect(url)
    try:
        for store in stores:
            into = search.begin(store)
            for prefix in store.places:
                try:
                    async for key in redis.scan_iter(match=f"{prefix}*", count=PORTION):
                        search.item(into)
                        await _key(search, into, redis, key)
                except RedisError as error:
                    into.failures.append(f"{prefix}*: {type(error).__name__}")
    finally:
        await redis.aclose()


async def _key(search: Search, into: Searched, redis: Redis, key: bytes) -> None:
    name = key.decode(errors="replace")
    search.value(into, key, lambda _: f"a key, {name}")
    number = 0
    async for value in _values(redis, key):
        number += 1
        search.value(into, value, lambda byte, number=number: f"{name} value {number} byte {byte}")  # type: ignore[misc]


async def _values(redis: Redis, key: bytes) -> AsyncIterator[bytes]:
    """Fields and values of a hash, members of a set, elements of a list, a string: whatever the key holds."""
    kind: Any = await redis.type(key)
    match kind:
        case b"hash":
            async for field, value in redis.hscan_iter(key, count=PORTION):
                yield field
                yield value
        case b"zset":
            async for member, _ in redis.zscan_iter(key, count=PORTION):
                yield member
        case b"set":
            async for member in redis.sscan_iter(key, count=PORTION):
                yield member
        case b"list":
            for element in await _all(redis, key):
                yield element
        case b"string":
            text: Any = await redis.get(key)
            if text is not None:
                yield text


async def _all(redis: Redis, key: bytes) -> list[bytes]:
    found: Any = await redis.lrange(key, 0, -1)
    return list(found)
