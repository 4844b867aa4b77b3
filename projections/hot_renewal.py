"""Keeps the hot tier's index of a live view young: beside the view's runner, or once at hand.

await HotRenewal(view, dsn).run(stop)
made = await renew_live(view, dsn)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import psycopg
import structlog

from projections import generation, hot_tier
from projections.errors import NotInstalled, RebuildRunning
from projections.view import View

log = structlog.get_logger(__name__)

LOOK_S = 600.0
"""How often a runner looks; most of the time it finds nothing to do."""
AGAIN_S = 30.0
"""How long it waits after a failure, and for a rebuild or verify to end."""


def _now() -> datetime:
    return datetime.now(UTC)


async def renew_live(view: View, dsn: str, *, exactly: bool = False, now: Callable[[], datetime] = _now) -> Sequence[str]:
    """Make the index of the live generation anew where it is due; ``exactly``: where its bound is not that of today.

    It holds the view's rebuild lock: a promotion wants the table for itself, and a build of the index keeps it for long. Raises
    RebuildRunning where a rebuild or verify has that, NotInstalled, and psycopg's errors.
    """
    async with await generation.connect(dsn) as conn, generation.rebuild_lock(conn, view.name) as ours:
        if not ours:
            raise RebuildRunning(
                f"somebody rebuilds, promotes, verifies or reindexes view {view.name} already: wait until that is done"
            )
        live = await generation.live(conn, view.name)
        if live.fold_version != view.version:  # the runner says so
            return []
        return await hot_tier.renew(conn, view, live.schema, now(), beside=True, exactly=exactly)


def renewals(views: Mapping[str, View], dsn: str) -> dict[str, HotRenewal]:
    """One for each of the views that has a hot tier, by the view's name."""
    return {name: HotRenewal(view, dsn) for name, view in views.items() if any(table.hot is not None for table in view.tables)}


class HotRenewal:
    """Looks after the index until ``stop`` is set. Nothing that fails here ends the projector: searches do without an index."""

    def __init__(self, view: View, dsn: str, *, look_s: float = LOOK_S, now: Callable[[], datetime] = _now) -> None:
        self._view, self._dsn, self._look_s, self._now = view, dsn, look_s, now

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop; a build that is under way is given up then."""
        stopped = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                turn = asyncio.create_task(self._turn())
                await asyncio.wait([turn, stopped], return_when=asyncio.FIRST_COMPLETED)
                if not turn.done():
                    turn.cancel()
                    await asyncio.wait([turn])
                    return
                await asyncio.wait([stopped], timeout=turn.result())
        finally:
            stopped.cancel()

    async def _turn(self) -> float:
        """Look once; seconds until the next time."""
        began = time.monotonic()
        try:
            made = await renew_live(self._view, self._dsn, now=self._now)
        except (RebuildRunning, NotInstalled):
            return min(AGAIN_S, self._look_s)
        except (psycopg.Error, OSError, TimeoutError) as error:
            sqlstate = getattr(error, "sqlstate", None)
            log.warning(
                "the hot tier's index was not renewed", view=self._view.name, error=type(error).__name__, sqlstate=sqlstate
            )
            return min(AGAIN_S, self._look_s)
        if made:
            log.info("the hot tier's index was renewed", view=self._view.name, seconds=round(time.monotonic() - began, 1))
        return self._look_s
