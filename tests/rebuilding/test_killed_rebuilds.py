"""SIGKILL of projectors, rebuilds and comparisons at random moments while events go on: they end as if there had been none."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ops.local.addresses import ServiceAddresses
from projections.views import REGISTRY
from tests.line.conftest import MakeLine
from tests.line.support.line import Line
from tests.line.support.seeds import chosen_seed, say
from tests.line.support.waiting import until
from tests.rebuilding.forking import Child, Forge, forge
from tests.rebuilding.history import History
from tests.rebuilding.reference import reference_of
from tests.rebuilding.stores import level, tables_of

KILLS = {"project": 10, "rebuild": 17, "verify": 3}
WHOLE = ("rebuild", "--all", "--promote")
SENDS_ROWS = """
SELECT EXISTS (
    SELECT FROM pg_stat_activity AS a
    JOIN emberlog_view_generation AS g ON a.query LIKE format('COPY %%s_g%%s.%%%%', g.view, g.generation)
    WHERE g.state = 'building' AND a.query_start > to_timestamp(%s)
)
"""


@pytest.fixture
async def alone(services: ServiceAddresses, make_line: MakeLine) -> AsyncIterator[Line]:
    """A line of the test's own, without processes."""
    line = make_line(services, settings={"REDIS_URL": services.redis_url or ""})
    await line.prepare()
    yield line
    await line.close()


@contextlib.asynccontextmanager
async def growing(history: History) -> AsyncIterator[None]:
    """Events come in meanwhile."""
    stop = asyncio.Event()

    async def grow() -> None:
        while not stop.is_set():
            await history.write(8)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.3)

    task = asyncio.create_task(grow())
    try:
        yield
    finally:
        stop.set()
        await task


@dataclass
class Killer:
    """Kills one process after the other. ``takes`` is how long each kind runs when nobody kills it, in seconds."""

    line: Line
    forged: Forge
    chance: random.Random
    projector: Child
    takes: dict[str, float]
    hit: Counter[str] = field(default_factory=Counter)
    """Where the kills struck."""

    async def _loads_or_ended(self, child: Child, since: float) -> bool:
        return not child.runs or await self._loads(since)

    async def _loads(self, since: float) -> bool:
        """Whether a rebuild that began then has begun its bulk load: it has written working files, or sends rows.

        Working files alone do not say so: those of a rebuild that was killed may still be there.
        """
        folder = spill_folder(self.line)
        with contextlib.suppress(FileNotFoundError):
            if any(path.is_file() and path.stat().st_mtime > since for path in folder.rglob("*")):
                return True
        return bool((await self.line.rows(SENDS_ROWS, (since,)))[0][0])

    async def kill(self, kind: str) -> None:
        """Kill a process of ``kind`` at a random moment; a projector is started anew at once."""
        if kind == "project":
            await asyncio.sleep(self.chance.uniform(0, 1.0))
            assert self.projector.runs, self.projector.said
            await self.projector.kill()
            self.hit["a projector"] += 1
            self.projector = await self.forged.start(self.line, "project")
            return
        arguments = WHOLE if kind == "rebuild" else ("verify", "--all")
        began = time.time()
        child = await self.forged.start(self.line, *arguments)
        within = "elsewhere"
        if kind == "rebuild" and self.chance.random() < 0.5:
            # each second one while it loads in bulk: that may be short beside the rest
            await until(partial(self._loads_or_ended, child, began), "it loads in bulk", 60)
            within = "from a bulk load on"
            await asyncio.sleep(self.chance.uniform(0, 0.1) * self.takes[kind])
        else:
            await asyncio.sleep(self.chance.uniform(0, 1.0) * self.takes[kind])
        if not child.runs:
            within = "after its end"
        said = await child.kill()
        self.hit[f"a {kind} {within}"] += 1
        assert "error" not in said.err, (said.err, child.trace)
        if within == "after its end":
            assert said.code == 0, f"{kind} ended by itself: {said.err}"
        await self.sane()

    async def sane(self) -> None:
        """One generation of each view is live, and at most one each is unfinished, ready, or kept."""
        for view, states in (await states_of(self.line)).items():
            counts = Counter(states.values())
            assert counts["live"] == 1, (view, states)
            assert counts["kept"] <= 1, (view, states)
            assert counts["building"] + counts["ready"] <= 1, (view, states)
            assert set(counts) <= {"live", "kept", "building", "ready"}, (view, states)


