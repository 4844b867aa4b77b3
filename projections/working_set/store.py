"""The working set in Redis: its keys, whose it is, and one transaction per batch.

| key | holds |
|---|---|
| ``{prefix}state`` | a hash: who writes, positions on the topics, the last sequence of every owner |
| ``{prefix}{owner}`` | a hash: messages and memories of an owner, each in a field |
| ``{prefix}{owner}:focus`` | a sorted set: what was touched last, by event time; it expires |
| ``{prefix}wanted`` | a set: owners to be filled again |

A server that evicts takes whole keys. An owner who stands in the state and has no hash was evicted; where the state is gone,
nothing is known, and all begins again from the log.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from projections.errors import Fenced
from projections.records import Positions, TopicPartition
from projections.working_set import scripts
from projections.working_set.fold import MARKER, Fields, Windows, expires

VERSION = "1"
"""Of the fold: raise it whenever the same log would give other contents; all is made anew then."""
AT_ONCE = 500
"""Keys or fields in one command."""
_HAS_OWNER, _HAS_PARTITION = b"owner:", b"at:"
_TIMEOUT_S = 10.0


class StateLost(Exception):
    """The checkpoint is not there, or is older than this runner's claim: claim again, and go on from what is there."""


def connect(url: str) -> Redis:
    """A client. It tries nothing twice: what was sent and not answered may have been done. Raises ValueError."""
    return Redis.from_url(
        url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, retry=Retry(NoBackoff(), 0), client_name="emberlog"
    )


def prefix_of(topic_prefix: str) -> str:
    """The beginning of all keys: installations that share a broker by a prefix may share a Redis, too."""
    return f"emberlog:{topic_prefix}working-set:"


@dataclass(slots=True)
class Owner:
    """What is known of an owner. ``windows`` is None where they were evicted, or the owner was erased."""

    sequence: int = 0
    fate: str = ""
    """``erased``, or ``gap`` where the log has one: its memory events are not applied any more."""
    windows: Windows | None = None
    before: Fields = field(default_factory=dict)
    """The hash as it was read; empty where there is none yet."""

    @classmethod
    def read(cls, value: bytes | None, fields: Fields) -> Owner:
        """From the owner's field in the state, and the hash. An owner without a field is new."""
        if value is None:
            return cls(windows=Windows())
        sequence, _, fate = value.decode().partition(" ")
        held = MARKER in fields and fate != "erased"
        return cls(int(sequence), fate, Windows.read(fields) if held else None, fields if held else {})

    def value(self) -> str:
        """What ``read`` takes for the state's field."""
        return f"{self.sequence} {self.fate}".strip()


