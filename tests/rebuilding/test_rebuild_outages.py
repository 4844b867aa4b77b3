"""Database and broker killed in the middle of a rebuild, beside a projector: it goes on, or says why not and is gone on with."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from ops.local.services import LocalServices
from tests.line.conftest import MakeLine
from tests.line.support.line import Line, Result
from tests.line.support.seeds import chosen_seed, say
from tests.line.support.waiting import until
from tests.rebuilding.forking import Forge, forge
from tests.rebuilding.history import History
from tests.rebuilding.stores import level
from tests.rebuilding.test_killed_rebuilds import WHOLE, prove_the_end, spill_folder
from tests.services import temporary_data_dir


@pytest.fixture
def own() -> Iterator[LocalServices]:
    """A broker and a database of the test's own, to be killed."""
    services = LocalServices(temporary_data_dir())
    services.start()
    try:
        yield services
    finally:
        services.destroy()


@pytest.fixture
async def hurt(own: LocalServices, make_line: MakeLine) -> AsyncIterator[Line]:
    """A line on them."""
    line = make_line(own.addresses)
    await line.prepare()
    yield line
    await line.close()


async def kill(own: LocalServices, what: str) -> None:
    """SIGKILL and a start over the same data."""
    service = own.postgres if what == "database" else own.kafka
    await asyncio.to_thread(service.kill)
    await asyncio.to_thread(service.restart)


async def through(line: Line, own: LocalServices, forged: Forge, what: str, chance: random.Random, takes: float) -> Result:
    """One rebuild, in the bulk load or elsewhere of which ``what`` is killed."""
    child = await forged.start(line, *WHOLE)
    if chance.random() < 0.5:
        await until(lambda: spill_folder(line).exists() or not child.runs, "it loads in bulk", 60)
        await asyncio.sleep(chance.uniform(0, 0.15) * takes)
    else:
        await asyncio.sleep(chance.uniform(0, 0.9) * takes)
    await kill(own, what)
    return await child.ended(120)


@pytest.mark.slow
async def test_a_rebuild_and_a_projector_survive_a_killed_database_and_a_killed_broker(hurt: Line, own: LocalServices) -> None:
    seed = chosen_seed()
    chance, history = random.Random(seed), History(hurt, 600, seed)
    ends: list[tuple[str, int, str]] = []
    async with forge() as forged:
        projector = await forged.start(hurt, "project")
        await history.write(400)
        await level(hurt)
        began = time.monotonic()
        done = await (await forged.start(hurt, *WHOLE)).ended(120)
        assert done.code == 0, done.err
        takes = time.monotonic() - began
        for what in chance.sample(["database", "broker"] * 2, 4):
            done = await through(hurt, own, forged, what, chance, takes)
            ends.append((what, done.code, done.err))
            await history.write(20)
        say(f"seed {seed}: exit codes {[(what, code) for what, code, _ in ends]}; unkilled {takes:.1f} s")
        for what, code, err in ends:
            # an outage is something to wait for, or to be told: no fault of the program
            assert "Traceback" not in err, (what, err)
            assert code == 0 or "\nerror: " in f"\n{err}", (what, code, err)
        await prove_the_end(hurt, forged, projector)
