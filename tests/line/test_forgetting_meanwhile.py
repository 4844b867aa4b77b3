"""Forgetting while everything else goes on, and something is killed with SIGKILL in the middle: always the same end."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex

import pytest

from ops.local.addresses import ServiceAddresses
from schemas.types import CommandNoted
from tests.line.conftest import MakeLine
from tests.line.support.forgetting import (
    Forgetting,
    both,
    carried_out,
    commands_of,
    events_of,
    fingerprints,
    forget,
    forgotten,
    memory_that_says,
    receipted,
    remember,
    revise,
    words_in_tables,
)
from tests.line.support.forgotten import End, prove
from tests.line.support.held import Held
from tests.line.support.line import Line
from tests.line.support.process import EmberlogProcess
from tests.line.support.speaker import Speaker
from tests.line.support.standin import StandinServer
from tests.line.support.waiting import until

OTHER = "Her brother mends nets in Quellón"
THIRD = "She takes the ferry on Fridays"


@pytest.fixture(scope="module")
async def broken(services: ServiceAddresses, make_line: MakeLine, standin: StandinServer) -> AsyncIterator[Line]:
    """One line for the tests of this file, without processes. The stand-in makes its vectors, so that it can hold them back."""
    settings = {"EMBERLOG_SESSION_TIMEOUT_S": "4", "EMBEDDING_BASE_URL": standin.base_url, "EMBEDDING_DIM": "256"}
    line = make_line(services, settings=settings)
    await line.prepare()
    yield line
    await line.close()


@pytest.fixture
async def line(broken: Line) -> AsyncIterator[Line]:
    """The line with a worker and a projector."""
    await both(broken)
    yield broken
    broken.standin.control(overrides={}, embedding_overrides={})


@pytest.fixture
async def eva(line: Line) -> Speaker:
    return Speaker(line, "default/user/eva")


@pytest.fixture
def secret() -> str:
    """Words that no other test says."""
    return f"Her locker code at the harbour is {token_hex(4)}"


# -- an extraction in flight


@pytest.mark.slow
async def test_a_turn_that_a_killed_worker_was_extracting_over_the_forget_teaches_it_no_more(
    line: Line, eva: Speaker, secret: str
) -> None:
    worker, _ = await both(line)
    await eva.say(secret, OTHER)
    turn = eva.turn(secret, THIRD)
    text = turn.messages[0].content
    line.standin.control(overrides={text: "stuck"}, reset_stats=True)
    await line.publish([turn])
    await until(lambda: line.standin.count("stuck") == 1, "the turn is asked about")

    forgetting = await forget(eva, await memory_that_says(eva, secret))
    await carried_out(eva, forgetting)
    worker.kill()
    await line.start("worker")
    await until(lambda: line.standin.count("stuck") == 2, "the turn is asked about again")
    line.standin.control(overrides={})
    await line.settled([eva.id_of(turn)])
    await End(eva, [forgetting], gone=[secret], kept=[OTHER, THIRD]).prove(anew=True)


@pytest.mark.slow
async def test_words_that_were_sealed_before_the_keys_were_destroyed_are_held_back_and_destroyed_after_a_kill(
    line: Line, eva: Speaker, secret: str
) -> None:
    _, projector = await both(line)
    await eva.say(secret, OTHER)
    turn = eva.turn(secret)
    line.standin.control(overrides={turn.messages[0].content: "stuck"}, reset_stats=True)
    await line.publish([turn])
    await until(lambda: line.standin.count("stuck") == 1, "the turn is asked about")
    memory = await memory_that_says(eva, secret)

    projector.pause()
    forgetting = await forget(eva, memory)
    await forgotten(eva, forgetting)
    line.standin.control(overrides={})
    async with line.log() as log:
        await log.until_decided([eva.id_of(turn)], 60)
    [print_] = await fingerprints(eva, [secret])
    assert [value.text for said, value in await commands_of(eva) if said == print_] == [secret, secret], "still to be opened"
    [note] = [e for e in await events_of(eva) if isinstance(e, CommandNoted) and e.meta.command_id == eva.id_of(turn)]
    assert note.reason == "1 facts held back by a forget"

    projector.kill()
    await line.start("project")
    await End(eva, [forgetting], gone=[secret], kept=[OTHER]).prove()


# -- a rebuild

REBUILT = ("thermal", "graph")
"""The views that hold words or what was made of them."""
PLACES = {
    "before it folds": "before 1 projections.bulk.folding:Folder.fold",
    "after it has loaded": "after 1 projections.bulk.crew:_fold",
}
during_a_rebuild = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)


@asynccontextmanager
async def rebuilding(line: Line, place: str, folder: Path) -> AsyncIterator[list[tuple[Held, Process]]]:
    """Rebuilds of the views, each standing at ``place``; what is left of them in the end is killed."""
    helds = [Held(place, folder / view) for view in REBUILT]
    builds = [
        (held, await held.run(line, "rebuild", view, "--promote", "--json")) for held, view in zip(helds, REBUILT, strict=True)
    ]
    try:
        await until(lambda: all(held.reached for held in helds), "the rebuilds are under way", 60)
        yield builds
    finally:
        for _, process in builds:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@pytest.mark.slow
@during_a_rebuild
async def test_rebuilds_that_are_killed_over_a_forget_leave_nothing_behind_and_the_next_ones_go_through(
    line: Line, eva: Speaker, secret: str, place: str, tmp_path: Path
) -> None:
    await eva.say(secret, OTHER)
    async with rebuilding(line, place, tmp_path):
        forgetting = await forget(eva, await memory_that_says(eva, secret))
        await carried_out(eva, forgetting)
    for view in REBUILT:
        again = (await line.cli("rebuild", view, "--promote", "--json")).json()
        assert (again["equal"], again["promoted"]) == (True, True)
    await End(eva, [forgetting], gone=[secret], kept=[OTHER]).prove()


@pytest.mark.slow
@during_a_rebuild
async def test_rebuilds_during_which_something_is_forgotten_are_promoted_without_it(
    line: Line, eva: Speaker, secret: str, place: str, tmp_path: Path
) -> None:
    await eva.say(secret, OTHER)
    async with rebuilding(line, place, tmp_path) as builds:
        forgetting = await forget(eva, await memory_that_says(eva, secret))
        await carried_out(eva, forgetting)
        for held, process in builds:
            held.go()
            out, err = await asyncio.wait_for(process.communicate(), 60)
            assert process.returncode == 0, err.decode()
            assert json.loads(out)["promoted"]
    await End(eva, [forgetting], gone=[secret], kept=[OTHER]).prove()


@pytest.mark.slow
async def test_what_rebuilds_kept_or_left_unfinished_holds_nothing_that_is_forgotten_later(
    line: Line, eva: Speaker, secret: str, tmp_path: Path
) -> None:
    await eva.say(secret, OTHER)
    for view in REBUILT:
        assert (await line.cli("rebuild", view, "--promote", "--json")).json()["promoted"]
    async with rebuilding(line, PLACES["after it has loaded"], tmp_path):
        assert await words_in_tables(line, [secret]) != []
    forgetting = await forget(eva, await memory_that_says(eva, secret))
    await receipted(eva, forgetting)
    assert await words_in_tables(line, [secret]) == []
    await End(eva, [forgetting], gone=[secret], kept=[OTHER]).prove()


# -- an embedding


@pytest.mark.slow
@pytest.mark.parametrize("killed", [True, False], ids=["killed", "answered late"])
async def test_vectors_that_were_being_made_over_the_forget_can_be_read_nowhere(
    line: Line, eva: Speaker, secret: str, killed: bool
) -> None:
    worker, _ = await both(line)
    mara, new_words = Speaker(line, "default/user/mara"), f"{secret} since the spring"
    await eva.say(OTHER)
    await mara.say(secret, OTHER)
    line.standin.control(embedding_overrides={secret: "stuck"}, reset_stats=True)
    await remember(eva, secret)
    await revise(mara, await memory_that_says(mara, secret), new_words)
    await until(lambda: line.standin.count("stuck"), "vectors are asked for")
    await until(lambda: _says(eva, secret), "the archive has the new memory")
    await until(lambda: _says(mara, new_words), "the archive has the new words")

    of_eva = await forget(eva, await memory_that_says(eva, secret))
    of_mara = await forget(mara, await memory_that_says(mara, new_words))
    await carried_out(eva, of_eva)
    await carried_out(mara, of_mara)
    if killed:
        worker.kill()
        await line.start("worker")
    line.standin.control(embedding_overrides={})
    ends = [End(eva, [of_eva], gone=[secret], kept=[OTHER]), End(mara, [of_mara], gone=[secret, new_words], kept=[OTHER])]
    await prove(ends, anew=killed)


async def _says(speaker: Speaker, words: str) -> bool:
    return words in await speaker.contents()


# -- a rebalance


@pytest.mark.slow
async def test_forgets_over_rebalances_by_killed_and_new_workers_end_alike(line: Line) -> None:
    secrets = [f"Her safe number {n} opens with {token_hex(4)}" for n in range(6)]
    owners = [Speaker(line, f"default/user/eva{n}") for n in range(6)]
    workers = [(await both(line))[0], *(await line.start("worker"))]
    await line.publish(turns := [owner.turn(*secrets, OTHER) for owner in owners])
    await line.settled([owner.id_of(turn) for owner, turn in zip(owners, turns, strict=True)])
    memories = {owner.reference: {m["original_content"]: str(m["id"]) for m in await owner.archive()} for owner in owners}
    done: dict[str, list[Forgetting]] = {owner.reference: [] for owner in owners}

    async def forget_two(number: int) -> None:
        """Of every owner, in two commands."""
        for owner in owners:
            for secret in secrets[2 * number : 2 * number + 2]:
                done[owner.reference].append(await forget(owner, memories[owner.reference][secret]))

    await forget_two(0)
    workers.pop(0).kill()  # one leaves, and its partitions go to the other
    forgetting = asyncio.create_task(forget_two(1))
    workers += await line.start("worker")  # one joins
    await forgetting
    joining: EmberlogProcess = line.go(line.spawn("worker"))
    forgetting = asyncio.create_task(forget_two(2))
    workers.pop(0).kill()  # one joins as another leaves
    await joining.ready()
    await forgetting
    await prove([End(owner, done[owner.reference], gone=secrets, kept=[OTHER]) for owner in owners], anew=True)
