"""Two workers share the line; one is stopped for longer than its session and wakes up as a zombie."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from ops.local.addresses import ServiceAddresses
from tests.line.conftest import MakeLine
from tests.line.support.generator import Batch, generate
from tests.line.support.line import Line
from tests.line.support.process import EmberlogProcess
from tests.line.support.proof import prove_exactly_once, prove_views, undisturbed
from tests.line.support.reading import AcceptedLog
from tests.line.support.seeds import chosen_seed, say
from tests.line.support.waiting import until
from tests.line.test_outages import publish_steadily

SESSION_S = 4


@pytest.fixture
async def shared_line(services: ServiceAddresses, make_line: MakeLine) -> AsyncIterator[Line]:
    """A line of its own, without processes yet."""
    line = make_line(services, settings={"EMBERLOG_SESSION_TIMEOUT_S": str(SESSION_S)})
    await line.prepare()
    yield line
    line.standin.control(latency_s=0.0)
    await line.close()


async def decided_more(log: AcceptedLog, batch: Batch, more: int, deadline_s: float = 90) -> None:
    """Wait until ``more`` further turns of the batch (or all that are left) are decided."""
    wanted = min(len(batch.turns), len(log.decided()) + more)

    async def there() -> bool:
        await log.advance(20)
        return len(log.decided()) >= wanted

    await until(there, lambda: f"{wanted} of {len(batch.turns)} turns decided, there are {len(log.decided())}", deadline_s)


async def _zombie(line: Line, log: AcceptedLog, batch: Batch, worker: EmberlogProcess, chance: random.Random) -> str:
    """Stop ``worker`` until another has taken its work over, and wake it; what became of it."""
    await asyncio.sleep(chance.uniform(0, 0.5))
    await asyncio.to_thread(worker.pause)
    await decided_more(log, batch, 8)
    worker.resume()
    await decided_more(log, batch, 8)
    return "goes on" if worker.alive else f"ended with {worker.exit_code}"


async def _prove(line: Line, calm: Line, turns: int, rounds: int) -> None:
    seed = chosen_seed()
    chance = random.Random(seed)
    batch = generate(seed, turns, owners=14, label="z")
    line.standin.teach(batch.recording())
    line.standin.control(latency_s=0.1)
    first, _ = await line.start("worker", "project")
    publishing = asyncio.create_task(publish_steadily(line, [turn.inbox() for turn in batch.turns], 0.04))
    fates = []
    async with line.log() as log:
        await decided_more(log, batch, 5)
        (second,) = await line.start("worker")  # a rebalance under load
        workers = [first, second]
        for _ in range(rounds):
            fates.append(await _zombie(line, log, batch, workers[0], chance))
            if not workers[0].alive:  # an operator's supervisor starts it again
                (workers[0],) = await line.start("worker")
            workers.reverse()
    await publishing
    await line.settled([turn.turn_id for turn in batch.turns], 180)
    read = await prove_exactly_once(line, batch.turns)
    say(f"seed {seed}: {turns} turns, zombies {fates}, {read.dropped} late slices dropped by the rule")
    line.standin.control(latency_s=0.0)
    assert await prove_views(line, batch.turns) == await undisturbed(calm, batch)


@pytest.mark.slow
async def test_a_worker_that_wakes_up_as_a_zombie_loses_doubles_and_reorders_nothing(shared_line: Line, line: Line) -> None:
    await _prove(shared_line, line, turns=240, rounds=2)


@pytest.mark.prove
async def test_zombies_in_ten_rounds_lose_double_and_reorder_nothing(shared_line: Line, line: Line) -> None:
    await _prove(shared_line, line, turns=900, rounds=10)
