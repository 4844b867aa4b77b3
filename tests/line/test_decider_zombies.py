"""Two deciders over the real broker, one of them killed or put to sleep at any moment: the log is that of an undisturbed one.

The check is the one by which operators verify a log (``streams.redeciding``): every command decided once, in its owner's order,
by the events that today's rules give, whatever zombies wrote in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer
from immutables import Map
from msgspec.structs import replace

from benchmarks.decide.workload import Workload
from ops.local.addresses import ServiceAddresses
from schemas import codec, envelope
from schemas.types import Command
from streams import kafka
from streams.decider import EMPTY, OwnerState, fold
from streams.protocol.store import DeciderStore
from streams.redeciding import Findings, redecide
from tests.line.conftest import MakeLine
from tests.line.support.line import Line
from tests.line.support.process import EmberlogProcess
from tests.line.support.reading import AcceptedLog
from tests.line.support.seeds import chosen_seed, say
from tests.line.support.waiting import until

SESSION_S = 4
OWNERS = 60
RATE, BURST = 1_000.0, 50
MOST, BACKLOG = 1_000_000, 1_500


@pytest.fixture
async def line(services: ServiceAddresses, make_line: MakeLine) -> AsyncIterator[Line]:
    """A line of its own, without processes yet."""
    made = make_line(services, settings={"EMBERLOG_SESSION_TIMEOUT_S": str(SESSION_S)})
    await made.prepare()
    yield made
    await made.close()


class Deciders:
    """Two workers that only decide, and the supervisor that an operator has: one that ended by itself is started again.

    One that slept finds its place taken within a second or so of waking, and ends; by then the other may have been killed.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._held: set[int] = set()
        self.two: list[EmberlogProcess] = []
        self.ended = 0

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[Deciders]:
        self.two = [await self._started() for _ in range(2)]
        supervisor = asyncio.create_task(self._supervise())
        try:
            yield self
        finally:
            if not supervisor.done():
                supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await supervisor

    async def _started(self) -> EmberlogProcess:
        line, name = self._line, f"decider-{len(self._line.processes)}"
        process = EmberlogProcess(name, ["worker", "--agents", "decide"], line.folder / "logs", line.environment)
        line.processes.append(process)
        line.go(process)
        await process.ready()
        return process

    async def _supervise(self) -> None:
        while True:
            for number, process in enumerate(self.two):
                if not process.alive and number not in self._held:
                    assert "PositionLost" in process.log(), f"ended for another reason:\n{process.log()[-3000:]}"
                    self.ended += 1
                    self.two[number] = await self._started()
            await asyncio.sleep(0.1)

    @asynccontextmanager
    async def without(self, victim: int) -> AsyncIterator[None]:
        """Kill one, and start it again at the end."""
        self._held.add(victim)
        self.two[victim].kill()
        yield
        self.two[victim] = await self._started()
        self._held.discard(victim)

    async def tell_where(self) -> str:
        return "\n".join([await process.tell_where() for process in self.two])


class Publishing:
    """Commands at a pace until told to stop; some come twice, as from a producer that was not sure."""

    def __init__(self, line: Line, work: Workload, chance: random.Random, log: AcceptedLog) -> None:
        self._line, self._commands, self._chance, self._log = line, work.commands(MOST), chance, log
        self._stopping = asyncio.Event()
        self.sent = 0

    async def run(self) -> None:
        producer = kafka.producer(self._line.bootstrap, "test")
        await producer.start()
        try:
            while not self._stopping.is_set():
                # on a busy machine the deciders set the pace, so that the end is not spent on a backlog
                if self.sent > accepted(self._log) + BACKLOG:
                    await asyncio.sleep(0.05)
                    continue
                for partition, _, command in itertools.islice(self._commands, BURST):
                    for _ in range(2 if self._chance.random() < 0.05 else 1):
                        await self._send(producer, partition, command)
                await producer.flush()
                await asyncio.sleep(BURST / RATE)
        finally:
            await producer.stop()

    async def _send(self, producer: AIOKafkaProducer, partition: int, command: Command) -> None:
        meta = command.meta
        headers = envelope.headers_for(command, id=meta.command_id, source="test", subject=meta.owner, time=meta.occurred_at)
        value, key = codec.encode(command), meta.owner.encode()
        await producer.send(self._line.topics.commands, value, key=key, partition=partition, headers=headers)
        self.sent += 1

    def stop(self) -> None:
        self._stopping.set()


