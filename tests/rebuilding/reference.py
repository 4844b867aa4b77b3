"""The reference: every view of a line folded anew by a runner, record by record, in a database of its own, without a rebuild."""

from __future__ import annotations

import asyncio

from ops.keyring import open_keys
from ops.view_settings import view_settings
from ops.wiring import runner_config
from projections.runner import ProjectionRunner
from projections.views import build_views
from tests.line.support.line import Line
from tests.rebuilding.stores import Digest, tables_of


async def reference_of(line: Line, deadline_s: float = 120.0) -> dict[str, Digest]:
    """Rows and digest of every published table, made from topics and keys; the line's own database is not touched.

    Nobody may write to the line's topics meanwhile.
    """
    topics, before = line.topics, line.dsn
    ends = await line.ends(topics.conversation, topics.events, topics.embeddings, topics.parked)
    try:
        await line.new_database()
        await _fold(line, ends, deadline_s)
        return await asyncio.to_thread(tables_of, line)
    finally:
        line.dsn = before


async def _fold(line: Line, ends: dict[tuple[str, int], int], deadline_s: float) -> None:
    stop = asyncio.Event()
    async with open_keys(line.as_settings, line.dsn) as ring:
        views = build_views(view_settings(line.as_settings)).values()
        runners = [ProjectionRunner(view, runner_config(line.bootstrap, line.dsn, ring)) for view in views]
        tasks = [asyncio.create_task(runner.run(stop)) for runner in runners]
        try:
            for runner in runners:
                own = {(source.topic, p) for source in runner.view.sources for p in range(source.partitions)}
                await runner.catch_up_to({tp: end for tp, end in ends.items() if tp in own}, deadline_s)
        finally:
            stop.set()
            await asyncio.gather(*tasks)
