"""Verify and rebuild with the wiring of a running set."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from ops.cli.out import error_console
from ops.cli.target import Target
from ops.keyring import open_keys
from ops.keys import audit_key
from projections import rebuild as rebuilding
from projections.rebuild import Progress, Report
from projections.runner import RunnerConfig
from projections.view import View, ViewSettings
from projections.views import build_views


@asynccontextmanager
async def _parts(target: Target, name: str) -> AsyncIterator[tuple[View, RunnerConfig]]:
    settings = ViewSettings(topics=target.topics, audit_key=audit_key(target.settings.data_dir))
    async with open_keys(target.settings, target.dsn) as ring:
        yield build_views(settings, [name])[name], RunnerConfig(target.bootstrap, target.dsn, keys=ring.keys)


async def verify_view(target: Target, name: str, progress: Progress) -> Report:
    """Compare a live view with one made from the log alone."""
    async with _parts(target, name) as (view, config):
        return await rebuilding.verify(view, config, progress=progress)


async def rebuild_view(target: Target, name: str, force: bool, progress: Progress) -> Report:
    """Make a view anew and promote it. Raises ProjectionError."""
    async with _parts(target, name) as (view, config):
        return await rebuilding.rebuild(view, config, force=force, progress=progress)


@contextmanager
def bar(console: Console, what: str) -> Iterator[Progress]:
    """A progress bar that is fed with records done and records in all."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def shown_bar(what: str, quiet: bool) -> AbstractContextManager[Progress]:
    """A bar on a terminal, else nothing: the report says it all."""
    console = error_console()
    return nullcontext(lambda done, total: None) if quiet or not console.is_terminal else bar(console, what)


def as_json(report: Report) -> dict[str, Any]:
    """A report as plain JSON types."""
    tables = {name: {"rows": d.rows, "digest": d.digest} for name, d in report.rebuilt.tables.items()}
    return {
        "view": report.view,
        "equal": report.equal,
        "differing": report.differing,
        "digest_live": report.live.digest,
        "digest_rebuilt": report.rebuilt.digest,
        "tables_rebuilt": tables,
        "positions": {f"{topic}/{partition}": offset for (topic, partition), offset in sorted(report.positions.items())},
        "records": report.records,
        "skipped": report.skipped,
        "promoted": report.promoted,
        "live_generation": report.live_generation,
        "new_generation": report.new_generation,
        "seconds": round(report.seconds, 3),
        "opening_seconds": round(report.opening_seconds, 3),
    }
