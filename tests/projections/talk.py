"""Logs of conversations and what was learnt from them, for the working set; and a Redis to fold them into."""

from __future__ import annotations

import contextlib
import itertools
import random
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis

from ops.local.redis import EmbeddedRedis
from projections.records import Positions
from projections.working_set.applier import Applier, partitions_of, sources_of
from projections.working_set.entries import Recent
from projections.working_set.reader import WorkingSet
from projections.working_set.store import Store, connect, prefix_of
from schemas import ids, types
from schemas.codec import decode, encode
from schemas.sealed import DESTROYED, Sealed
from schemas.sealing import NO_KEYS
from schemas.subjects import sealed_with
from schemas.types import ConversationTurn, Message, MessageRef, SourceRef
from tests.projections.logs import LogMaker, Rec

TTL_S = 14_400


@dataclass(frozen=True)
class Said:
    """A message on the log."""

    turn_id: str
    message_id: str
    offset: int


class TalkLog(LogMaker):
    """Turns on conversation.events beside the events that were learnt from them."""

    def utter(self, owner: str, text: str, *, at: datetime | None = None, role: str = "user", turn: str | None = None) -> Said:
        """A turn of one message."""
        turn_id = ids.turn_id(owner, turn or text)
        message = Message(ids.message_id(turn_id, 0), role, Sealed.of(text))
        said = ConversationTurn(turn_id, owner, Sealed.of("u-1"), "agent-1", Sealed.of("s-1"), self.now(at), (message,))
        record = self.plain(self.topics.conversation, owner, owner.encode(), said)
        return Said(turn_id, message.message_id, record.offset)

    def learn(self, owner: str, text: str, said: Said) -> str:
        """A memory from a message; its id."""
        command = self._command(owner)
        made = self._added(command, 0, text, "u-1", _source(said))
        self.append(owner, command.events)
        return made

    def mention(self, owner: str, memory: str, said: Said, *, at: datetime | None = None) -> None:
        """A message that mentions a memory."""
        command = self._command(owner, at)
        known = command.state.memories[memory]
        before = known.mention(command.now)
        facts = (before, known.temperature, command.now, known.count, types.ThermalPolicy())
        self.append(owner, [types.MemoryReheated(command.meta(), memory, *facts, _source(said))])

    def forget_with_source(self, owner: str, memory: str) -> None:
        """A memory goes with the messages that it was learnt from."""
        command = self._command(owner)
        del command.state.memories[memory]
        self.append(owner, [types.MemoryForgotten(command.meta(), memory, command.cause, True, ())])

    def after(self, gone: Callable[[str], bool]) -> list[Rec]:
        """The log as a replay reads it once the keys of these texts are destroyed."""

        def change(value: Sealed, _: Any) -> Sealed:
            return Sealed(b"", DESTROYED) if gone(value.text) else value

        return [
            record if record.value is None else replace(record, value=encode(sealed_with(decode(record.value), change)))
            for record in self.records
        ]


def _source(said: Said) -> SourceRef:
    return SourceRef(said.turn_id, Sealed.of("s-1"), "agent-1", (MessageRef(said.message_id),), said.offset, 1, 0)


def recently(minutes: float = 0) -> datetime:
    """A time of today, whole milliseconds."""
    now = datetime.now(UTC).replace(microsecond=0)
    return now - timedelta(minutes=minutes)


class Held:
    """A working set in a real Redis, written without a broker."""

    def __init__(self, redis: Redis, log: TalkLog) -> None:
        self.redis, self.log = redis, log
        self.prefix = prefix_of(log.topics.prefix)
        self.reader = WorkingSet(redis, self.prefix)
        self.store = self.new_store()
        self.applier: Applier | None = None
        self._taken = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, server: EmbeddedRedis, log: TalkLog) -> AsyncIterator[Held]:
        redis = connect(server.url)
        try:
            yield cls(redis, log)
        finally:
            await redis.aclose()

    def new_store(self) -> Store:
        return Store(self.redis, self.prefix, TTL_S, str(uuid4()))

    async def begin(self) -> Applier:
        """As a new process does: claim, and go on from what is there."""
        self.store = self.new_store()
        await self.store.claim()
        await self.store.set("building", "")
        positions = await self.store.positions(partitions_of(sources_of(self.log.topics)))
        self.applier = Applier(self.store, self.log.topics, NO_KEYS, positions)
        return self.applier

    async def take(self, records: Sequence[Rec] | None = None, cuts: Iterable[int] = ()) -> None:
        """Fold ``records`` (what is new on the log, without any) in batches that end at ``cuts``."""
        if records is None:
            records, self._taken = self.log.records[self._taken :], len(self.log.records)
        applier = self.applier or await self.begin()
        borders = [0, *sorted(cuts), len(records)]
        for begin, end in itertools.pairwise(borders):
            await applier.apply(records[begin:end])

    async def anew(self, records: Sequence[Rec], cuts: Iterable[int] = ()) -> dict[str, Any]:
        """The contents after ``records``, folded from nothing under another prefix."""
        other = Held(self.redis, self.log)
        other.prefix = f"anew:{secrets.token_hex(4)}:{self.prefix}"
        other.store = other.new_store()
        await other.take(records, cuts)
        found = await other.contents()
        await other.store.wipe()
        return found

    async def known(self, owner: str, k: int = 10) -> Recent:
        """What a reader is told; fails where that is nothing."""
        found = await self.reader.recent(owner, k)
        assert found is not None
        return found

    async def contents(self) -> dict[str, Any]:
        """Every key without its prefix and what it holds, expiry times too; of the state what follows from the log."""
        found: dict[str, Any] = {}
        async for key in self.redis.scan_iter(match=f"{self.prefix}*"):
            name = key.decode().removeprefix(self.prefix)
            if name == "state":
                state: Any = await self.redis.hgetall(key)
                found[name] = {f: v for f, v in state.items() if f.startswith((b"owner:", b"at:"))}
            elif name.endswith(":focus"):
                found[name] = (await self.redis.zrange(key, 0, -1, withscores=True), await _expiry(self.redis, key))
            else:
                found[name] = await self.redis.hgetall(key)
        return found


async def _expiry(redis: Redis, key: bytes) -> int:
    """Seconds since the epoch; Redis 6.2 has no EXPIRETIME."""
    pipe = redis.pipeline(transaction=True)
    pipe.time()
    pipe.pttl(key)
    (seconds, micros), left = await pipe.execute()
    return round(float(seconds + micros / 1e6 + left / 1000))


def shuffled(records: Sequence[Rec], chance: random.Random) -> list[Rec]:
    """The same records, each partition's in its order, the partitions in any; slices stay together as they are one batch."""
    queues: dict[tuple[str, int], list[Rec]] = {}
    for record in records:
        queues.setdefault((record.topic, record.partition), []).append(record)
    mixed = []
    while queues:
        place = chance.choice(list(queues))
        mixed.append(queues[place].pop(0))
        if not queues[place]:
            del queues[place]
    return mixed


def positions(log: TalkLog) -> Positions:
    """Ends of the topics that the working set reads."""
    return log.ends(log.topics.conversation, log.topics.events)
