"""Several views made anew, or compared, together: those that are empty are filled in one pass over the topics.

    await rebuild_all(views, config, bulk=Bulk(folder), watch=watch)     # ``watch.found`` is called for each view

Each view's rebuild lock is held from the beginning until that view is done. What goes wrong with one does not touch the others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import AsyncConnection

from projections import checkpoint, generation
from projections.building import Build, Progress, Report, exclusive, taken_up
from projections.bulk import Build as Bare
from projections.bulk import Bulk, Empty, Filled, fill_empty, unfit
from projections.errors import DigestMismatch, WrongState
from projections.generation import Generation
from projections.log_reader import KafkaLog
from projections.runner import RunnerConfig
from projections.view import View


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a view: a report, or an error."""

    view: str
    report: Report | None = None
    error: Exception | None = None


class Watch:
    """Told what goes on. This one does nothing with it."""

    def begin(self, what: str) -> Progress:
        """A piece of work begins; what is returned is called with records done and records in all."""
        return lambda done, total: None

    def reads(self, on: bool) -> None:
        """Whether topics are being read for a load: who stops it then begins this anew."""

    def found(self, outcome: Outcome) -> None:
        """A view is done."""


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


@dataclass(frozen=True, slots=True)
class _Held:
    """A view whose lock is held, with the tables that are to be filled: a generation's, or scratch ones (``new`` is None)."""

    view: View
    conn: AsyncConnection[Any]
    stack: contextlib.AsyncExitStack
    schema: str
    new: Generation | None


_Take = Callable[[View, AsyncConnection[Any], contextlib.AsyncExitStack], Awaitable[tuple[str, Generation | None]]]
_End = Callable[[Begun], Awaitable[Report]]
"""What is done with a generation in the end."""


async def verify_all(views: Sequence[View], config: RunnerConfig, *, bulk: Bulk | None = None, watch: Watch) -> None:
    """Rebuild into scratch schemas, compare, drop these. Never changes live tables."""
    await _together(views, config, bulk, watch, "verifying", _scratch, None)


async def rebuild_all(
    views: Sequence[View],
    config: RunnerConfig,
    *,
    promote: bool = False,
    force: bool = False,
    from_scratch: bool = False,
    bulk: Bulk | None = None,
    watch: Watch,
) -> None:
    """Build a generation of each beside the live one, compare, and leave it ready, or ``promote`` it (``promoted`` says when)."""

    async def take(view: View, conn: AsyncConnection[Any], _: contextlib.AsyncExitStack) -> tuple[str, Generation | None]:
        new = await _generation(conn, view, from_scratch, in_bulk=bulk is not None)
        return new.schema, new

    async def end(begun: Begun) -> Report:
        if promote:
            return await promoted(begun, force)
        await begun.work.leave(begun.new, "ready")
        return begun.report

    await _together(views, config, bulk, watch, "rebuilding", take, end)


async def _together(
    views: Sequence[View], config: RunnerConfig, bulk: Bulk | None, watch: Watch, doing: str, take: _Take, end: _End | None
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        held = await asyncio.gather(*[_hold(view, config, stack, take, watch) for view in views])
        left = [each for each in held if each is not None]
        filled: dict[str, Filled | Exception] = {}
        if bulk is not None:
            filled = await _fill(left, config, bulk, watch, doing)
        # those that are nearly done first: somebody may wait for their locks
        for each in sorted(left, key=lambda each: each.view.name not in filled):
            watch.found(await _built(each, config, filled.get(each.view.name), watch.begin(f"{doing} {each.view.name}"), end))
            with contextlib.suppress(psycopg.Error):
                await each.stack.aclose()


async def _hold(view: View, config: RunnerConfig, stack: contextlib.AsyncExitStack, take: _Take, watch: Watch) -> _Held | None:
    own = contextlib.AsyncExitStack()
    stack.push_async_exit(own)
    try:
        conn = await own.enter_async_context(exclusive(view, config))
        return _Held(view, conn, own, *await take(view, conn, own))
    except Exception as error:
        with contextlib.suppress(psycopg.Error):
            await own.aclose()
        watch.found(Outcome(view.name, error=error))
        return None


async def _fill(
    held: Sequence[_Held], config: RunnerConfig, bulk: Bulk, watch: Watch, doing: str
) -> dict[str, Filled | Exception]:
    """Fill what is empty; by view."""
    found: dict[str, Filled | Exception] = {}
    empty = []
    for each in held:
        try:
            if (one := await _empty(each, config)) is not None:
                empty.append(one)
        except Exception as error:
            found[each.view.name] = error
    if empty:
        names = ", ".join(each.build.view.name for each in empty)
        found |= await fill_empty(config, empty, bulk, watch.begin(f"{doing} {names}"), watch.reads)
        watch.reads(False)  # not where it is stopped: then the last word counts
    return found


async def _empty(held: _Held, config: RunnerConfig) -> Empty | None:
    """What is to be filled up to where the live tables stand, or, where these are lost, up to the end of the topics."""
    build = Bare(held.view, held.schema)
    own = await checkpoint.positions(held.conn, held.schema)
    if any(own.values()) or unfit(build) is not None:
        return None
    live = await generation.live(held.conn, held.view.name)
    at = await checkpoint.positions(held.conn, live.schema)
    async with KafkaLog(config.bulk_reader(), held.view.sources) as reader:
        await reader.seek(own)  # LogTruncated before anything is done
        if any(at.values()):
            return Empty(build, at)
        return None if held.new is None else Empty(build, await reader.ends())


async def _built(
    held: _Held, config: RunnerConfig, filled: Filled | Exception | None, progress: Progress, end: _End | None
) -> Outcome:
    if isinstance(filled, Exception):
        return Outcome(held.view.name, error=filled)
    try:
        async with Build(held.view, config, held.conn, held.schema, progress, filled) as work:
            report = await work.compare(held.new)
            if end is not None and held.new is not None:
                report = await end(Begun(held.view, held.conn, work, held.new, report))
            return Outcome(held.view.name, report)
    except Exception as error:
        return Outcome(held.view.name, error=error)


async def _scratch(view: View, conn: AsyncConnection[Any], stack: contextlib.AsyncExitStack) -> tuple[str, Generation | None]:
    await generation.drop_scratch(conn, view.name)
    schema = generation.scratch_of(view.name)

    async def drop() -> None:
        # the next one drops it otherwise
        with contextlib.suppress(psycopg.Error):
            await generation.drop_scratch(conn, view.name)

    stack.push_async_callback(drop)
    async with conn.transaction():
        await generation.create_schema(conn, view, schema)
    return schema, None


async def _generation(conn: AsyncConnection[Any], view: View, from_scratch: bool, in_bulk: bool) -> Generation:
    """A generation in state ``building``: the one that another build left, or a new one. There is no other beside it then."""
    await generation.drop_scratch(conn, view.name)
    found = await generation.in_state(conn, view.name, "building", "ready")
    mine = next((each for each in found if each.fold_version == view.version and not from_scratch), None)
    if mine is not None and not in_bulk and await _is_half_full(conn, mine):
        mine = None
    for other in found:
        if other is not mine:
            await generation.drop(conn, view.name, other.number)
    if mine is not None:
        with contextlib.suppress(WrongState):
            return await taken_up(conn, mine)
    async with conn.transaction():
        return await generation.create(conn, view)


async def _is_half_full(conn: AsyncConnection[Any], found: Generation) -> bool:
    """Whether a load left it so. One that a forgetting drops meanwhile is not: ``taken_up`` misses it."""
    try:
        return await checkpoint.is_retired(conn, found.schema)
    except psycopg.errors.UndefinedTable:
        return False
