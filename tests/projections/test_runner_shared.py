"""Several runners of one view: they share its partitions, and nobody gets one that another has."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from projections import holding
from projections.applier import Applier
from projections.errors import Fenced, PartitionsTaken
from projections.generation import connect
from projections.rebuild import rebuild, verify
from projections.runner import TAKEOVER_S, ProjectionRunner, RunnerConfig
from projections.view import View
from tests.projections.harness import Broker, eventually, owner, running
from tests.projections.logs import LogMaker
from tests.projections.test_runner import drop_connections, one

ROOT = Path(__file__).resolve().parents[2]
TAKES_OVER_S = TAKEOVER_S + 5.0
"""What is allowed from the kill of a runner to another one at work: its connection goes at once, the rest is starting."""
CHILD = """
    import asyncio, sys
    from projections.runner import ProjectionRunner, RunnerConfig
    from projections.view import ViewSettings
    from projections.views import build_views
    from schemas.topics import Topics

    async def main(bootstrap, dsn, prefix, partition):
        view = build_views(ViewSettings(Topics(2, prefix)), ["thermal"])["thermal"]
        await ProjectionRunner(view, RunnerConfig(bootstrap, dsn), [int(partition)]).run(asyncio.Event())

    asyncio.run(main(*sys.argv[1:]))