async def decided(line: Line, log: AcceptedLog, deciders: Deciders, wanted: int, deadline_s: float = 90) -> None:
    """Wait until readers have accepted at least ``wanted`` events."""

    async def there() -> bool:
        await log.advance(20)
        return accepted(log) >= wanted

    try:
        await until(there, lambda: f"{wanted} events accepted, there are {accepted(log)}", deadline_s)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{await deciders.tell_where()}") from None


def accepted(log: AcceptedLog) -> int:
    return sum(map(len, log.owners.values()))


async def disturb(line: Line, log: AcceptedLog, deciders: Deciders, chance: random.Random, kill: bool) -> str:
    """Kill one of the two, or put it to sleep until the other has taken over, and wake it; what was done."""
    victim = chance.randrange(2)
    await asyncio.sleep(chance.uniform(0, 0.4))
    if kill:
        async with deciders.without(victim):
            await decided(line, log, deciders, accepted(log) + 300)
        return "killed"
    process = deciders.two[victim]
    process.pause()
    await asyncio.sleep(chance.choice((0.3, SESSION_S + 1.0, SESSION_S + 3.0)))
    await decided(line, log, deciders, accepted(log) + 100)
    process.resume()
    await decided(line, log, deciders, accepted(log) + 300)
    return "slept"


async def all_findings(line: Line) -> Findings:
    total = Findings()
    for partition in range(line.topics.partitions):
        total += await redecide(line.bootstrap, line.topics, partition)
    return total


async def materialised(line: Line, owners: Sequence[str]) -> dict[str, OwnerState]:
    """What the deciders wrote of their state; partition numbers play no part in reading it."""
    store = DeciderStore(line.dsn, line.topics.events, 0)
    await store.open()
    try:
        headers, entries = await store.headers(owners), await store.all_entries(owners)
    finally:
        await store.close()
    return {
        owner: replace(
            header.state,
            entries=Map({k: r.entry for k, r in entries[owner].items() if not r.is_void(k, header.state.erased_cause)}),
        )
        for owner, header in headers.items()
    }


async def prove(line: Line, rounds: int) -> None:
    chance = random.Random(chosen_seed())
    work = Workload(OWNERS, line.topics.partitions, seed=chance.randrange(10_000), label=line.prefix)
    async with Deciders(line).at_work() as deciders:
        sent, fates = await disturbed(line, deciders, work, chance, rounds)
        await _all_are_decided_as_by_an_undisturbed_one(line, sent, fates, deciders)
        await _states_are_the_fold(line, work.owners)


async def disturbed(line: Line, deciders: Deciders, work: Workload, chance: random.Random, rounds: int) -> tuple[int, list[str]]:
    """Publish through all disturbances; how many commands there were, and what was done."""
    async with line.log() as log:
        publishing = Publishing(line, work, chance, log)
        task = asyncio.create_task(publishing.run())
        try:
            fates = [await disturb(line, log, deciders, chance, kill=number % 3 == 1) for number in range(rounds)]
        finally:
            publishing.stop()
            await task
    return publishing.sent, fates


async def _all_are_decided_as_by_an_undisturbed_one(line: Line, sent: int, fates: list[str], deciders: Deciders) -> None:
    found = Findings()

    async def nothing_waits() -> bool:
        nonlocal found
        found = await all_findings(line)
        return found.commands == sent and found.open == 0

    await until(nothing_waits, lambda: f"{sent} commands decided: {found.decided} are, {found.open} wait", 120)
    say(
        f"{sent} commands, {found.events} events, {fates}, {deciders.ended} found their place taken, "
        f"{found.dropped_slices} late slices dropped by the rule"
    )
    assert (found.differing, found.passed_over, found.unreadable) == (0, 0, 0), found.differences[:5]
    assert found.same == found.decided == sent


async def _states_are_the_fold(line: Line, owners: Sequence[str]) -> None:
    async with line.log() as log:
        await log.to_the_end()
        expected = {owner: fold(EMPTY, events) for owner, events in log.owners.items()}

    async def saved() -> bool:
        return await materialised(line, owners) == expected

    await until(saved, "the materialised state is the fold of the log", 30)


@pytest.mark.slow
async def test_deciders_that_are_killed_and_put_to_sleep_write_the_log_of_an_undisturbed_one(line: Line) -> None:
    await prove(line, rounds=5)


@pytest.mark.prove
async def test_the_same_holds_over_forty_disturbances(line: Line) -> None:
    await prove(line, rounds=40)
