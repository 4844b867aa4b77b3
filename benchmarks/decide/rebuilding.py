"""What keys cost a rebuild: the archive folded from a sealed log into tables beside the live ones, as ``verify`` does.

Each run begins with empty caches, so every key is fetched and unwrapped once. Its seconds are those of the whole rebuild:
reading, opening, folding, indexes, digests of both sides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from benchmarks.decide import worker
from benchmarks.decide.clocked import ClockedKeys
from benchmarks.decide.workload import Workload
from benchmarks.harness import Failed, Progress
from benchmarks.owners import make_known
from benchmarks.services import Services
from ops.keyring import Keyring, open_keys
from ops.view_settings import view_settings
from ops.wiring import runner_config
from projections.rebuild import verify
from projections.runner import ProjectionRunner, RunnerConfig
from projections.view import View
from projections.views import build_views
from schemas.sealing import seal

LABEL = "rebuilt"
VIEW = "thermal"
FOLD_S = 600.0


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """One rebuild: records folded, its seconds, those spent on opening values, and of these the ones spent on keys."""

    records: int
    seconds: float
    opening_s: float
    keys_s: float


def figures(runs: Sequence[Rebuilt]) -> dict[str, float]:
    """Medians."""
    return {
        "records": runs[0].records,
        "records_per_s": median(run.records / run.seconds for run in runs),
        "opening_share": median(run.opening_s / run.seconds for run in runs),
        "keys_share": median(run.keys_s / run.seconds for run in runs),
    }


async def rebuilds(services: Services, commands: int, owners: int, repeats: int, progress: Progress) -> list[Rebuilt]:
    """``repeats`` rebuilds of what ``commands`` commands of ``owners`` owners lead to."""
    settings, dsn = services.target.settings, services.dsn
    await make_known(settings, dsn, (f"default/user/{LABEL}-{i}" for i in range(owners)))
    async with open_keys(settings, dsn) as ring:
        await _decided(services, ring, commands, owners, progress)
        view, config = build_views(view_settings(settings), [VIEW])[VIEW], runner_config(services.bootstrap, dsn, ring)
        await _folded(services, view, config)
        return [await _rebuilt(view, config, ring) for _ in range(repeats)]


async def _decided(services: Services, ring: Keyring, commands: int, owners: int, progress: Progress) -> None:
    work = Workload(owners, services.topics.partitions, label=LABEL)
    sealed = [(partition, offset, await seal(ring.keys, command)) for partition, offset, command in work.commands(commands)]
    sent = await worker.publish(services, sealed)
    await worker.run(services, "making a sealed log", sent, progress)


async def _folded(services: Services, view: View, config: RunnerConfig) -> None:
    """Bring the live view to the end of the log."""
    runner, stop = ProjectionRunner(view, config), asyncio.Event()
    running = asyncio.create_task(runner.run(stop))
    try:
        await runner.catch_up_to(await worker.end_positions(services, services.topics.events), FOLD_S)
    finally:
        stop.set()
        await running


async def _rebuilt(view: View, config: RunnerConfig, ring: Keyring) -> Rebuilt:
    """Raises Failed where the rebuilt tables differ."""
    ring.database.clear()
    ring.keys.clear()
    clocked = ClockedKeys(ring.keys)
    report = await verify(view, replace(config, keys=clocked))
    if not report.equal or report.skipped:
        raise Failed("the rebuilt view differs from the live one")
    return Rebuilt(report.records, report.seconds, report.opening_seconds, clocked.opening_s)
