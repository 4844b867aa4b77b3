"""Rebuild and verify: fold a view from offset 0 into tables of its own and compare them with the live ones at equal positions.

    report = await verify(view, config)              # into a scratch schema that is dropped; the live view is not touched
    report = await build(view, config)               # a new generation, ready for ``projections.promotion.promote``
    report = await rebuild(view, config)             # the same, promoted when the digests are equal

Readers and the running runner go on all the while. The runner notices a promotion at its next compare-and-set. A build that ended
too soon, by a kill or an outage, is gone on with by the next one, from its checkpoint.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

from psycopg import AsyncConnection
from psycopg.errors import LockNotAvailable

from projections import generation
from projections.building import Build, Loader, Progress, Report, exclusive, taken_up
from projections.errors import DigestMismatch
from projections.generation import Generation
from projections.runner import RunnerConfig
from projections.view import View

__all__ = ["Begun", "Loader", "Progress", "Report", "build", "promoted", "rebuild", "verify"]


async def verify(view: View, config: RunnerConfig, *, progress: Progress | None = None) -> Report:
    """Rebuild into a scratch schema, compare, drop it. Never changes the live tables; look at ``report.equal``.

    Raises RebuildRunning, LogTruncated, NotInstalled, CatchUpTimeout.
    """
    async with exclusive(view, config) as conn:
        await generation.drop_scratch(conn, view.name)
        schema = generation.scratch_of(view.name)
        try:
            async with conn.transaction():
                await generation.create_schema(conn, view, schema)
            async with Build(view, config, conn, schema, progress) as work:
                return await work.compare(None)
        finally:
            with contextlib.suppress(LockNotAvailable):
                await generation.drop_scratch(conn, view.name)


async def build(
    view: View,
    config: RunnerConfig,
    *,
    from_scratch: bool = False,
    load: Loader | None = None,
    progress: Progress | None = None,
) -> Report:
    """Build a generation beside the live one, compare, and leave it ready to be promoted, equal or not: look at ``report``.

    Goes on with a generation that is unfinished or ready already, unless ``from_scratch``, or it is of another version of the
    fold. Raises RebuildRunning, LogTruncated, NotInstalled, CatchUpTimeout.
    """
    async with _begun(view, config, from_scratch, load, progress) as begun:
        await begun.work.leave(begun.new, "ready")
        return begun.report


async def rebuild(
    view: View,
    config: RunnerConfig,
    *,
    force: bool = False,
    from_scratch: bool = False,
    load: Loader | None = None,
    progress: Progress | None = None,
) -> Report:
    """Build like ``build`` and promote; the generation before is kept, older ones are dropped.

    Raises DigestMismatch, with the live tables left as they are and the new generation ready, where the tables differ, unless
    ``force``: only for live tables that are known to be wrong. Tables of another version of the fold are not compared, they are
    meant to differ. Raises also RebuildRunning, LogTruncated, NotInstalled, CatchUpTimeout.
    """
    async with _begun(view, config, from_scratch, load, progress) as begun:
        return await promoted(begun, force)


@dataclass(frozen=True, slots=True)
class Begun:
    """A generation that was brought up to the live one and compared."""

    view: View
    conn: AsyncConnection[Any]
    work: Build
    new: Generation
    report: Report


async def promoted(begun: Begun, force: bool) -> Report:
    """Make it live where it is equal, else leave it ready. Raises DigestMismatch, CatchUpTimeout."""
    report, name = begun.report, begun.view.name
    if report.compared and not report.equal and not force:
        await begun.work.leave(begun.new, "ready")
        raise DigestMismatch(
            f"the rebuilt {name} differs from the live one in {', '.join(report.differing)} at equal positions; the live tables "
            f"were left alone, and generation {begun.new.number} is ready. If the live ones were tampered with or damaged: "
            f"emberlog promote {name} --force"
        )
    await begun.work.promote(begun.new, "ready")
    await generation.drop_old(begun.conn, name)
    return replace(report, promoted=True)


@contextlib.asynccontextmanager
async def _begun(
    view: View, config: RunnerConfig, from_scratch: bool, load: Loader | None, progress: Progress | None
) -> AsyncIterator[Begun]:
    async with exclusive(view, config) as conn:
        new = await _taken_up(conn, view, from_scratch)
        async with Build(view, config, conn, new.schema, progress, load) as work:
            yield Begun(view, conn, work, new, await work.compare(new))


async def _taken_up(conn: AsyncConnection[Any], view: View, from_scratch: bool) -> Generation:
    """A generation in state ``building``: the one that another build left, or a new one. There is no other beside it then."""
    await generation.drop_scratch(conn, view.name)
    found = await generation.in_state(conn, view.name, "building", "ready")
    mine = next((each for each in found if each.fold_version == view.version and not from_scratch), None)
    for other in found:
        if other is not mine:
            await generation.drop(conn, view.name, other.number)
    if mine is None:
        async with conn.transaction():
            return await generation.create(conn, view)
    return await taken_up(conn, mine)
