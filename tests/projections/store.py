"""The live views filled from a log, without a broker, and recall over them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

from psycopg_pool import AsyncConnectionPool

from projections import generation
from projections.applier import Applier
from projections.recall import Nearest, Recall, Recalled
from projections.view import View
from tests.projections.harness import of_view
from tests.projections.logs import MODEL, T0, LogMaker


class Store:
    """Recall over what ``take`` has folded so far."""

    def __init__(self, dsn: str, views: dict[str, View], log: LogMaker, recall: Recall) -> None:
        self.dsn, self.views, self.log, self.recall = dsn, views, log, recall
        self._taken = 0

    async def take(self, *names: str) -> None:
        """Fold what is new on the log into the named views (thermal and graph by default)."""
        fresh, self._taken = self.log.records[self._taken :], len(self.log.records)
        for name in names or ("thermal", "graph"):
            async with await generation.connect(self.dsn) as conn:
                live = await generation.live(conn, name)
                applier = Applier(self.views[name], live.schema, conn)
                await applier.claim()
                await applier.apply(of_view(self.views[name], fresh))

    async def ask(self, who: str, text: str, vector: Sequence[float] | None = None, k: int = 5) -> list[Recalled]:
        return await self.recall.search(who, text, vector, k, T0 + timedelta(days=30))

    async def texts(self, who: str, text: str, vector: Sequence[float] | None = None, k: int = 5) -> list[str]:
        return [r.content for r in await self.ask(who, text, vector, k)]

    async def nearest(self, who: str, vector: Sequence[float], limit: int = 5) -> Nearest:
        return await self.recall.nearest(who, vector, limit)


@contextlib.asynccontextmanager
async def store_of(dsn: str, views: dict[str, View], log: LogMaker) -> AsyncIterator[Store]:
    """A store on a database with a generation of every view."""
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(dsn, min_size=1, max_size=2, open=False)
    async with pool:
        yield Store(dsn, views, log, Recall(pool, log.topics, model=MODEL))