"""
Start = Callable[[int], subprocess.Popen[bytes]]


@pytest.fixture
def start(config: RunnerConfig, log: LogMaker) -> Iterator[Start]:
    """Starts a process with a runner of one partition of the archive."""
    started: list[subprocess.Popen[bytes]] = []

    def start(partition: int) -> subprocess.Popen[bytes]:
        arguments = [config.bootstrap, config.dsn, log.topics.prefix, str(partition)]
        command = [sys.executable, "-c", textwrap.dedent(CHILD), *arguments]
        started.append(subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL))
        return started[-1]

    yield start
    for child in started:
        child.kill()
        child.wait()
        if child.stderr is not None:
            child.stderr.close()


async def write(broker: Broker, log: LogMaker, owners: list[str], count: int) -> None:
    """``count`` facts, told by one owner after the other."""
    begin = len(log.records)
    for number in range(count):
        log.add(owners[number % len(owners)], f"fact {begin} {number}")
    await broker.send(log.records[begin:])


async def is_held(dsn: str, partition: int) -> bool:
    async with await connect(dsn) as conn:
        return partition in await holding.held(conn, "thermal")


async def test_two_runners_share_a_view_follow_a_promotion_and_end_where_one_would(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    view, owners = views["thermal"], [owner() for _ in range(8)]
    await write(broker, log, owners, 60)
    small = replace(config, max_records=7)
    async with running(view, small, [0]) as left, running(view, small, [1]) as right:

        async def both_at_the_end() -> None:
            for runner in (left, right):
                await runner.catch_up_to({tp: end for tp, end in log.ends(log.topics.events).items() if tp in runner.applied}, 20)

        await left.catch_up_to({(log.topics.events, 0): 1}, 20)
        await right.catch_up_to({(log.topics.events, 1): 1}, 20)
        assert (set(left.applied), set(right.applied)) == ({(log.topics.events, 0)}, {(log.topics.events, 1)})
        await both_at_the_end()
        report = await rebuild(view, config)
        assert report.equal
        await write(broker, log, owners, 40)
        await both_at_the_end()
        assert left.generation == right.generation == 2
    assert (await verify(view, config)).equal
    assert await one(config.dsn, "count(*) FROM thermal_memory_archive") == 100
    assert await one(config.dsn, "count(DISTINCT runner) FROM thermal_g2.checkpoint") == 2


async def test_a_second_runner_of_a_partition_is_refused_and_the_first_goes_on_undisturbed(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.runner.TAKEOVER_S", 0.5)
    view, owners = views["thermal"], [owner() for _ in range(4)]
    await write(broker, log, owners, 4)
    async with running(view, config) as first:
        await first.catch_up_to(log.ends(log.topics.events), 20)
        second = ProjectionRunner(view, config, [1])
        task = asyncio.create_task(second.run(asyncio.Event()))

        async def waits() -> bool:
            return second.progress.standing().state == "waiting"

        await eventually(waits, "the second one says that it waits")
        with pytest.raises(PartitionsTaken, match=r"partition 1 of view thermal .*emberlog project thermal --partitions"):
            await asyncio.wait_for(task, 20)
        assert not second.applied
        await write(broker, log, owners, 4)
        await first.catch_up_to(log.ends(log.topics.events), 20)
    async with running(view, config, [1]) as third:
        await third.catch_up_to({(log.topics.events, 1): log.ends(log.topics.events)[log.topics.events, 1]}, 20)


@pytest.mark.slow
async def test_a_runner_cut_off_while_another_took_its_partitions_is_refused_when_it_comes_back(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.runner.TAKEOVER_S", 0.5)
    view, owners = views["thermal"], [owner() for _ in range(4)]
    first = ProjectionRunner(view, replace(config, backoff_first_s=3.0))  # it comes back after the second
    task = asyncio.create_task(first.run(asyncio.Event()))
    await first.catch_up_to(log.ends(log.topics.events), 20)
    await drop_connections(config.dsn)
    await write(broker, log, owners, 8)
    async with running(view, config) as second:
        await second.catch_up_to(log.ends(log.topics.events), 20)
        with pytest.raises(PartitionsTaken):
            await asyncio.wait_for(task, 20)
        await write(broker, log, owners, 8)
        await second.catch_up_to(log.ends(log.topics.events), 20)
    assert await one(config.dsn, "count(*) FROM memory_mention") == 16


async def test_a_claim_of_some_partitions_fences_their_runner_and_leaves_the_others(
    installed: str, views: dict[str, View], log: LogMaker
) -> None:
    owners = [owner() for _ in range(8)]
    for name in owners:
        log.add(name, "one")
    by = [[record for record in log.records if record.partition == partition] for partition in range(2)]
    async with await connect(installed) as left, await connect(installed) as right, await connect(installed) as new:
        view, schema = views["thermal"], "thermal_g1"
        first, other, late = (
            Applier(view, schema, conn, partitions=[partition]) for conn, partition in ((left, 0), (right, 1), (new, 0))
        )
        assert list(await first.claim()) == [(log.topics.events, 0)]
        await other.claim()
        # a transaction of the other partition that is under way holds nobody up
        async with right.transaction():
            await other.apply(by[1])
            async with asyncio.timeout(10):
                await late.claim()
        with pytest.raises(Fenced):
            await first.apply(by[0])
        await other.still_ours()
        await late.apply(by[0])
    assert await one(installed, "count(*) FROM thermal_memory_archive") == 8


async def test_what_a_killed_process_had_another_takes_over_within_the_bound(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, start: Start
) -> None:
    view, owners = views["thermal"], [owner() for _ in range(8)]
    child = start(0)
    async with running(view, config, [1]) as right:
        await write(broker, log, owners, 80)

        async def has_begun() -> bool:
            return await one(config.dsn, "next_offset FROM emberlog_thermal_checkpoint WHERE partition = 0") != 0

        await eventually(has_begun, "the child folds its partition")
        assert await is_held(config.dsn, 0)
        await write(broker, log, owners, 80)
        child.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        async with running(view, config, [0]) as left:
            for runner, partition in ((left, 0), (right, 1)):
                place = log.topics.events, partition
                await runner.catch_up_to({place: log.ends(log.topics.events)[place]}, 20)
            assert time.monotonic() - killed < TAKES_OVER_S
    assert (await verify(view, config)).equal
    assert await one(config.dsn, "count(*) FROM thermal_memory_archive") == 160


@pytest.mark.slow
async def test_a_zombie_that_wakes_up_without_its_lock_writes_nothing_and_stops(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, start: Start
) -> None:
    view, owners = views["thermal"], [owner() for _ in range(8)]
    child = start(0)

    async def child_holds() -> bool:
        return await is_held(config.dsn, 0)

    await eventually(child_holds, "the child has its partition")
    os.kill(child.pid, signal.SIGSTOP)
    await drop_connections(config.dsn)  # as the server does where nobody answers
    async with running(view, config) as heir:
        await write(broker, log, owners, 40)
        await heir.catch_up_to(log.ends(log.topics.events), 20)
        os.kill(child.pid, signal.SIGCONT)
        await write(broker, log, owners, 40)
        await heir.catch_up_to(log.ends(log.topics.events), 20)
        _, said = await asyncio.wait_for(asyncio.to_thread(child.communicate), TAKEOVER_S + 20)
        assert child.returncode == 1
        assert b"PartitionsTaken: another projector keeps partition 0 of view thermal" in said
    assert (await verify(view, config)).equal
    assert await one(config.dsn, "count(*) FROM thermal_memory_archive") == 80


async def test_a_runner_ends_the_session_of_its_own_that_the_server_has_not_missed_yet(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker
) -> None:
    runner = ProjectionRunner(views["thermal"], config)
    async with await connect(config.dsn) as lost:
        await holding.hold(lost, "thermal", [0, 1], runner._id)
        stop = asyncio.Event()
        task = asyncio.create_task(runner.run(stop))
        await runner.catch_up_to(dict.fromkeys(log.ends(log.topics.events), 0), 20)
        stop.set()
        await task
