"""Filling whatever is empty in as few passes over the topics as there must be.

One pass has one end, and no view may be brought beyond its live tables, which it is to be compared with: those that are far
behind have a pass of their own. What an earlier fill had read is gone on with by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from projections.bulk.filling import fill, unfit
from projections.bulk.loading import connect
from projections.bulk.plan import FOLD, Build, Filled, OpenKeys, Progress
from projections.bulk.resuming import left_by
from projections.records import Positions
from projections.runner import RunnerConfig

FAR = 50_000
"""Views that stand more records apart have passes of their own, as what is left after one is folded record by record."""
Show = Callable[[int, int], None]
"""Called with records done, and records in all."""


@dataclass(frozen=True, slots=True)
class Bulk:
    """How empty generations are filled: ``spill`` is the folder for working files, ``workers`` the number of processes, which
    need ``open_keys`` where there are several."""

    spill: Path
    workers: int = 1
    open_keys: OpenKeys | None = None


@dataclass(frozen=True, slots=True)
class Empty:
    """A build and where it may be brought to: next offsets of all its partitions."""

    build: Build
    until: Positions


@dataclass(frozen=True, slots=True)
class _Pass:
    builds: tuple[Build, ...]
    until: Positions

    @property
    def records(self) -> int:
        return sum(self.until.values())


async def fill_empty(
    config: RunnerConfig, empty: Sequence[Empty], bulk: Bulk, show: Show, reads: Callable[[bool], None]
) -> dict[str, Filled | Exception]:
    """Fill them; by view what came of its pass, or why there was no end of it. Views that cannot be filled are missing.

    ``show`` is called with records done and records in all: reading is the first half, folding the second. ``reads`` is called
    with whether topics are being read: who stops it then begins anew.
    """
    fit = [each for each in empty if unfit(each.build) is None]
    passes = await asyncio.to_thread(_passes, config.dsn, bulk.spill, fit)
    whole, before = sum(each.records for each in passes), 0
    found: dict[str, Filled | Exception] = {}
    for each in passes:
        try:
            filled: Filled | Exception = await fill(
                config,
                each.builds,
                each.until,
                workers=bulk.workers,
                spill=bulk.spill,
                progress=_both_stages(show, reads, before, each.records, whole),
                open_keys=bulk.open_keys if bulk.workers > 1 else None,
            )
        except Exception as error:
            filled = error
        found |= dict.fromkeys([build.view.name for build in each.builds], filled)
        before += each.records
    return found


def _both_stages(show: Show, reads: Callable[[bool], None], before: int, records: int, whole: int) -> Progress:
    def shown(stage: str, done: int, total: int) -> None:
        reads(stage != FOLD)
        half = records * done // max(1, total) // 2
        show(before + half + (records // 2 if stage == FOLD else 0), whole)

    return shown


def _passes(dsn: str, spill: Path, empty: Sequence[Empty]) -> list[_Pass]:
    """Those that were begun, each with its views, and the others."""
    begun: dict[UUID, list[Empty]] = {}
    fresh: list[Empty] = []
    with connect(dsn) as conn:
        for each in empty:
            found = left_by(conn, spill, [each.build], each.until)
            (fresh if found is None else begun.setdefault(found.fill, [])).append(each)
    return [_of(some) for some in (*begun.values(), *_near(fresh))]


def _of(some: Sequence[Empty]) -> _Pass:
    """Up to where the hindmost of them stands."""
    until: Positions = {}
    for each in some:
        until |= {tp: min(end, until.get(tp, end)) for tp, end in each.until.items()}
    return _Pass(tuple(each.build for each in some), until)


def _near(empty: Iterable[Empty]) -> Iterator[list[Empty]]:
    """Groups of those that are not far from one another."""
    left = sorted(empty, key=lambda each: sum(each.until.values()), reverse=True)
    while left:
        first = left[0]
        near = [each for each in left if _apart(each.until, first.until) <= FAR]
        yield near
        left = [each for each in left if each not in near]


def _apart(one: Positions, other: Positions) -> int:
    return sum(abs(at - other.get(tp, at)) for tp, at in one.items())
