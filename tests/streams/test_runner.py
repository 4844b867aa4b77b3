"""One partition of the decider on the real broker and database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import psycopg
import pytest
from aiokafka import TopicPartition

from ops.local.addresses import ServiceAddresses
from schemas import codec, envelope
from schemas.slices import SliceAssembler, Verdict, verdict
from schemas.topics import Topics, partition_of
from schemas.types import Command, MemoryEvent
from streams import kafka
from streams.parking.lot import ParkingLot
from streams.protocol import cache as cache_module
from streams.protocol import session as session_module
from streams.protocol.commands import RawCommand
from streams.protocol.runner import PartitionRunner
from streams.protocol.session import DeciderParts
from streams.protocol.store import DeciderStore, PositionLost
from streams.setup import create_state_tables, create_topics
from tests.keys.plain import PlainKeys
from tests.streams.scenario import OWNER, extracted
from tests.streams.simulated_code import expected

DEADLINE_S = 30.0
PARTITIONS = 2
HERE = partition_of(OWNER, PARTITIONS)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is awaited offers no event
            await asyncio.sleep(0.01)


@dataclass
class Bench:
    """A partition of the decider, and what it acknowledged."""

    services: ServiceAddresses
    topics: Topics
    dsn: str
    lot: ParkingLot
    acked: list[int] = field(default_factory=list)
    fatal: list[BaseException] = field(default_factory=list)

    @asynccontextmanager
    async def runner(self) -> AsyncIterator[PartitionRunner]:
        parts = DeciderParts(self.services.kafka_bootstrap, self.topics, self.dsn, self.lot, self.fatal.append)
        runner = PartitionRunner(parts, HERE)
        self.lot.on_retry("decide", lambda place: runner.retry(place.owner or ""))
        self.lot.on_left("decide", runner.left)
        await runner.start()
        try:
            yield runner
        finally:
            await runner.stop()

    async def take(self, runner: PartitionRunner, offset: int, command: Command | bytes, key: str = OWNER) -> None:
        value = command if isinstance(command, bytes) else codec.encode(command)
        await runner.take(RawCommand(offset, key.encode(), value, {}), lambda: self.acked.append(offset))

    async def trickle(self, offsets: range) -> None:
        """Commands one after the other to a runner of their own, so that they are not decided all at once."""
        wanted = len(self.acked) + len(offsets)
        async with self.runner() as runner:
            for offset in offsets:
                await self.take(runner, offset, COMMANDS[offset])
                await asyncio.sleep(0.01)
            await until(lambda: len(self.acked) == wanted)

    async def accepted(self) -> list[MemoryEvent]:
        """Events of the owner that every reader accepts."""
        tp = TopicPartition(self.topics.events, HERE)
        consumer = kafka.reader(self.services.kafka_bootstrap, "test")
        await consumer.start()
        events: list[MemoryEvent] = []
        try:
            consumer.assign([tp])
            await consumer.seek_to_beginning(tp)
            end, slices = await kafka.end_offset(consumer, tp), SliceAssembler()
            while await consumer.position(tp) < end:
                for message in (await consumer.getmany(tp, timeout_ms=500)).get(tp, ()):
                    done = slices.feed(message.offset, envelope.as_map(message.headers), message.value)
                    if done is not None and verdict(done.first, len(events)) is Verdict.ACCEPT:
                        events.extend(done.events)
        finally:
            await consumer.stop()
        return events


@pytest.fixture
async def bench(services: ServiceAddresses, fresh_database: str, topic_prefix: str) -> AsyncIterator[Bench]:
    topics = Topics(PARTITIONS, topic_prefix)
    await create_topics(services.kafka_bootstrap, topics)
    await create_state_tables(fresh_database)
    async with ParkingLot(services.kafka_bootstrap, topics, PlainKeys()) as lot:
        yield Bench(services, topics, fresh_database, lot)


COMMANDS = [extracted(f"t{i}", f"User likes thing {i % 7}", offset=i) for i in range(40)]


async def test_commands_are_decided_in_order_and_acknowledged_once_they_were_read_back(bench: Bench) -> None:
    async with bench.runner() as runner:
        for offset, command in enumerate(COMMANDS):
            await bench.take(runner, offset, command)
        await until(lambda: len(bench.acked) == len(COMMANDS))
    assert bench.acked == list(range(len(COMMANDS)))
    assert await bench.accepted() == expected(list(COMMANDS))[OWNER]


async def test_redelivered_commands_change_nothing_whether_or_not_their_state_was_saved(bench: Bench) -> None:
    async with bench.runner() as runner:
        for offset, command in enumerate(COMMANDS[:10]):
            await bench.take(runner, offset, command)
        await until(lambda: len(bench.acked) == 10)
    # a second life from the committed offset, which is behind
    async with bench.runner() as runner:
        for offset, command in enumerate(COMMANDS[:20]):
            await bench.take(runner, offset, command)
        await until(lambda: len(bench.acked) == 30)
    assert await bench.accepted() == expected(list(COMMANDS[:20]))[OWNER]


async def test_an_owner_of_whom_little_fits_in_memory_is_decided_as_ever_and_so_after_a_restart(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WHOLE_ENTRIES": 0, "MAX_LANE_ENTRIES": 3, "MAX_ENTRIES": 0}.items():
        monkeypatch.setattr(cache_module, name, value)
    monkeypatch.setattr(session_module, "MATERIALISE_S", 0.02)
    await bench.trickle(range(25))
    await bench.trickle(range(15, 40))
    assert not bench.fatal
    assert await bench.accepted() == expected(list(COMMANDS))[OWNER]


async def test_two_deciders_at_once_write_one_history_and_the_one_that_saves_second_stops(bench: Bench) -> None:
    async with bench.runner() as first, bench.runner() as second:
        for offset, command in enumerate(COMMANDS):
            for runner in (first, second):
                await bench.take(runner, offset, command)
        await until(lambda: set(bench.acked) == set(range(len(COMMANDS))) and bool(bench.fatal))
    assert [type(error) for error in bench.fatal] == [PositionLost]
    assert await bench.accepted() == expected(list(COMMANDS))[OWNER]


async def test_a_decider_whose_position_another_one_moved_stops(bench: Bench) -> None:
    async with bench.runner() as runner:
        store = DeciderStore(bench.dsn, bench.topics.events, HERE)
        await store.open()
        await store.save(0, 1_000, {})
        await store.close()
        await bench.take(runner, 0, COMMANDS[0])
        await until(lambda: bool(bench.fatal))
    assert isinstance(bench.fatal[0], PositionLost)


async def test_an_unreadable_command_is_parked_in_its_owners_order_and_dropping_it_frees_the_rest(bench: Bench) -> None:
    async with bench.runner() as runner:
        await bench.take(runner, 0, COMMANDS[0])
        await bench.take(runner, 1, b"\xc3\x01broken beyond repair")
        await bench.take(runner, 2, COMMANDS[2])
        await until(lambda: bench.acked == [0, 1, 2])
        places = bench.lot.of_owner("decide", OWNER)
        assert [p.offset for p in places] == [1, 2]
        works = [await bench.lot.read(p) for p in places]
        assert "lacks" in works[0].reason
        assert works[1].behind == works[0].parked_id
        assert len(await bench.accepted()) == 1
        await bench.lot.resolve(places[0], "dropped")
        runner.retry(OWNER)
        await until(lambda: not bench.lot.of_owner("decide", OWNER))
    assert [e.meta.cause for e in await bench.accepted()] == [0, 2]


async def test_a_record_that_names_no_owner_of_the_partition_is_parked_alone(bench: Bench) -> None:
    async with bench.runner() as runner:
        await bench.take(runner, 0, COMMANDS[0], key="not-an-owner")
        await bench.take(runner, 1, COMMANDS[1])
        await until(lambda: bench.acked == [0, 1])
    assert [e.meta.cause for e in await bench.accepted()] == [1]


async def test_while_the_database_is_away_the_decider_pauses_and_then_goes_on(bench: Bench) -> None:
    async with bench.runner() as runner:
        await bench.take(runner, 0, COMMANDS[0])
        await until(lambda: bench.acked == [0])
        async with await psycopg.AsyncConnection.connect(bench.dsn, autocommit=True) as conn:
            await conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        for offset in range(1, 10):
            await bench.take(runner, offset, COMMANDS[offset])
        await until(lambda: bench.acked == list(range(10)))
    assert not bench.fatal
    assert await bench.accepted() == expected(list(COMMANDS[:10]))[OWNER]
