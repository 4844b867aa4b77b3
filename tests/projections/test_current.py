"""memory.current: the compacted topic says of each live memory its newest state, whatever happens on the way there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from typing import Any, NoReturn
from uuid import UUID, uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from msgspec.structs import replace as with_fields
from psycopg import AsyncConnection

from projections import current_publisher, generation
from projections.applier import Applier
from projections.current_publisher import CurrentPublisher
from projections.current_topic import Difference, check, noted, source_of
from projections.errors import TopicMissing
from projections.log_reader import KafkaLog
from projections.rebuild import rebuild, verify
from projections.records import LogRecord
from projections.runner import RunnerConfig
from projections.view import View
from schemas.codec import decode, encode
from schemas.envelope import as_map, number
from schemas.sealed import Sealed
from schemas.sealing import ItemKey
from schemas.subjects import Subject
from schemas.topics import Topics, partition_of
from schemas.types import MemoryAdded, MemoryCurrent
from tests.projections.harness import DEADLINE_S, Broker, eventually, of_view, owner, running
from tests.projections.logs import POLICY, LogMaker


@pytest.fixture
def view(views: dict[str, View]) -> View:
    return views["current"]


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current_publisher, "CHECK_S", 0.3)


class Untouched:
    """Keys that nobody may ask for."""

    async def for_sealing(self, subjects: Collection[Subject]) -> dict[Subject, ItemKey | None]:
        raise AssertionError(f"{len(subjects)} keys were asked for")

    async def for_opening(self, key_ids: Collection[str]) -> dict[str, ItemKey | None]:
        raise AssertionError(f"{len(key_ids)} keys were asked for")

    async def fingerprint_key(self, owner: str) -> bytes | None:
        raise AssertionError("a key was asked for")


@contextlib.asynccontextmanager
async def publishing(view: View, topics: Topics, config: RunnerConfig) -> AsyncIterator[None]:
    """A publisher at work; its error, if any, is raised at the end."""
    stop = asyncio.Event()
    task = asyncio.create_task(CurrentPublisher(view, topics, config).run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, DEADLINE_S)


async def follow(view: View, config: RunnerConfig, log: LogMaker) -> None:
    async with running(view, config) as runner:
        await runner.catch_up_to(log.ends(log.topics.events), DEADLINE_S)


async def published(view: View, topics: Topics, config: RunnerConfig) -> None:
    """Publish until topic and table agree."""
    async with publishing(view, topics, config):
        await published_now(view, topics, config)


async def published_now(view: View, topics: Topics, config: RunnerConfig) -> None:
    """Wait until what runs has taken the live generation on and published everything."""

    async def level() -> bool:
        known = await rows(config, "SELECT 1 FROM memory_current_sent")
        with contextlib.suppress(TopicMissing):  # a broker has not heard yet that it is there again
            return len(known) == topics.partitions and (await check(view, topics, config)).equal
        return False

    await eventually(level, "the topic is like the table")


async def raw(topics: Topics, config: RunnerConfig) -> list[LogRecord]:
    """Everything that the topic holds."""
    found: list[LogRecord] = []
    async with KafkaLog(config.reader(), [source_of(topics)]) as reader:
        ends = await reader.ends()
        await reader.seek(dict.fromkeys(ends, 0))
        while await reader.positions() != ends:
            found += await reader.next()
    return found


async def compacted(topics: Topics, config: RunnerConfig) -> dict[str, MemoryCurrent]:
    """The newest record of each key, as a consumer from the beginning knows it that drops what is older than what it has."""
    newest: dict[str, tuple[int, MemoryCurrent | None]] = {}
    for record in await raw(topics, config):
        key, sequence = (record.key or b"").decode(), number(as_map(record.headers), "sequence")
        assert sequence >= newest.get(key, (0, None))[0], "an older state behind a newer one"
        said = None if record.value is None else decode(record.value)
        assert said is None or (isinstance(said, MemoryCurrent) and (said.memory_id, said.sequence) == (key, sequence))
        newest[key] = sequence, said
    return {key: said for key, (_, said) in newest.items() if said is not None}


async def rows(config: RunnerConfig, query: str) -> list[tuple[Any, ...]]:
    async with await AsyncConnection.connect(config.dsn, autocommit=True) as conn:
        return await (await conn.execute(query.encode())).fetchall()


def life(log: LogMaker, ana: str, ben: str) -> list[str]:
    """Additions, mentions, revisions, pins, downshifts, forgettings, an erasure; Ana's memories that are left."""
    first, second, third, fourth = log.add(ana, "one", "two", "three", "four")
    log.add(ben, "of somebody who goes", "all of it")
    named = log.request(ana, "named", slug="a name", tags="x,y", extra="{}")
    log.reheat(ana, first, second)
    log.revise(ana, named, "named anew", category="c")
    log.pin(ana, second)
    log.downshift(ana, third)
    log.erase(ben)
    log.forget(ana, fourth)
    return [first, second, third, named]