async def states_of(line: Line) -> dict[str, dict[int, str]]:
    """By view: its generations and their states."""
    found: dict[str, dict[int, str]] = {view: {} for view in REGISTRY}
    for view, number, state in await line.rows("SELECT view, generation, state FROM emberlog_view_generation"):
        found[view][number] = state
    return found


def spill_folder(line: Line) -> Path:
    """Where rebuilds have their working files."""
    return line.folder / "data" / "rebuilding"


async def nothing_is_left_over(line: Line) -> None:
    """No schema of a view but those of its generations, no working file of a rebuild."""
    states = await states_of(line)
    assert all(sorted(of_view.values()) == ["kept", "live"] for of_view in states.values()), states
    schemas = {name for (name,) in await line.rows("SELECT nspname FROM pg_namespace WHERE nspname ~ '_(g[0-9]+|scratch.*)$'")}
    assert schemas == {f"{view}_g{number}" for view, of_view in states.items() for number in of_view}
    folder = spill_folder(line)
    assert not folder.exists() or list(folder.rglob("*")) == []


async def listed(line: Line, forged: Forge) -> list[dict[str, Any]]:
    """What ``emberlog generations`` says."""
    done = await (await forged.start(line, "generations", "--json")).ended()
    found: list[dict[str, Any]] = done.json()
    return found


async def prove_the_end(line: Line, forged: Forge, projector: Child) -> None:
    """A last rebuild that nobody kills: all is equal to the reference, nothing is left over."""
    before = await states_of(line)
    last = await forged.start(line, *WHOLE)
    done = await last.ended(120)
    assert done.code == 0, (done.err, last.trace, before, projector.said.err[-3000:])
    await level(line)
    assert await line.rows("SELECT * FROM emberlog_thermal_owner_alarm") == []
    await nothing_is_left_over(line)
    found = await listed(line, forged)
    assert {(each["view"], each["state"], each["behind"]) for each in found if each["state"] == "live"} == {
        (view, "live", 0) for view in REGISTRY
    }
    done = await (await forged.start(line, "verify", "--all")).ended(120)
    assert done.code == 0, done.err
    assert projector.runs, projector.said
    await projector.stop()
    live, reference = await asyncio.to_thread(tables_of, line), await reference_of(line)
    assert {name: (live[name], reference[name]) for name in live if live[name] != reference[name]} == {}
    assert live["thermal_memory_archive"][0] > 100


@pytest.mark.slow
async def test_thirty_kills_of_projectors_rebuilds_and_comparisons_leave_what_none_would_have_left(alone: Line) -> None:
    seed = chosen_seed()
    chance, history = random.Random(seed), History(alone, 2_000, seed)
    async with forge() as forged:
        projector = await forged.start(alone, "project")
        await history.write(800)
        await level(alone)
        takes = {}
        for kind, arguments in (("rebuild", WHOLE), ("verify", ("verify", "--all"))):
            began = time.monotonic()
            done = await (await forged.start(alone, *arguments)).ended(120)
            assert done.code == 0, done.err
            takes[kind] = time.monotonic() - began
        killer = Killer(alone, forged, chance, projector, takes)
        kinds = [kind for kind, number in KILLS.items() for _ in range(number)]
        chance.shuffle(kinds)
        began = time.monotonic()
        async with growing(history):
            for kind in kinds:
                await killer.kill(kind)
        took = time.monotonic() - began
        assert killer.hit["a rebuild from a bulk load on"] >= 3, killer.hit
        await prove_the_end(alone, forged, killer.projector)
    hits = ", ".join(f"{number} of {where}" for where, number in sorted(killer.hit.items()))
    say(f"seed {seed}: {hits}; {history.events} events; {took:.0f} s; unkilled {takes}")
