"""Projector, broker and database killed under load: nothing parked, nothing lost, digests equal."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial

import pytest

from ops.local.services import LocalServices
from schemas.topics import partition_of
from schemas.types import InboxTurn
from streams import kafka
from tests.line.conftest import MakeLine
from tests.line.support.generator import generate
from tests.line.support.line import Line
from tests.line.support.proof import prove_exactly_once, prove_views, undisturbed
from tests.line.support.seeds import chosen_seed
from tests.line.support.waiting import until
from tests.services import temporary_data_dir


@pytest.fixture(scope="module")
def own_services() -> Iterator[LocalServices]:
    """A broker and a database of this module's own, to be killed."""
    services = LocalServices(temporary_data_dir())
    services.start()
    yield services
    services.destroy()


@pytest.fixture
async def hurt_line(own_services: LocalServices, make_line: MakeLine) -> AsyncIterator[Line]:
    """A line on them."""
    line = make_line(own_services.addresses)
    await line.prepare()
    yield line
    await line.close()


async def publish_steadily(line: Line, turns: Sequence[InboxTurn], pause_s: float) -> None:
    """Publish at a pace, as a producer that tries again: what it could not be sure of, it sends twice."""
    await line.know({turn.owner for turn in turns})
    async with line.inbox() as producer:
        for turn in turns:
            while True:
                try:
                    await producer.publish(turn)
                    break
                except kafka.OUTAGE_ERRORS:
                    await asyncio.sleep(0.2)
            await asyncio.sleep(pause_s)


async def decided(line: Line) -> int:
    """Turns with an outcome in the views; 0 while they cannot be asked."""
    try:
        return int((await line.rows("SELECT count(*) FROM turn_outcome"))[0][0])
    except Exception:
        return 0


async def where_it_stands(line: Line, publishing: asyncio.Task[None]) -> str:
    """Where work stopped, for the message of a failure."""
    topics = line.topics
    ends = await line.ends(topics.inbox, topics.conversation, topics.commands, topics.events, topics.embeddings)
    causes: dict[int, int] = {}
    async with line.log() as log:
        await log.to_the_end()
    for owner, events in log.owners.items():
        partition = partition_of(owner, topics.partitions)
        causes[partition] = max(causes.get(partition, -1), events[-1].meta.cause)
    stacks = "\n".join([await process.tell_where() for process in line.processes])
    return (
        f"publishing done: {publishing.done()}, ends {ends}, last cause by partition {causes}, "
        f"{len(log.decided())} turns on the log, {await decided(line)} in the views, behind: {await line.behind(ends)}\n{stacks}"
    )


async def _go_through(
    line: Line, services: LocalServices, turns: Sequence[InboxTurn], chance: random.Random, rounds: int
) -> None:
    """In each round kill projector, broker and database, in random order, each while turns come in."""
    await line.start("worker", "project")
    publishing = asyncio.create_task(publish_steadily(line, turns, 0.05))
    share = len(turns) / (3 * rounds + 1)
    kills = [kill for _ in range(rounds) for kill in chance.sample(["projector", "broker", "database"], 3)]
    for number, kill in enumerate(kills, start=1):
        try:
            await until(partial(_reached, line, int(share * number)), f"work goes on after kills {kills[: number - 1]}", 60)
        except AssertionError as error:
            raise AssertionError(f"{error}; {await where_it_stands(line, publishing)}") from None
        await asyncio.sleep(chance.uniform(0, 0.3))
        match kill:
            case "projector":
                projector = line.processes.pop()
                following = line.spawn("project")
                await asyncio.to_thread(projector.kill)
                line.go(following)
            case "broker":
                await asyncio.to_thread(services.kafka.kill)
                await asyncio.to_thread(services.kafka.restart)
            case "database":
                await asyncio.to_thread(services.postgres.kill)
                await asyncio.to_thread(services.postgres.restart)
    await publishing


async def _reached(line: Line, wanted: int) -> bool:
    return await decided(line) >= wanted


async def _prove(line: Line, calm: Line, services: LocalServices, turns: int, rounds: int) -> None:
    seed = chosen_seed()
    batch = generate(seed, turns, owners=9, label="o")
    line.standin.teach(batch.recording())
    await _go_through(line, services, [turn.inbox() for turn in batch.turns], random.Random(seed), rounds)
    await line.settled([turn.turn_id for turn in batch.turns], 120)
    assert await line.parked() == []
    worker = line.processes[0]
    assert worker.alive, f"an outage ended the worker:\n{worker.log()[-2000:]}"
    await prove_exactly_once(line, batch.turns)
    assert await prove_views(line, batch.turns) == await undisturbed(calm, batch)


@pytest.mark.slow
async def test_killed_projector_broker_and_database_lose_and_park_nothing(
    hurt_line: Line, line: Line, own_services: LocalServices
) -> None:
    await _prove(hurt_line, line, own_services, turns=60, rounds=1)


@pytest.mark.prove
async def test_each_killed_four_times_under_300_turns_lose_and_park_nothing(
    hurt_line: Line, line: Line, own_services: LocalServices
) -> None:
    await _prove(hurt_line, line, own_services, turns=300, rounds=4)
