"""Rebuilding from zero: the databases dropped, the topics (and keys) kept."""

from __future__ import annotations

import asyncio

from ops.keyring import open_keys
from ops.keys import audit_key
from projections.runner import ProjectionRunner, RunnerConfig
from projections.view import ViewSettings
from projections.views import build_views
from tests.line.support.digests import exact
from tests.line.support.line import Line


async def project_all(line: Line, ends: dict[tuple[str, int], int]) -> None:
    """Fold every view of the line's database from its first record up to ``ends`` in this process."""
    async with open_keys(line.as_settings, line.dsn) as ring:
        views = build_views(ViewSettings(topics=line.topics, audit_key=audit_key(line.folder / "data")))
        config = RunnerConfig(line.bootstrap, line.dsn, keys=ring.keys, owners=ring.directory)
        await _project([ProjectionRunner(view, config) for view in views.values()], ends)


async def _project(runners: list[ProjectionRunner], ends: dict[tuple[str, int], int]) -> None:
    stop = asyncio.Event()
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
    ends = await line.ends(topics.conversation, topics.events, topics.embeddings, topics.parked)
    try:
        await line.new_database()
        await project_all(line, ends)
        return await asyncio.to_thread(exact, line.dsn, topics, line.folder / "data")
    finally:
        line.dsn = before


async def live_digest(line: Line) -> dict[str, tuple[int, str]]:
    """The exact digest of the live views."""
    return await asyncio.to_thread(exact, line.dsn, line.topics, line.folder / "data")
