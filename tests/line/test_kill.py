"""SIGKILL of the worker at random points, each time with one model call stuck: nothing lost, nothing doubled, same digests."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from ops.local.addresses import ServiceAddresses
from tests.line.conftest import MakeLine
from tests.line.support.generator import Batch, Turn, generate
from tests.line.support.line import Line
from tests.line.support.locomo import conversation, locomo_file
from tests.line.support.process import EmberlogProcess
from tests.line.support.proof import prove_exactly_once, prove_views, undisturbed
from tests.line.support.reading import DECIDED_BEFORE, AcceptedLog
from tests.line.support.seeds import chosen_seed, say
from tests.line.support.waiting import until


@dataclass
class Killer:
    """Publishes the turns chunk by chunk and kills the worker once in each chunk, while one of its model calls is stuck."""

    line: Line
    chance: random.Random
    worker: EmberlogProcess
    waiting: EmberlogProcess
    killed_at: list[int] = field(default_factory=list)
    """Turns decided when each SIGKILL came."""

    async def round(self, log: AcceptedLog, turns: Sequence[Turn], last: bool) -> None:
        """One chunk: a stuck call in flight, a random moment, SIGKILL, the endpoint well again, the next worker."""
        line = self.line
        stuck = self.chance.choice(turns)
        line.standin.control(overrides={stuck.marker: "stuck"}, reset_stats=True)
        await line.publish([turn.inbox() for turn in turns])
        await until(lambda: line.standin.count("stuck"), "the stuck turn is asked about", 90)
        await self._random_moment(log, turns, stuck)
        self.killed_at.append(len(log.decided()))
        await asyncio.to_thread(self.worker.kill)
        assert stuck.turn_id not in log.decided()
        line.standin.control(overrides={})
        self.worker = line.go(self.waiting)
        if not last:
            self.waiting = line.spawn("worker")

    async def _random_moment(self, log: AcceptedLog, turns: Sequence[Turn], stuck: Turn) -> None:
        """Until some of the turns that need not wait for the stuck one are decided, or a moment longer."""
        free = [t.turn_id for t in turns if t.reference != stuck.reference or t.number < stuck.number]
        wanted = self.chance.randint(0, len(free))
        end = time.monotonic() + 60
        while len(log.decided().intersection(free)) < wanted:
            await log.advance(20)
            assert time.monotonic() < end, f"{wanted} of {len(free)} free turns were not decided beside the stuck one"
        await asyncio.sleep(self.chance.uniform(0, 0.3))
        await log.advance(1)


async def kill_through(line: Line, turns: Sequence[Turn], kills: int, seed: int) -> Killer:
    """Play ``turns`` with ``kills`` SIGKILLs; returns once every turn is decided and projected."""
    chance = random.Random(seed)
    cuts = [len(turns) * i // kills for i in range(kills + 1)]
    worker, _ = await line.start("worker", "project")
    killer = Killer(line, chance, worker, line.spawn("worker"))
    async with line.log() as log:
        for number, (start, end) in enumerate(itertools.pairwise(cuts), start=1):
            await killer.round(log, turns[start:end], last=number == kills)
    await line.settled([turn.turn_id for turn in turns], 240)
    return killer


@pytest.fixture
async def killed_line(services: ServiceAddresses, make_line: MakeLine) -> AsyncIterator[Line]:
    """A line of its own, without processes yet."""
    line = make_line(services, settings={"EMBERLOG_SESSION_TIMEOUT_S": "4"})
    await line.prepare()
    yield line
    line.standin.control(overrides={})
    await line.close()


async def _prove(line: Line, calm: Line, batch: Batch, kills: int, seed: int) -> None:
    line.standin.teach(batch.recording())
    began = time.monotonic()
    killer = await kill_through(line, batch.turns, kills, seed)
    took = time.monotonic() - began
    log = await prove_exactly_once(line, batch.turns)
    again = sum(len(events) for events in log.owners.values()) - len(_counting(log))
    say(
        f"seed {seed}: {len(batch.turns)} turns, {kills} SIGKILLs after {killer.killed_at} decided turns, "
        f"{again} extractions repeated, {log.dropped} late slices dropped, {took:.0f} s"
    )
    assert await prove_views(line, batch.turns) == await undisturbed(calm, batch)


def _counting(log: AcceptedLog) -> list[object]:
    return [e for e in log.events() if getattr(e, "reason", "") != DECIDED_BEFORE]


@pytest.mark.slow
async def test_a_killed_worker_loses_and_doubles_nothing(killed_line: Line, line: Line) -> None:
    seed = chosen_seed()
    await _prove(killed_line, line, generate(seed, 120, owners=10, label="k"), kills=3, seed=seed)


@pytest.mark.slow
async def test_eight_kills_over_200_turns_lose_and_double_nothing(killed_line: Line, line: Line) -> None:
    seed = chosen_seed()
    await _prove(killed_line, line, generate(seed, 200, owners=12, label="m"), kills=8, seed=seed)


@pytest.mark.prove
async def test_twenty_kills_over_500_turns_lose_and_double_nothing(killed_line: Line, line: Line) -> None:
    seed = chosen_seed()
    await _prove(killed_line, line, generate(seed, 500, owners=16, label="p"), kills=20, seed=seed)


@pytest.mark.prove
async def test_ten_kills_in_a_real_conversation_lose_and_double_nothing(killed_line: Line, line: Line) -> None:
    file = locomo_file()
    if file is None:
        pytest.skip("LoCoMo is not here: set EMBERLOG_LOCOMO to locomo_dev5.json")
    seed = chosen_seed()
    await _prove(killed_line, line, conversation(file, "conv-26"), kills=10, seed=seed)
