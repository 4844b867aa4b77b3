"""Verify, rebuild, promote and roll back with the wiring of a running set."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
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
from projections import generation, listing, promotion, together
from projections import rebuild as rebuilding
from projections.as_of import AsOf, as_of, places_at
from projections.bulk import Bulk, KeyStore
from projections.listing import Listed
from projections.promotion import Switched
from projections.rebuild import Progress, Report
from projections.records import Positions
from projections.runner import RunnerConfig
from projections.together import Watch
from projections.view import View
from projections.views import build_views

T = TypeVar("T")
Text = str | Callable[[], str]
REBUILDING = "rebuilding"
"""Folder of a rebuild's working files, in the data folder: records as they are on the log."""


def _config(target: Target, ring: Keyring) -> RunnerConfig:
    return RunnerConfig(target.bootstrap, target.dsn, keys=ring.keys, owners=ring.directory)


@asynccontextmanager
async def view_parts(target: Target, name: str) -> AsyncIterator[tuple[View, RunnerConfig]]:
    async with _all_parts(target, [name]) as ([view], config):
        yield view, config


@asynccontextmanager
async def _all_parts(target: Target, names: Sequence[str]) -> AsyncIterator[tuple[list[View], RunnerConfig]]:
    views = build_views(view_settings(target.settings, target.topics), names)
    async with open_keys(target.settings, target.dsn) as ring:
        yield list(views.values()), _config(target, ring)


def _bulk(target: Target, workers: int) -> Bulk:
    """How empty generations are filled."""
    opened = partial(keys_elsewhere, target.settings, target.dsn)
    return Bulk(target.settings.data_dir / REBUILDING, workers, opened if workers > 1 else None)


async def verify_views(target: Target, names: Sequence[str], watch: Watch) -> None:
    """Compare live views with what is made from the log alone, in one pass."""
    async with _all_parts(target, names) as (views, config):
        await together.verify_all(views, config, bulk=_bulk(target, 1), watch=watch)


async def rebuild_views(
    target: Target,
    names: Sequence[str],
    watch: Watch,
    *,
    promote: bool = False,
    force: bool = False,
    from_scratch: bool = False,
    workers: int = 1,
) -> None:
    """Make views anew, in one pass, and leave them ready or promote them."""
    async with _all_parts(target, names) as (views, config):
        await together.rebuild_all(
            views, config, promote=promote, force=force, from_scratch=from_scratch, bulk=_bulk(target, workers), watch=watch
        )


async def rebuild_view(target: Target, name: str, force: bool, progress: Progress) -> Report:
    """Make a view anew and promote it. Raises ProjectionError."""
    async with view_parts(target, name) as (view, config):
        return await rebuilding.rebuild(view, config, force=force, bulk=_bulk(target, 1), progress=progress)


@asynccontextmanager
async def keys_elsewhere(settings: Settings, dsn: str) -> AsyncIterator[KeyStore]:
    """The key store in a process of a bulk load."""
    from ops.wiring import use_schema_registry

    use_schema_registry(settings)
    async with open_keys(settings, dsn, connections=1) as ring:
        yield KeyStore(ring.keys, ring.directory)


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


def run(work: Coroutine[Any, Any, T], what: Text, how_on: Text) -> T:
    """Run ``work``; Ctrl-C and SIGTERM let it clean up.

    Raises Interrupted: ``what`` was stopped, and ``how_on`` says how to go on; either may depend on how far it came.
    """
    try:
        with interrupts.handled():
            return interrupts.run(work)
    except interrupts.Stopped:
        said, hint = (text if isinstance(text, str) else text() for text in (what, how_on))
        raise Interrupted(f"{said} was stopped before its end", hint) from None


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
