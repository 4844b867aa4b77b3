"""What the tests of filling in bulk share: a log without a broker, empty generations, and the comparison with the live work."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from projections import generation
from projections.applier import Applier
from projections.bulk import Build, Filled, KeyStore, fill
from projections.digest import ViewDigest, view_digest
from projections.log_reader import ReaderConfig
from projections.records import Positions, Source
from projections.runner import RunnerConfig
from projections.view import View
from schemas.sealing import NO_KEYS, Keys
from tests.projections.harness import EVERYBODY, of_view
from tests.projections.logs import Rec
from tests.projections.test_splits import VIEWS as ALL_VIEWS

VIEWS = {name: view for name, view in ALL_VIEWS.items() if getattr(view, "bulk", False)}
"""Those that can be filled."""
PROBLEMS = 'SELECT topic, partition, "offset", reason FROM {}.view_problem ORDER BY 1, 2, 3'


class RecordedLog:
    """The records of a list as a broker gives them, some at a time."""

    def __init__(self, records: Sequence[Rec], sources: Sequence[Source], partitions: frozenset[int], at_once: int = 7) -> None:
        topics = {source.topic for source in sources}
        self._records = [r for r in records if r.topic in topics and r.partition in partitions]
        self._at = {(topic, partition): 0 for topic in topics for partition in partitions}
        self._at_once = at_once

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def seek(self, positions: Positions) -> None:
        self._at.update(positions)

    async def positions(self) -> Positions:
        return dict(self._at)

    async def next_below(self, target: Positions) -> list[Rec]:
        left = [r for r in self._records if self._at[r.topic, r.partition] <= r.offset < target[r.topic, r.partition]]
        for record in left[: self._at_once]:
            self._at[record.topic, record.partition] = record.offset + 1
        return left[: self._at_once]


@contextlib.asynccontextmanager
async def empty(dsn: str, views: Iterable[View]) -> AsyncIterator[list[Build]]:
    """Empty generations, dropped at the end."""
    builds = [Build(view, f"{view.name}_b{secrets.token_hex(5)}") for view in views]
    async with await generation.connect(dsn) as conn:
        async with conn.transaction():
            for build in builds:
                await generation.create_schema(conn, build.view, build.schema)
        yield builds
        for build in builds:
            await conn.execute(f"DROP SCHEMA {build.schema} CASCADE")


@contextlib.asynccontextmanager
async def everybody() -> AsyncIterator[KeyStore]:
    """The key store of a process that shares the work of a test: no keys, and every owner has a name."""
    yield KeyStore(owners=EVERYBODY)


async def fill_from(
    dsn: str, builds: Sequence[Build], records: Sequence[Rec], folder: Path, *, keys: Keys = NO_KEYS, **how: Any
) -> Filled:
    """Fill from a list of records."""

    def open_log(_: ReaderConfig, sources: Sequence[Source], partitions: frozenset[int]) -> RecordedLog:
        return RecordedLog(records, sources, partitions)

    until = {(s.topic, p): 0 for build in builds for s in build.view.sources for p in range(s.partitions)}
    until |= {(r.topic, r.partition): r.offset + 1 for r in records if (r.topic, r.partition) in until}
    config = RunnerConfig("", dsn, keys=keys, owners=EVERYBODY)
    return await fill(config, builds, until, spill=folder / "spill", open_log=open_log, **how)


async def applied(dsn: str, build: Build, records: Sequence[Rec], *, keys: Keys = NO_KEYS) -> tuple[ViewDigest, Positions, Any]:
    """Apply ``records`` to a build as a runner does; digest, positions and notes then."""
    async with await generation.connect(dsn) as conn:
        applier = Applier(build.view, build.schema, conn, keys=keys, owners=EVERYBODY)
        await applier.claim()
        mine = of_view(build.view, records)
        await applier.apply([r for r in mine if r.offset >= applier.positions[r.topic, r.partition]])
        notes = await (await conn.execute(PROBLEMS.format(build.schema))).fetchall()
        return await view_digest(conn, build.view, build.schema), dict(applier.positions), notes


async def must_equal_the_live_work(
    dsn: str, builds: Sequence[Build], records: Sequence[Rec], *, keys: Keys = NO_KEYS, filled: Filled | None = None
) -> None:
    """Rows, positions and notes of ``builds`` are those of the same records applied live."""
    async with empty(dsn, [build.view for build in builds]) as others:
        for build, other in zip(builds, others, strict=True):
            digest, positions, notes = await applied(dsn, other, records, keys=keys)
            mine, at, noted = await applied(dsn, build, [], keys=keys)
            assert mine.differing(digest) == [], build.view.name
            assert at == positions
            # behind the checkpoint live notes depend on what else stood in a batch; they are read, and noted, again
            assert noted == [note for note in notes if note[2] < at[note[0], note[1]]]
            assert filled is None or filled.positions[build.view.name] == positions
