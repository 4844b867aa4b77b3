"""Rebuild and verify: fold a view from offset 0 into tables of its own and compare them with the live ones at equal positions.

    report = await verify(view, config)              # into a scratch schema that is dropped; the live view is not touched
    report = await build(view, config)               # a new generation, ready for ``projections.promotion.promote``
    report = await rebuild(view, config)             # the same, promoted when the digests are equal

``projections.together`` does it with several views in one pass. With ``bulk`` a generation that is empty is filled in bulk first.
Readers and the running runner go on all the while. The runner notices a promotion at its next compare-and-set. A build that ended
too soon, by a kill or an outage, is gone on with by the next one, from its checkpoint.
"""

from __future__ import annotations

from projections.building import Progress, Report
from projections.bulk import Bulk
from projections.runner import RunnerConfig
from projections.together import Outcome, Watch, rebuild_all, verify_all
from projections.view import View

__all__ = ["Progress", "Report", "build", "rebuild", "verify"]


async def verify(view: View, config: RunnerConfig, *, bulk: Bulk | None = None, progress: Progress | None = None) -> Report:
    """Rebuild into a scratch schema, compare, drop it. Never changes the live tables; look at ``report.equal``.

    Raises RebuildRunning, LogTruncated, NotInstalled, CatchUpTimeout.
    """
    watch = _One(progress)
    await verify_all([view], config, bulk=bulk, watch=watch)
    return watch.report()


async def build(
    view: View,
    config: RunnerConfig,
    *,
    from_scratch: bool = False,
    bulk: Bulk | None = None,
    progress: Progress | None = None,
) -> Report:
    """Build a generation beside the live one, compare, and leave it ready to be promoted, equal or not: look at ``report``.

    Goes on with a generation that is unfinished or ready already, unless ``from_scratch``, or it is of another version of the
    fold. Raises RebuildRunning, LogTruncated, NotInstalled, CatchUpTimeout.
    """
    watch = _One(progress)
    await rebuild_all([view], config, from_scratch=from_scratch, bulk=bulk, watch=watch)
    return watch.report()


async def rebuild(
    view: View,
    config: RunnerConfig,
    *,
    force: bool = False,
    from_scratch: bool = False,
    bulk: Bulk | None = None,
    progress: Progress | None = None,
) -> Report:
    """Build like ``build`` and promote; the generation before is kept, older ones are dropped.

    Raises DigestMismatch, with the live tables left as they are and the new generation ready, where the tables differ, unless
    ``force``: only for live tables that are known to be wrong. Tables of another version of the fold are not compared, they are
    meant to differ. Raises also RebuildRunning, LogTruncated, NotInstalled, CatchUpTimeout.
    """
    watch = _One(progress)
    await rebuild_all([view], config, promote=True, force=force, from_scratch=from_scratch, bulk=bulk, watch=watch)
    return watch.report()


class _One(Watch):
    """What comes of one view."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._outcome: Outcome

    def begin(self, what: str) -> Progress:
        """The same for all of its work."""
        return self._progress or super().begin(what)

    def found(self, outcome: Outcome) -> None:
        """It is done."""
        self._outcome = outcome

    def report(self) -> Report:
        """Raises what went wrong."""
        if self._outcome.error is not None:
            raise self._outcome.error
        assert self._outcome.report is not None
        return self._outcome.report
