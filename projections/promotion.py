"""Which generation is live: promoting a ready one, going back to a kept one, dropping one that is not live.

report = await promote(view, config)             # brought up to the log, compared again, and switched in one transaction
switched = await rollback(view, config)          # the generation that was live before is live again
await drop(view, config, 3)
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from projections import generation
from projections.as_of import FILLING, STANDING
from projections.building import LEFT, Build, Progress, Report, exclusive, taken_up
from projections.errors import OtherFold, WrongState
from projections.log_reader import KafkaLog
from projections.runner import RunnerConfig
from projections.together import Begun, promoted
from projections.view import View


@dataclass(frozen=True, slots=True)
class Switched:
    """A rollback: ``was`` is live again as generation ``live``, and ``kept``, live until then, is kept. Seconds in all."""

    view: str
    was: int
    live: int
    kept: int
    records: int
    seconds: float


async def promote(view: View, config: RunnerConfig, *, force: bool = False, progress: Progress | None = None) -> Report:
    """Bring the ready generation up to the live one, compare once more, and make it live; the one before is kept.

    Raises WrongState where none is ready, OtherFold where it was made by another version of the fold, DigestMismatch unless
    ``force``, and what ``projections.rebuild.rebuild`` raises.
    """
    async with exclusive(view, config) as conn:
        ready = await generation.in_state(conn, view.name, "ready")
        if not ready:
            raise WrongState(f"no generation of view {view.name} is ready: {await _instead(conn, view.name)}")
        new = ready[0]
        if new.fold_version != view.version:
            raise OtherFold(
                f"generation {new.number} of view {view.name} is of version {new.fold_version} of its fold and this program has "
                f"version {view.version}: run `emberlog rebuild {view.name}`"
            )
        await _must_be_there(view, config)
        new = await taken_up(conn, new)
        async with Build(view, config, conn, new.schema, progress) as work:
            return await promoted(Begun(view, conn, work, new, await work.compare(new)), force)


async def _instead(conn: AsyncConnection[Any], view: str) -> str:
    if await generation.unfinished(conn, view):
        return f"one is unfinished, `emberlog rebuild {view}` goes on with it"
    return f"build one with `emberlog rebuild {view}`"


async def rollback(view: View, config: RunnerConfig, *, progress: Progress | None = None) -> Switched:
    """Bring the kept generation that was live last up to the log and make it live again; the live one is kept.

    Nothing is compared. Raises WrongState where none is kept, OtherFold where it was made by another version of the fold, and
    CatchUpTimeout, RebuildRunning, LogTruncated, NotInstalled.
    """
    began = time.monotonic()
    async with exclusive(view, config) as conn:
        live = await generation.live(conn, view.name)
        kept = await generation.in_state(conn, view.name, "kept")
        if not kept:
            raise WrongState(
                f"no generation of view {view.name} is kept that could be live again: {await _instead(conn, view.name)}"
            )
        old = kept[0]
        if old.fold_version != view.version:
            raise OtherFold(
                f"generation {old.number} of view {view.name} is of version {old.fold_version} of its fold, and this program has "
                f"version {view.version}: go back with the program that made it"
            )
        await _must_be_there(view, config)
        again = await taken_up(conn, old)
        async with Build(view, config, conn, again.schema, progress) as work:
            records = await work.promote(again, "kept")
        await generation.drop_old(conn, view.name)
        return Switched(view.name, old.number, again.number, live.number, records, time.monotonic() - began)


async def drop(view: View, config: RunnerConfig, number: int) -> None:
    """Drop a generation that is not live. Raises WrongState for the live one, one that is not there and one that readers hold."""
    async with exclusive(view, config) as conn:
        if (await generation.live(conn, view.name)).number == number:
            raise WrongState(f"generation {number} of view {view.name} is live: promote another one, or roll back, before")
        numbers = [each.number for each in await generation.in_state(conn, view.name, *LEFT, FILLING, STANDING)]
        if number not in numbers:
            raise WrongState(f"view {view.name} has no generation {number}: see `emberlog generations {view.name}`")
        if not await generation.drop(conn, view.name, number):
            raise WrongState(f"readers hold generation {number} of view {view.name}: end long transactions and try again")


async def _must_be_there(view: View, config: RunnerConfig) -> None:
    """Raise while nothing is changed yet, where the topics cannot be read."""
    async with KafkaLog(config.bulk_reader(), view.sources):
        pass
