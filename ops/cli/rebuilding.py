"""Verify, rebuild, promote and roll back with the wiring of a running set."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from ops.cli import interrupts
from ops.cli.errors import Interrupted
from ops.cli.target import Target
from ops.keyring import Keyring, open_keys
from ops.settings import Settings
from ops.view_settings import view_settings
from projections import generation, listing, promotion
from projections import rebuild as rebuilding
from projections.as_of import AsOf, as_of, places_at
from projections.listing import Listed
from projections.promotion import Switched
from projections.rebuild import Loader, Progress, Report
from projections.records import Positions
from projections.runner import RunnerConfig
from projections.view import View
from projections.views import build_views
from schemas.sealing import Keys

T = TypeVar("T")
REBUILDING = "rebuilding"
"""Folder of a rebuild's working files, in the data folder: records as they are on the log."""


def _config(target: Target, ring: Keyring) -> RunnerConfig:
    return RunnerConfig(target.bootstrap, target.dsn, keys=ring.keys, owners=ring.directory)


@asynccontextmanager
async def view_parts(target: Target, name: str) -> AsyncIterator[tuple[View, RunnerConfig]]:
    """A view, and what it is run with."""
    settings = view_settings(target.settings, target.topics)
    async with open_keys(target.settings, target.dsn) as ring:
        yield build_views(settings, [name])[name], _config(target, ring)


async def verify_view(target: Target, name: str, progress: Progress) -> Report:
    """Compare a live view with one made from the log alone."""
    async with view_parts(target, name) as (view, config):
        return await rebuilding.verify(view, config, progress=progress)


async def build_view(target: Target, name: str, from_scratch: bool, workers: int, progress: Progress) -> Report:
    """Make a view anew and leave it ready. Raises ProjectionError."""
    async with view_parts(target, name) as (view, config):
        load = _loader(target, config, workers)
        return await rebuilding.build(view, config, from_scratch=from_scratch, load=load, progress=progress)


async def rebuild_view(
    target: Target, name: str, force: bool, progress: Progress, *, from_scratch: bool = False, workers: int = 1
) -> Report:
    """Make a view anew and promote it. Raises ProjectionError."""
    async with view_parts(target, name) as (view, config):
        load = _loader(target, config, workers)
        return await rebuilding.rebuild(view, config, force=force, from_scratch=from_scratch, load=load, progress=progress)


def _loader(target: Target, config: RunnerConfig, workers: int) -> Loader:
    """What fills an empty generation in one go, by so many processes. A view that it leaves out is read record by record."""

    async def load(view: View, schema: str, until: Positions, progress: Progress | None) -> int:
        from projections.bulk import Build, fill

        filled = await fill(
            config,
            [Build(view, schema)],
            until,
            workers=workers,
            spill=target.settings.data_dir / REBUILDING / schema,
            progress=_both_stages(progress, sum(until.values())),
            open_keys=partial(keys_elsewhere, target.settings, target.dsn) if workers > 1 else None,
        )
        return filled.records.get(view.name, 0)

    return load


def _both_stages(progress: Progress | None, records: int) -> Callable[[str, int, int], None]:
    """Reading is the first half of the bar, folding the second."""

    def shown(stage: str, done: int, total: int) -> None:
        if progress is not None:
            half = records * done // max(1, total) // 2
            progress(half if stage == "read" else records // 2 + half, records)

    return shown


@asynccontextmanager
async def keys_elsewhere(settings: Settings, dsn: str) -> AsyncIterator[Keys]:
    """The keys in a process of a bulk load."""
    from ops.wiring import use_schema_registry

    use_schema_registry(settings)
    async with open_keys(settings, dsn, connections=1) as ring:
        yield ring.keys


async def as_of_view(target: Target, name: str, at: datetime | Positions, progress: Progress) -> AsOf:
    """Build a view as it stood at a time, or before these records. Raises ProjectionError."""
    async with view_parts(target, name) as (view, config):
        places = await places_at(view, config, at) if isinstance(at, datetime) else at
        return await as_of(view, config, places, progress=progress)


async def promote_view(target: Target, name: str, force: bool, progress: Progress) -> Report:
    """Make the ready generation live. Raises ProjectionError."""
    async with view_parts(target, name) as (view, config):
        return await promotion.promote(view, config, force=force, progress=progress)


async def rollback_view(target: Target, name: str, progress: Progress) -> Switched:
    """Make the kept generation live again. Raises ProjectionError."""
    async with view_parts(target, name) as (view, config):
        return await promotion.rollback(view, config, progress=progress)


async def drop_generation(target: Target, name: str, number: int) -> None:
    """Drop a generation that is not live. Raises ProjectionError."""
    async with view_parts(target, name) as (view, config):
        await promotion.drop(view, config, number)


async def generations_of(target: Target, names: list[str]) -> list[Listed]:
    """All generations of these views."""
    async with await generation.connect(target.dsn) as conn:
        return await listing.listed(conn, names)


def run(work: Coroutine[Any, Any, T], what: str, how_on: str) -> T:
    """Run ``work``; Ctrl-C and SIGTERM let it clean up.

    Raises Interrupted: ``what`` was stopped, and ``how_on`` says how to go on.
    """
    try:
        with interrupts.handled():
            return interrupts.run(work)
    except interrupts.Stopped:
        raise Interrupted(f"{what} was stopped before its end", how_on) from None


def as_json(report: Report) -> dict[str, Any]:
    """A report as plain JSON types."""
    tables = {name: {"rows": d.rows, "digest": d.digest} for name, d in report.rebuilt.tables.items()}
    return {
        "view": report.view,
        "equal": report.equal,
        "compared": report.compared,
        "differing": report.differing if report.compared else [],
        "digest_live": report.live.digest,
        "digest_rebuilt": report.rebuilt.digest,
        "tables_rebuilt": tables,
        "positions": {f"{topic}/{partition}": offset for (topic, partition), offset in sorted(report.positions.items())},
        "resumed": report.resumed,
        "records": report.records,
        "skipped": report.skipped,
        "promoted": report.promoted,
        "live_generation": report.live_generation,
        "new_generation": report.new_generation,
        "seconds": round(report.seconds, 3),
        "opening_seconds": round(report.opening_seconds, 3),
    }