async def test_read_from_the_beginning_and_compacted_it_says_what_the_live_memories_are(
    broker: Broker, config: RunnerConfig, view: View, log: LogMaker
) -> None:
    """Published while it changes; nothing is opened for it."""
    ana, ben, config = owner(), owner(), replace(config, keys=Untouched())
    async with running(view, config) as runner, publishing(view, log.topics, config):
        begin = 0
        for _ in range(3):
            kept = life(log, ana, ben)
            await broker.send(log.records[begin:])
            begin = len(log.records)
            await runner.catch_up_to(log.ends(log.topics.events), DEADLINE_S)
        await published_now(view, log.topics, config)
    found = await compacted(log.topics, config)
    assert set(found) == set(log.live(ana))
    first, second, third, named = (found[memory] for memory in kept)
    for memory, said in found.items():
        known = log._owners[ana].memories[memory]
        assert (said.owner, said.user_id, said.policy) == (ana, Sealed.of("u-1"), POLICY)
        assert (said.temperature, said.warmed_at, said.access_count) == (known.temperature, known.warmed_at, known.count)
        assert (said.version, said.pinned) == (known.version, known.pinned)
    assert [said.content.text for said in (first, second, third, named)] == ["one", "two", "three", "named anew"]
    assert (first.tier, second.pinned, third.tier, third.pinned) == ("hot", True, "warm", False)
    assert (named.slug, named.category, named.extra) == (Sealed.of("a name"), Sealed.of("c"), Sealed.of("{}"))
    assert (named.tags, named.version, named.salience) == ((Sealed.of("x"), Sealed.of("y")), 2, 0.5)
    places = {(r.partition, as_map(r.headers)["ce_subject"].decode()) for r in await raw(log.topics, config)}
    assert places <= {(partition_of(who, log.topics.partitions), who) for who in (ana, ben)}
    assert (await verify(view, config)).equal


async def test_sealed_values_stand_there_as_on_the_log_though_nobody_has_their_keys(
    broker: Broker, config: RunnerConfig, view: View, log: LogMaker
) -> None:
    ana, closed = owner(), Sealed(b"\x00\xffclosed", "a-cipher", "11111111-1111-4111-8111-111111111111")
    [memory] = log.add(ana, "plain")
    event = decode(log.records[0].value or b"")
    assert isinstance(event, MemoryAdded)
    log.records[0] = replace(log.records[0], value=encode(with_fields(event, content=closed, tags=(closed,), slug=closed)))
    await broker.send(log.records)
    config = replace(config, keys=Untouched())
    await follow(view, config, log)
    await published(view, log.topics, config)
    said = (await compacted(log.topics, config))[memory]
    assert (said.content, said.tags, said.slug) == (closed, (closed,), closed)


@pytest.mark.parametrize("crash", ["before it is sent", "before it is taken out of the outbox"])
async def test_what_was_committed_when_everything_was_killed_is_published_by_the_next(
    broker: Broker, config: RunnerConfig, view: View, log: LogMaker, monkeypatch: pytest.MonkeyPatch, crash: str
) -> None:
    ana, topics = owner(), log.topics
    await published(view, topics, config)
    life(log, ana, owner())
    await broker.send(log.records)
    await follow(view, config, log)
    assert (await check(view, topics, config)).waiting == 7
    assert await raw(topics, config) == []
    if crash != "before it is sent":

        async def killed(*_: object) -> NoReturn:
            raise RuntimeError("killed here")

        with monkeypatch.context() as broken:
            broken.setattr(current_publisher, "_settle", killed)
            with pytest.raises(RuntimeError, match="killed here"):
                await CurrentPublisher(view, topics, config).run(asyncio.Event())
        assert len(await raw(topics, config)) == 7
        assert (await check(view, topics, config)).waiting == 7
    await published(view, topics, config)
    assert set(await compacted(topics, config)) == set(log.live(ana))
    assert await rows(config, "SELECT 1 FROM memory_current_outbox") == []


async def test_a_rebuilt_generation_goes_on_with_the_topic_and_sends_nothing_again(
    broker: Broker, config: RunnerConfig, view: View, log: LogMaker
) -> None:
    ana, topics = owner(), log.topics
    async with running(view, config) as runner, publishing(view, topics, config):
        kept = life(log, ana, owner())
        await broker.send(log.records)
        await runner.catch_up_to(log.ends(topics.events), DEADLINE_S)
        await published_now(view, topics, config)
        sent = len(await raw(topics, config))
        assert (await rebuild(view, config)).promoted
        assert (await rows(config, "SELECT count(*) FROM memory_current_outbox"))[0][0] > 0, "made by the rebuild"
        await published_now(view, topics, config)
        assert len(await raw(topics, config)) == sent
        begin = len(log.records)
        log.reheat(ana, kept[0])
        log.forget(ana, kept[1])
        await broker.send(log.records[begin:])
        await runner.catch_up_to(log.ends(topics.events), DEADLINE_S)
        await published_now(view, topics, config)
    assert runner.generation == 2
    assert len(await raw(topics, config)) == sent + 2
    assert set(await compacted(topics, config)) == set(log.live(ana))


