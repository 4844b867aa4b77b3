"""The bounded cache between a partition's lanes and the decider's state in Postgres."""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from immutables import Map
from msgspec.structs import replace

from schemas.codec import encode
from schemas.slices import Slice
from schemas.types import Command
from streams.decider import EMPTY, OwnerState, decide, fold
from streams.protocol import cache as cache_module
from streams.protocol.cache import StateCache
from streams.protocol.entries import dump_entry
from streams.protocol.lane import Pending
from streams.protocol.partition import PartitionDecider
from streams.protocol.store import Change, DeciderStore
from streams.setup import create_state_tables
from tests.streams.commands import OWNER, remember
from tests.streams.decider.histories import HISTORIES
from tests.streams.test_decider_store import opened, owner
from tests.streams.test_partial_state import undisturbed

TOPIC = "memory.events.v1"


@pytest.fixture
async def dsn(fresh_database: str) -> str:
    await create_state_tables(fresh_database)
    return fresh_database


@dataclass
class Partition:
    """One owner's commands on a partition that starts again and again from its store."""

    dsn: str
    topic: str
    rnd: random.Random
    log: list[Slice] = field(default_factory=list)
    ids: itertools.count[int] = field(default_factory=itertools.count)

    @asynccontextmanager
    async def life(self) -> AsyncIterator[tuple[PartitionDecider, StateCache]]:
        machine = PartitionDecider(decide, lambda: f"a{next(self.ids)}", encode=lambda _: b"")
        store = DeciderStore(self.dsn, self.topic, 0)
        cache = StateCache(machine, store, lambda _: {})
        position = await cache.open()
        try:
            behind = self.log[position:]
            await cache.hold([OWNER], behind)
            for slice_ in behind:
                machine.observe(slice_)
                cache.observed(OWNER)
            yield machine, cache
        finally:
            await store.close()

    async def play(self, commands: list[Command]) -> None:
        following = 0
        while following < len(commands):
            async with self.life() as (machine, cache):
                for _ in range(self.rnd.randint(1, 8)):
                    some = commands[following : following + self.rnd.randint(1, 4)]
                    await cache.hold([OWNER])
                    for command in some:
                        machine.offer(Pending(following, OWNER, command))
                        following += 1
                    await self.settle(machine, cache)
                    if self.rnd.random() < 0.5:
                        await cache.save(len(self.log))

    async def settle(self, machine: PartitionDecider, cache: StateCache) -> None:
        while machine.has_ready:
            await cache.look_up()
            for append in machine.appends(100):
                self.log.append(Slice(OWNER, append.append_id, append.first, append.events, len(self.log) + 1))
                await cache.hold([OWNER], self.log[-1:])
                machine.observe(self.log[-1])
                cache.observed(OWNER)


@pytest.mark.parametrize(("whole", "lane"), [(0, 0), (8, 12), (512, 50_000)])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(HISTORIES, st.integers(0, 2**32))
async def test_a_partition_that_forgets_and_starts_again_at_random_decides_as_one_that_remembers(
    dsn: str, monkeypatch: pytest.MonkeyPatch, whole: int, lane: int, commands: list[Command], seed: int
) -> None:
    monkeypatch.setattr(cache_module, "WHOLE_ENTRIES", whole)
    monkeypatch.setattr(cache_module, "MAX_LANE_ENTRIES", lane)
    monkeypatch.setattr(cache_module, "MAX_ENTRIES", lane)
    rnd = random.Random(seed)
    partition = Partition(dsn, str(uuid.uuid4()), rnd)
    await partition.play(commands)
    events, state = undisturbed(commands)
    assert [encode(event) for slice_ in partition.log for event in slice_.events] == [encode(event) for event in events]
    async with partition.life() as (_, cache):
        await cache.save(len(partition.log))
    async with opened(dsn, partition.topic) as store:
        found = (await store.all_entries([OWNER]))[OWNER]
        headers = await store.headers([OWNER])
    assert {key: dump_entry(key, row.entry) for key, row in found.items()} == {
        key: dump_entry(key, entry) for key, entry in state.entries.items()
    }
    assert headers[OWNER].state == replace(state, entries=Map())


async def _grown(dsn: str, memories: int) -> OwnerState:
    """An owner of some memories, saved."""
    state = EMPTY
    for cause in range(memories):
        state = fold(state, decide(state, remember(f"Statement {cause}"), cause))
    async with opened(dsn) as store:
        await store.save(0, 1, {OWNER: Change(state, len(state.entries), dict(state.entries))})
    return state


@pytest.mark.parametrize(("memories", "as_a_whole"), [(3, True), (300, False)])
async def test_small_owners_are_read_as_a_whole_and_large_ones_by_what_is_touched(
    dsn: str, memories: int, as_a_whole: bool
) -> None:
    state = await _grown(dsn, memories)
    partition = Partition(dsn, TOPIC, random.Random(0), [Slice(OWNER, "a", 1, (), 1)])
    async with partition.life() as (machine, cache):
        lane = machine.lanes[OWNER]
        assert (lane.known is None) is as_a_whole
        assert len(lane.state.entries) == (len(state.entries) if as_a_whole else 0)
        machine.offer(Pending(memories, OWNER, remember("Statement 1")))
        await cache.look_up()
        (append,) = machine.appends(100)
        assert [type(event).__name__ for event in append.events] == ["MemoryReheated"]
        assert len(machine.lanes[OWNER].state.entries) < len(state.entries) or as_a_whole


async def test_the_cache_lets_the_owner_used_longest_ago_go_and_keeps_what_is_not_saved(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "MAX_LANES", 2)
    names = [owner() for _ in range(4)]
    async with opened(dsn):
        machine = PartitionDecider(decide, iter("abcdefgh").__next__)
        store = DeciderStore(dsn, "another", 0)
        cache = StateCache(machine, store, lambda _: {})
        await cache.open()
        await cache.hold(names)
        await cache.hold(names[:1])
        command = remember("User plays chess")
        at_work = replace(command, meta=replace(command.meta, owner=names[1]))
        slice_ = Slice(names[1], "x", 1, decide(EMPTY, at_work, 0), 1)
        machine.observe(slice_)
        cache.observed(names[1])
        await cache.save(0)
        assert list(machine.lanes) == [names[1], names[0]], "one is not saved, the other was used last"
        await cache.hold(names[3:])
        await cache.save(1)
        assert list(machine.lanes) == [names[0], names[3]], "saved, it can go"
        await store.close()


async def test_one_owner_at_work_is_trimmed_to_what_its_commands_need(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_LANE_ENTRIES", 10)
    await _grown(dsn, 100)
    partition = Partition(dsn, TOPIC, random.Random(0), [Slice(OWNER, "a", 1, (), 1)])
    async with partition.life() as (machine, cache):
        for offset in range(100, 150):
            machine.offer(Pending(offset, OWNER, remember(f"Statement {offset - 60}")))
        await cache.look_up()
        (append,) = machine.appends(200)
        machine.observe(Slice(OWNER, append.append_id, append.first, append.events, 2))
        cache.observed(OWNER)
        machine.offer(Pending(150, OWNER, remember("Statement 7")))
        await cache.look_up()
        assert machine.lanes[OWNER].size > 100
        await cache.save(2)
        assert 0 < machine.lanes[OWNER].size < 10
        (append,) = machine.appends(200)
        assert [type(event).__name__ for event in append.events] == ["MemoryReheated"]
