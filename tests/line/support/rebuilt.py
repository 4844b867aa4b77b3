"""Rebuilding from zero: the databases dropped, the topics (and keys) kept."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ops.keys import audit_key
from projections.runner import ProjectionRunner, RunnerConfig
from projections.view import ViewSettings
from projections.views import build_views
from schemas.topics import Topics
from tests.line.support.digests import exact
from tests.line.support.line import Line


async def project_all(bootstrap: str, dsn: str, topics: Topics, data_dir: Path, ends: dict[tuple[str, int], int]) -> None:
    """Fold every view from its first record up to ``ends`` in this process."""
    stop = asyncio.Event()
    views = build_views(ViewSettings(topics=topics, audit_key=audit_key(data_dir)))
    runners = [ProjectionRunner(view, RunnerConfig(bootstrap, dsn)) for view in views.values()]
    tasks = [asyncio.create_task(runner.run(stop)) for runner in runners]
    try:
        for runner in runners:
            own = {(s.topic, p) for s in runner.view.sources for p in range(s.partitions)}
            await runner.catch_up_to({tp: end for tp, end in ends.items() if tp in own})
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def rebuilt_digest(line: Line) -> dict[str, tuple[int, str]]:
    """The exact digest of a rebuild from zero in a database of its own; the line's own database is not touched."""
    before = line.dsn
    topics = line.topics
    ends = await line.ends(topics.events, topics.embeddings, topics.parked)
    try:
        await line.new_database()
        await project_all(line.bootstrap, line.dsn, topics, line.folder / "data", ends)
        return await asyncio.to_thread(exact, line.dsn, topics, line.folder / "data")
    finally:
        line.dsn = before


async def live_digest(line: Line) -> dict[str, tuple[int, str]]:
    """The exact digest of the live views."""
    return await asyncio.to_thread(exact, line.dsn, line.topics, line.folder / "data")