async def test_a_topic_that_was_made_anew_is_filled_from_the_table_while_the_publisher_runs(
    broker: Broker, config: RunnerConfig, view: View, log: LogMaker
) -> None:
    ana, topics = owner(), log.topics
    life(log, ana, owner())
    await broker.send(log.records)
    await follow(view, config, log)
    async with publishing(view, topics, config):
        await published_now(view, topics, config)
        admin = AIOKafkaAdminClient(bootstrap_servers=config.bootstrap)
        await admin.start()
        try:
            await admin.delete_topics([topics.current])

            async def gone() -> bool:
                return topics.current not in await admin.list_topics()

            await eventually(gone, "the topic is gone")
            [spec] = [spec for spec in topics.specs() if spec.name == topics.current]
            await admin.create_topics([NewTopic(spec.name, spec.partitions, 1, topic_configs=spec.config)])
        finally:
            await admin.close()
        await published_now(view, topics, config)
    assert set(await compacted(topics, config)) == set(log.live(ana))
    assert len(await raw(topics, config)) == 4, "no history, no tombstones"


async def test_what_somebody_else_wrote_is_told_by_the_check_and_put_right(
    broker: Broker, config: RunnerConfig, view: View, log: LogMaker
) -> None:
    """An older state behind a newer one, a forgotten memory, bytes that are no record, a key that is no memory."""
    ana, topics = owner(), log.topics
    kept = life(log, ana, owner())
    await broker.send(log.records)
    await follow(view, config, log)
    await published(view, topics, config)
    before, records = await compacted(topics, config), await raw(topics, config)
    gone = str(uuid4())
    older = with_fields(before[kept[0]], sequence=1, temperature=1.0)
    place = {"topic": topics.current, "partition": partition_of(ana, topics.partitions)}
    async with AIOKafkaProducer(bootstrap_servers=config.bootstrap, acks="all", enable_idempotence=True) as producer:
        for key, value in (
            (kept[0], encode(older)), (gone, encode(older)), (kept[1], b"rubbish"), ("no memory", b"x"), (kept[2], None),
        ):  # fmt: skip
            await producer.send_and_wait(key=key.encode(), value=value, headers=[("sequence", b"0")], **place)
    assert await check(view, topics, config) == Difference(missing=1, other=2, left_over=2)
    await published(view, topics, config)
    written = (await raw(topics, config))[len(records) + 5 :]
    newest = {(r.key or b"").decode(): r.value and decode(r.value) for r in written}
    assert newest == {**{memory: before[memory] for memory in kept[:3]}, gone: None, "no memory": None}


async def test_a_generation_that_is_behind_the_topic_takes_nothing_back(
    broker: Broker, config: RunnerConfig, view: View, log: LogMaker
) -> None:
    """As after a rollback: what the table has still to learn stays on the topic."""
    ana, topics = owner(), log.topics
    kept = life(log, ana, owner())
    half = len(of_view(view, log.records))
    log.revise(ana, kept[0], "newer")
    log.add(ana, "new")
    await broker.send(log.records)
    await follow(view, config, log)
    await published(view, topics, config)
    sent, before = len(await raw(topics, config)), await compacted(topics, config)
    async with await generation.connect(config.dsn) as conn:
        async with conn.transaction():
            behind = await generation.create(conn, view)
        applier = Applier(view, behind.schema, conn)
        await applier.claim()
        await applier.apply(of_view(view, log.records)[:half])
        async with conn.transaction():
            await generation.switch(conn, view, behind)
    await published(view, topics, config)
    assert len(await raw(topics, config)) == sent
    await follow(view, config, log)
    await published(view, topics, config)
    assert await compacted(topics, config) == before
    assert before[kept[0]].content.text == "newer"


async def test_what_is_noted_anew_while_it_is_sent_stays_in_the_outbox(installed: str, view: View, log: LogMaker) -> None:
    """And what the runner holds at the moment is not waited for, so neither can stand in the other's way."""
    ana = owner()
    [first, second] = log.add(ana, "one", "two")
    async with await generation.connect(installed) as conn, await generation.connect(installed) as other:
        schema = (await generation.live(conn, view.name)).schema
        applier = Applier(view, schema, conn)
        await applier.claim()
        await applier.apply(log.records)
        sent = [(UUID(ana), UUID(update.key.decode()), update.sequence) for update in await noted(conn, schema, 10)]
        log.reheat(ana, first)
        await applier.apply(log.records[-1:])
        async with other.transaction():
            await other.execute(f"SELECT 1 FROM {schema}.memory_current_outbox WHERE memory_id = %s FOR UPDATE", (second,))
            await asyncio.wait_for(current_publisher._settle(conn, schema, sent), DEADLINE_S)
            assert {u.key.decode(): u.sequence for u in await noted(conn, schema, 10)} == {first: 3, second: 2}
        await current_publisher._settle(conn, schema, sent)
        assert {u.key.decode(): u.sequence for u in await noted(conn, schema, 10)} == {first: 3}