class Store:
    """One writer's hold on the working set. ``ttl_s`` is how long a focus buffer lives."""

    def __init__(self, redis: Redis, prefix: str, ttl_s: int, runner: str, epoch: int = 0) -> None:
        self.redis, self.prefix, self.ttl_s = redis, prefix, ttl_s
        self.epoch = epoch
        self._runner = runner
        self._state = f"{prefix}state"
        self._set, self._commit = redis.register_script(scripts.SET), redis.register_script(scripts.COMMIT)

    async def claim(self) -> None:
        """Take the working set over: whoever wrote it is fenced. Without one of this version it begins anew."""
        claimed = await self.redis.register_script(scripts.CLAIM)([self._state], [self._runner, self.epoch, VERSION])
        self.epoch = int(claimed)

    async def resume(self) -> None:
        """Go on after an outage. Raises Fenced; claims again what a crash of Redis took back."""
        try:
            await self.still_ours()
        except StateLost:
            await self.claim()

    async def still_ours(self) -> None:
        """Raise Fenced or StateLost where this writer may write no more."""
        await self.set("seen", "")

    async def drop(self) -> None:
        """Delete the state: whoever claims it next makes all anew."""
        await self.set("", "")

    async def set(self, name: str, value: str) -> None:
        """Set a field of the state; an empty value deletes it. Raises Fenced, StateLost."""
        _check(await self._set([self._state], [self._runner, self.epoch, name, value]))

    async def get(self, name: str) -> str:
        """A field of the state, empty where there is none."""
        found: Any = await self.redis.hget(self._state, name)
        return "" if found is None else found.decode()

    async def positions(self, partitions: Iterable[TopicPartition]) -> Positions:
        """Next offsets, 0 where nothing was read yet."""
        wanted = list(partitions)
        found: Any = await self.redis.hmget(self._state, [_partition(tp) for tp in wanted])
        return {tp: int(value or 0) for tp, value in zip(wanted, found, strict=True)}

    async def wipe(self) -> None:
        """Delete every key of owners, in portions."""
        keys = []
        async for key in self.redis.scan_iter(match=_literal(self.prefix) + "*", count=1000):
            if key != self._state.encode():
                keys.append(key)
            if len(keys) >= AT_ONCE:
                await self.redis.unlink(*keys)
                keys.clear()
        if keys:
            await self.redis.unlink(*keys)

    async def owners(self, references: Iterable[str]) -> dict[str, Owner]:
        """What is known of these owners."""
        wanted = list(references)
        if not wanted:
            return {}
        known: Any = await self.redis.hmget(self._state, [_HAS_OWNER + owner.encode() for owner in wanted])
        async with self.redis.pipeline(transaction=False) as pipe:
            for owner in wanted:
                pipe.hgetall(self.key(owner))
            found = await pipe.execute()
        return {o: Owner.read(value, fields) for o, value, fields in zip(wanted, known, found, strict=True)}

    async def commit(
        self, owners: Mapping[str, Owner], moves: Mapping[TopicPartition, tuple[int, int]], *, forgot: bool = False
    ) -> bool:
        """Write owners and positions in one transaction. False where an owner was evicted meanwhile: nothing was written then.

        ``forgot``: the append-only file has to be written anew. Raises Fenced, StateLost.
        """
        arguments: list[Any] = [self._runner, self.epoch, len(moves)]
        for tp, (before, _) in moves.items():
            arguments += [_partition(tp), before]
        held = [self.key(reference) for reference, owner in owners.items() if owner.before]
        arguments += [len(held), *held]
        state: list[Any] = []
        for tp, (_, after) in moves.items():
            state += [_partition(tp), after]
        for reference, owner in owners.items():
            state += [_HAS_OWNER + reference.encode(), owner.value()]
            for command in self._write(reference, owner):
                arguments += [len(command), *command]
        if forgot:
            state += [b"rewrite", uuid4().hex]
        for portion in _portions(state):
            arguments += [len(portion) + 2, "HSET", self._state, *portion]
        answer = await self._commit([self._state], arguments)
        if answer == b"evicted":
            return False
        _check(answer)
        return True

    def _write(self, reference: str, owner: Owner) -> Iterable[list[Any]]:
        key, focus_key = self.key(reference), self.key(reference, "focus")
        if owner.windows is None:
            if owner.fate == "erased":
                yield ["UNLINK", key, focus_key]
            return
        now = owner.windows.fields(self.ttl_s)
        if not owner.before:
            yield ["UNLINK", key]
        if gone := [name for name in owner.before if name not in now]:
            for portion in _portions(gone):
                yield ["HDEL", key, *portion]
        changed = [item for name, value in now.items() if owner.before.get(name) != value for item in (name, value)]
        for portion in _portions(changed):
            yield ["HSET", key, *portion]
        yield ["UNLINK", focus_key]
        focus = owner.windows.focus(self.ttl_s)
        # from event time: what a rebuild reads of long ago revives no focus
        if focus and expires(focus, self.ttl_s) > time.time():
            yield ["ZADD", focus_key, *(part for it in focus for part in (it.at.timestamp(), f"{it.kind}:{it.id}"))]
            yield ["EXPIREAT", focus_key, expires(focus, self.ttl_s)]

    def key(self, owner: str, what: str = "") -> str:
        """The key of an owner's hash, or of another part."""
        return f"{self.prefix}{owner}:{what}" if what else f"{self.prefix}{owner}"

    async def wanted(self) -> list[str]:
        """Owners whom a reader wants to be filled again; they are taken off the list."""
        found: Any = await self.redis.spop(f"{self.prefix}wanted", 100)
        return [owner.decode() for owner in found or ()]


def building_text(ends: Positions) -> str:
    """Ends of the log as they were when a rebuild began, for the state."""
    return msgspec.json.encode([[topic, partition, end] for (topic, partition), end in ends.items()]).decode()


def building_ends(text: str) -> Positions:
    """What ``building_text`` made."""
    return {(topic, partition): end for topic, partition, end in msgspec.json.decode(text)}


def _check(answer: bytes) -> None:
    if answer == b"lost":
        raise StateLost
    if answer == b"fenced":
        raise Fenced(
            "another runner took the working set over, so this one has stopped; nothing is lost. Run one projector per view, "
            "or stop the other one and start this one again"
        )


def _partition(tp: TopicPartition) -> bytes:
    return _HAS_PARTITION + f"{tp[0]}/{tp[1]}".encode()


def _portions(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[i : i + AT_ONCE] for i in range(0, len(items), AT_ONCE))


def _literal(text: str) -> str:
    """``text`` for a pattern of Redis."""
    return "".join(f"\\{letter}" if letter in "*?[]\\^" else letter for letter in text)
