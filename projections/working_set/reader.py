"""Asking the working set.

working_set = WorkingSet(connect(url), prefix_of(""))
found = await working_set.recent(owner_reference, k=10)      # None: not known here, ask Postgres
await working_set.refill(owner_reference)                    # have the owner filled again from the log
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from redis.asyncio import Redis

from projections.records import Positions
from projections.working_set.applier import partitions_of, sources_of
from projections.working_set.entries import Focused, Recent
from projections.working_set.fold import MARKER, UNTIL, Windows
from projections.working_set.store import VERSION
from schemas.topics import Topics


class WorkingSet:
    """A reader of the working set. Errors of Redis come through: ``redis.RedisError``."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis, self._prefix = redis, prefix

    async def recent(self, owner: str, k: int = 10) -> Recent | None:
        """The newest ``k`` each of an owner's messages, memories and focus; ``owner`` is a reference.

        None where this is not known: the owner was evicted, Redis lost everything, or what it holds is being made from the log.
        An owner who has nothing, or was erased, is known and has empty parts.
        """
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hmget(f"{self._prefix}state", ["version", "building", f"owner:{owner}"])
            pipe.hgetall(f"{self._prefix}{owner}")
            pipe.zrevrange(f"{self._prefix}{owner}:focus", 0, max(k, 1) - 1, withscores=True)
            pipe.time()
            (version, building, known), fields, focus, (now, _) = await pipe.execute()
        if version != VERSION.encode() or building is not None:
            return None
        if known is None or known.endswith(b"erased"):
            return Recent((), (), ())
        if MARKER not in fields or (not focus and int(fields.get(UNTIL, 0)) > now):
            return None
        return _shown(Windows.read(fields), focus, k)

    async def positions(self, topics: Topics) -> Positions | None:
        """Next offset of each partition that it follows; None where it has not begun, or is being made from the log."""
        partitions = partitions_of(sources_of(topics))
        fields = ["version", "building", *(f"at:{topic}/{partition}" for topic, partition in partitions)]
        found: Any = await self._redis.hmget(f"{self._prefix}state", fields)
        version, building, *offsets = found
        if version != VERSION.encode() or building is not None:
            return None
        return {tp: int(offset or 0) for tp, offset in zip(partitions, offsets, strict=True)}

    async def refill(self, owner: str) -> None:
        """Have the runner fill an evicted owner again from the log; it takes as long as reading the owner's partition."""
        await self._redis.sadd(f"{self._prefix}wanted", owner)


def _shown(windows: Windows, focus: list[tuple[bytes, float]], k: int) -> Recent:
    said = sorted((m for m in windows.messages.values() if m.text is not None), key=lambda m: (m.at, m.offset, m.place))
    told = sorted((m for m in windows.memories.values() if m.text is not None), key=lambda m: m.sequence, reverse=True)
    return Recent(tuple(said[max(0, len(said) - k) :]), tuple(told[:k]), tuple(_focused(*member) for member in focus[:k]))


def _focused(member: bytes, score: float) -> Focused:
    kind, _, id = member.decode().partition(":")
    return Focused("memory" if kind == "memory" else "message", id, datetime.fromtimestamp(score, UTC))
