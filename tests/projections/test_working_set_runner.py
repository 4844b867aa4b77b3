"""The working set's runner over a real broker and a real Redis: lost, killed, evicted, forgotten, and never in anybody's way."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from ops.local.redis import EmbeddedRedis
from ops.local.services import ServiceAddresses
from projections.errors import CatchUpTimeout, Fenced
from projections.working_set.runner import WorkingSetConfig, WorkingSetRunner
from schemas.topics import Topics
from tests.projections.harness import DEADLINE_S, Broker, eventually, owner
from tests.projections.talk import TTL_S, Held, TalkLog, positions, recently
from tests.services import temporary_data_dir


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    """A Redis that a test may kill."""
    redis = EmbeddedRedis(temporary_data_dir())
    redis.start()
    try:
        yield redis
    finally:
        redis.stop()
        redis.remove()


@pytest.fixture
def log(topics: Topics) -> TalkLog:
    return TalkLog(topics)


@pytest.fixture
async def held(server: EmbeddedRedis, log: TalkLog) -> AsyncIterator[Held]:
    async with Held.of(server, log) as made:
        yield made


@pytest.fixture
def working_set(services: ServiceAddresses, server: EmbeddedRedis, topics: Topics) -> WorkingSetConfig:
    return WorkingSetConfig(
        services.kafka_bootstrap, server.url, topics, ttl_s=TTL_S, backoff_max_s=0.2, poll_ms=50, rewrite_every_s=0.1
    )


@contextlib.asynccontextmanager
async def running(config: WorkingSetConfig) -> AsyncIterator[WorkingSetRunner]:
    """A runner at work; its error, if any, is raised at the end."""
    runner, stop = WorkingSetRunner(config), asyncio.Event()
    task = asyncio.create_task(runner.run(stop))
    try:
        yield runner
    finally:
        stop.set()
        await asyncio.wait_for(task, DEADLINE_S)


def tell(log: TalkLog, owners: list[str], count: int) -> None:
    """Messages of all, a memory from every second."""
    for n in range(count):
        who = owners[n % len(owners)]
        said = log.utter(who, f"message {len(log.records)} of {who}", at=recently(count - n))
        if n % 2:
            log.learn(who, f"fact {len(log.records)}", said)


async def test_what_redis_lost_is_made_again_and_is_the_same(
    broker: Broker, held: Held, log: TalkLog, working_set: WorkingSetConfig
) -> None:
    owners = [owner() for _ in range(5)]
    tell(log, owners, 60)
    await broker.send(log.records)
    async with running(working_set) as runner:
        await runner.catch_up_to(positions(log))
        before = await held.contents()
        assert before == await held.anew(log.records)
        await held.redis.flushall()
        assert await held.reader.recent(owners[0]) is None

        async def is_back() -> bool:
            return await held.reader.recent(owners[0]) is not None

        await eventually(is_back, "the working set is there again")
        assert await held.contents() == before
        sent = len(log.records)
        tell(log, owners, 5)
        await broker.send(log.records[sent:])
        await runner.catch_up_to(positions(log))
        assert await held.contents() == await held.anew(log.records)
        # the checkpoint alone, as an eviction takes it: what else is there is not trusted
        await held.redis.hset(f"{held.prefix}{owners[1]}", "message:foreign", "{}")
        await held.redis.hset(f"{held.prefix}{owner()}", "message:of nobody on the log", "{}")
        await held.redis.unlink(f"{held.prefix}state")
        await eventually(is_back, "the working set is there again")
        assert await held.contents() == await held.anew(log.records)


async def test_a_killed_redis_is_a_pause_and_goes_on_from_its_append_only_file(
    broker: Broker, server: EmbeddedRedis, held: Held, log: TalkLog, working_set: WorkingSetConfig
) -> None:
    owners = [owner() for _ in range(3)]
    tell(log, owners, 20)
    await broker.send(log.records)
    async with running(working_set) as runner:
        await runner.catch_up_to(positions(log))
        for _ in range(2):
            await asyncio.to_thread(server.kill)
            await held.redis.connection_pool.disconnect()
            sent = len(log.records)
            tell(log, owners, 6)
            await broker.send(log.records[sent:])
            with pytest.raises(CatchUpTimeout):
                await runner.catch_up_to(positions(log), 0.3)
            await asyncio.to_thread(server.restart)
            assert await held.redis.hget(f"{held.prefix}state", "building") is None, "the file has it, no rebuild is needed"
            await runner.catch_up_to(positions(log))
            assert await held.contents() == await held.anew(log.records)


async def test_a_second_runner_takes_it_over_and_the_first_stops(
    broker: Broker, log: TalkLog, working_set: WorkingSetConfig
) -> None:
    tell(log, [owner()], 3)
    await broker.send(log.records)
    first, stop = WorkingSetRunner(working_set), asyncio.Event()
    task = asyncio.create_task(first.run(stop))
    await first.catch_up_to(positions(log))
    async with running(working_set) as second:
        await second.catch_up_to(positions(log))
        with pytest.raises(Fenced):
            await asyncio.wait_for(task, DEADLINE_S)


async def test_an_evicted_owner_is_filled_again_when_asked_for(
    broker: Broker, held: Held, log: TalkLog, working_set: WorkingSetConfig
) -> None:
    owners = [owner() for _ in range(4)]
    tell(log, owners, 40)
    await broker.send(log.records)
    async with running(working_set) as runner:
        await runner.catch_up_to(positions(log))
        before = await held.contents()
        for who in owners[:2]:
            await held.redis.unlink(f"{held.prefix}{who}", f"{held.prefix}{who}:focus")
            await held.reader.refill(who)

        async def all_known() -> bool:
            return all([await held.reader.recent(who) is not None for who in owners])

        await eventually(all_known, "evicted owners are known again")
        assert await held.contents() == before


async def test_under_pressure_redis_evicts_owners_and_none_is_shown_in_part(
    broker: Broker, held: Held, log: TalkLog, working_set: WorkingSetConfig
) -> None:
    used = (await held.redis.info("memory"))["used_memory"]
    # a batch on its way counts, too
    await held.redis.config_set("maxmemory", str(used + 400_000))
    owners = [owner() for _ in range(60)]
    for n in range(600):
        log.utter(owners[n % 60], f"message {n} " + "x" * 1_000, at=recently(600 - n))
    await broker.send(log.records)
    async with running(replace(working_set, max_records=50)) as runner:
        await runner.catch_up_to(positions(log))
        assert (await held.redis.info("stats"))["evicted_keys"] > 0
        await held.redis.config_set("maxmemory", "0")
        whole = await held.anew(log.records)
        shown = [who for who in owners if await held.reader.recent(who) is not None]
        assert 0 < len(shown) < len(owners)
        contents = await held.contents()
        assert {who: contents[who] for who in shown} == {who: whole[who] for who in shown}


async def test_what_was_forgotten_leaves_the_append_only_file_once_it_was_written_anew(
    broker: Broker, server: EmbeddedRedis, held: Held, log: TalkLog, working_set: WorkingSetConfig
) -> None:
    ann, bob, cyd = owner(), owner(), owner()
    rum = log.learn(bob, "likes quince-rum", log.utter(bob, "quince-rum is what I like"))
    log.learn(bob, "likes tea", log.utter(bob, "tea as well"))
    log.utter(ann, "zanzibar is where I live")
    log.utter(cyd, "somebody else")
    await broker.send(log.records)
    files = server.directory

    def in_files() -> set[bytes]:
        whole = b"".join(path.read_bytes() for path in files.rglob("*appendonly*") if path.is_file())
        return {word for word in (b"quince-rum", b"zanzibar", b"tea as well", ann.encode()) if word in whole}

    async with running(working_set) as runner:
        await runner.catch_up_to(positions(log))
        assert await held.reader.recent(ann) is not None

        async def flushed() -> bool:
            return len(in_files()) == 4

        await eventually(flushed, "the file has every word")
        sent = len(log.records)
        log.forget_with_source(bob, rum)
        log.erase(ann)
        await broker.send(log.records[sent:])
        await runner.catch_up_to(positions(log))

        async def rewritten() -> bool:
            return await held.redis.hget(f"{held.prefix}state", "rewrite") is None

        await eventually(rewritten, "the file was written anew")
        # the reference, in a number's company, stays: it says that no turn of the owner may come back
        assert in_files() == {b"tea as well", ann.encode()}
        assert not list(files.glob("temp-*"))


async def test_without_redis_the_runner_waits_and_ends_when_told(log: TalkLog, working_set: WorkingSetConfig) -> None:
    begun = time.monotonic()
    async with running(replace(working_set, url="redis://127.0.0.1:1/0")):
        await asyncio.sleep(0.3)
    assert time.monotonic() - begun < 5


async def test_a_redis_that_follows_another_log_begins_anew(
    broker: Broker, held: Held, log: TalkLog, working_set: WorkingSetConfig
) -> None:
    ann = owner()
    log.utter(ann, "one", at=recently(1))
    await broker.send(log.records)
    await held.take()
    topic, partition = log.records[0].topic, log.records[0].partition
    await held.redis.hset(f"{held.prefix}state", f"at:{topic}/{partition}", "900")
    async with running(working_set) as runner:
        await runner.catch_up_to(positions(log))
        assert await held.contents() == await held.anew(log.records)
