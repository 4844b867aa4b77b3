"""Keeping a SQLite file up to its view's topics. It is rebuilt by deleting the file: the next start begins anew."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import structlog

from projections.folding import FoldingView
from projections.log_reader import BROKER_AWAY, KafkaLog, ReaderConfig, is_cancelled
from projections.records import Positions
from projections.sqlite.applier import SqliteApplier
from schemas.sealing import NO_KEYS, Keys

log = structlog.get_logger(__name__)
PAUSE_S = 0.5


class SqliteFollower:
    """Folds ``view`` into the file at ``path`` while it runs."""

    def __init__(self, view: FoldingView, path: Path, reader: ReaderConfig, keys: Keys = NO_KEYS) -> None:
        self.view = view
        self.applied: Positions = {}
        """Next offset of each partition, as committed."""
        self._path, self._reader, self._keys = path, reader, keys

    async def run(self, stop: asyncio.Event) -> None:
        """Fold until ``stop`` is set. Raises Fenced, LogTruncated, OtherFold, sqlite3.Error; outages only pause it."""
        while not stop.is_set():
            try:
                await self._follow(stop)
            except asyncio.CancelledError as error:
                if is_cancelled():
                    raise
                await self._paused(error, stop)
            except (*BROKER_AWAY, TimeoutError) as error:
                await self._paused(error, stop)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL):
                    raise
                await self._paused(error, stop)

    async def _follow(self, stop: asyncio.Event) -> None:
        with contextlib.closing(SqliteApplier(self.view, self._path, keys=self._keys)) as applier:
            async with KafkaLog(self._reader, self.view.sources) as reader:
                await reader.seek(applier.positions)
                self.applied = dict(applier.positions)
                while not stop.is_set():
                    await applier.apply(await reader.next())
                    self.applied = dict(applier.positions)

    async def _paused(self, error: BaseException, stop: asyncio.Event) -> None:
        log.warning("paused", view=self.view.name, store="sqlite", error=type(error).__name__, seconds=PAUSE_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), PAUSE_S)
