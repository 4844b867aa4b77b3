"""How fast commands are decided.

`pure_per_s`: decide and evolve alone, many owners; `commands_per_s`: one worker's decide agent on a real broker and database,
over commands that wait in its topic, counted by the readers' rule from its first event to its last. The same for one owner
with many memories beside one with a hundred. Encoding and decoding per type stand beside fastavro alone with plain dicts, in
turn. `sealed_ratio`: turns, commands and events sealed, encoded, decoded and opened, with every key fetched from the key store
and unwrapped, over the same encoded and decoded in plain, in turn. `rebuild`: the archive made anew from a sealed log, and the
shares of its time that opening values and, within that, keys took. Each figure is the median of several runs; `spread` holds the
lowest and highest.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from statistics import median

from benchmarks.decide import coding, pure, rebuilding, sealing, worker
from benchmarks.decide.workload import SHARES, Workload
from benchmarks.harness import AtLeast, AtMost, Goal, Progress, Report, main
from benchmarks.services import Services, running_services

GOALS: dict[str, Goal] = {
    "commands_per_s": AtLeast(3_000.0),
    "pure_per_s": AtLeast(60_000.0),
    "sealed_ratio": AtMost(3.0),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--commands", type=int, help="commands of each run on the broker (default: 60000; --small: 2000)")
    parser.add_argument("--owners", type=int, default=500, help="owners that they are spread over (default: 500)")
    parser.add_argument("--memories", type=int, help="memories of the one big owner (default: 100000; --small: 1000)")
    parser.add_argument("--repeats", type=int, help="runs of each measurement (default: 3; --small: 1)")


def measure(args: argparse.Namespace, progress: Progress) -> Report:
    """All measurements, one after another."""
    commands = args.commands or (2_000 if args.small else 60_000)
    memories = args.memories or (1_000 if args.small else 100_000)
    repeats = args.repeats or (1 if args.small else 3)
    progress.say("the pure decider")
    alone = [pure.rate(commands, args.owners, seed) for seed in range(repeats)]
    by_size = [pure.rates_by_size(min(commands, 20_000), memories, seed) for seed in range(repeats)]
    progress.say("encoding and decoding, each type")
    coded = coding.rates(0.02 if args.small else 0.2, repeats)
    with running_services(progress) as services:
        progress.say("sealing")
        sealed = asyncio.run(sealing.costs(services, min(commands, sealing.COMMANDS), args.owners, repeats))
        on_broker = asyncio.run(_on_broker(services, commands, args.owners, repeats, progress))
    with running_services(progress) as services:
        big, small = asyncio.run(_one_owner(services, memories, min(commands, 20_000), progress))
    with running_services(progress) as services:
        rebuilt = asyncio.run(rebuilding.rebuilds(services, min(commands, 20_000), args.owners, repeats, progress))
    return Report(
        sizes={"commands": commands, "owners": args.owners, "memories": memories, "repeats": repeats, "mix": dict(SHARES)},
        figures={
            "commands_per_s": median(run.rate for run in on_broker),
            "events_per_s": median(run.events / run.seconds for run in on_broker),
            "pure_per_s": median(alone),
            "sealed_ratio": sealed.ratio,
            "one_owner_per_s": {"big": big.rate, "small": small.rate},
            "pure_one_owner_per_s": {"big": median(b for b, _ in by_size), "small": median(s for _, s in by_size)},
            "spread": {
                "commands_per_s": _spread([run.rate for run in on_broker]),
                "pure_per_s": _spread(alone),
                "sealed_ratio": _spread([run.ratio for run in sealed.runs]),
                "rebuild_keys_share": _spread([run.keys_s / run.seconds for run in rebuilt]),
            },
            "sealing": sealed.figures(),
            "rebuild": rebuilding.figures(rebuilt),
            "coding": coded,
        },
        ratios={
            "sealing": sealed.ratio,
            "big_owner": big.rate / small.rate,
            "pure_big_owner": median(b / s for b, s in by_size),
            "encode": median(row["encode_ratio"] for row in coded.values()),
            "decode": median(row["decode_ratio"] for row in coded.values()),
        },
        goals=GOALS,
    )


def _spread(rates: list[float]) -> dict[str, float]:
    return {"lowest": min(rates), "highest": max(rates)}


async def _on_broker(services: Services, commands: int, owners: int, repeats: int, progress: Progress) -> list[worker.Decided]:
    """Several runs over one log that grows: a worker that starts, too, finds what was there before."""
    work = Workload(owners, services.topics.partitions)
    runs = []
    for number in range(repeats):
        sent = await worker.publish(services, work.commands(commands))
        runs.append(await worker.run(services, f"on the broker, run {number + 1}", sent, progress))
    return runs


async def _one_owner(
    services: Services, memories: int, commands: int, progress: Progress
) -> tuple[worker.Decided, worker.Decided]:
    """A run for an owner with many memories, and one for an owner with a hundred: the same mix of commands."""
    runs = []
    for size in (memories, 100):
        work = Workload(1, services.topics.partitions, label=f"one-{size}", offsets=await worker.ends(services))
        sent = await worker.publish(services, work.memories(work.owners[0], size))
        await worker.run(services, f"making {size} memories", sent, progress)
        sent = await worker.publish(services, work.commands(commands))
        runs.append(await worker.run(services, f"one owner with {size} memories", sent, progress))
    return runs[0], runs[1]


if __name__ == "__main__":
    sys.exit(main("decide", __doc__, add_arguments, measure))
