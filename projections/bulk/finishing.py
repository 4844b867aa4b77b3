"""The tables of a build around its load: bare before it, whole after it, and only then a checkpoint that says so.

While it is filled a build is marked as retired, so that no runner goes on from a checkpoint at the beginning of its topics over
tables that are full already.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from projections import tables
from projections.bulk.plan import Build, Done, Filled, Work
from projections.bulk.resuming import LOADED
from projections.errors import Fenced, NotEmpty, is_data_fault
from projections.records import Positions
from projections.vectors import fitted

INDEX_MEMORY = "256MB"
_FENCED = "another fill of {} has begun, so this one has stopped"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of both stages, and their seconds."""

    read: Done
    folded: Done
    read_s: float
    fold_s: float
    resumed: bool


def prepare(conn: psycopg.Connection[Any], build: Build, fill: UUID) -> None:
    """Empty the tables and take their keys, as an earlier fill may have left rows. Raises NotEmpty where others wrote there."""
    with conn.transaction():
        _run(conn, [f"LOCK TABLE {build.schema}.checkpoint IN ACCESS EXCLUSIVE MODE"])
        if conn.execute(_of(build, "SELECT 1 FROM {} WHERE next_offset > 0 LIMIT 1")).fetchone() is not None:
            raise NotEmpty(f"{build.schema} was filled before: make a new generation, or let a runner go on with this one")
        conn.execute(_of(build, "UPDATE {} SET retired = true, runner = %s"), (fill,))
        _run(conn, tables.strip(build.view, build.schema))
        name = f"{build.schema}.{LOADED}"
        _run(conn, [f"DROP TABLE IF EXISTS {name}", f"CREATE TABLE {name} (bucket integer PRIMARY KEY)"])


def note_read(conn: psycopg.Connection[Any], builds: Iterable[Build], fill: UUID) -> None:
    """Have on disk what was loaded while the topics were read, as a manifest is to say so. Raises Fenced."""
    with conn.transaction():
        _run(conn, ["SET LOCAL synchronous_commit = on"])
        for build in builds:
            if conn.execute(_of(build, "UPDATE {} SET moved_at = now() WHERE runner = %s"), (fill,)).rowcount == 0:
                raise Fenced(_FENCED.format(build.schema))


def finish(conn: psycopg.Connection[Any], work: Work, loaded: Loaded, left_out: Mapping[str, str]) -> Filled:
    """Make every build whole, or give it up. Raises Fenced, psycopg's errors."""
    began = time.monotonic()
    failed = {**loaded.read.failed, **loaded.folded.failed}
    reasons = dict(left_out)
    positions: dict[str, Positions] = {}
    indexes: dict[str, float] = {}
    for place, build in enumerate(work.builds):
        name = build.view.name
        topics = {source.topic for source in build.view.sources}
        sound = {tp: offset for tp, offset in loaded.read.positions.items() if tp[0] in topics}
        reason = failed.get(place)
        if reason is None:
            try:
                indexes |= _complete(conn, build, work.fill, sound)
                positions[name] = sound
                continue
            except psycopg.Error as error:
                if not is_data_fault(error):
                    raise
                reason = f"its rows do not fit their keys (SQLSTATE {error.sqlstate})"
        reasons[name] = reason
        _give_up(conn, build, work.fill)
    records = {build.view.name: loaded.folded.records.get(place, 0) for place, build in enumerate(work.builds)}
    spent = (loaded.read_s, loaded.fold_s, time.monotonic() - began)
    return Filled(positions, reasons, records, *spent, indexes, loaded.resumed)


def _complete(conn: psycopg.Connection[Any], build: Build, fill: UUID, positions: Positions) -> dict[str, float]:
    """Keys, indexes and statistics, and in their transaction the checkpoint; seconds of each."""
    seconds = {}
    names = [table.name for table in (*tables.SERVICE_TABLES, *build.view.tables)]
    statements = [
        *tables.add_keys(build.view, build.schema),
        *fitted(conn, tables.create_indexes(build.view, build.schema, cluster=False)),
        *(f"ANALYZE {build.schema}.{name}" for name in names),
    ]
    with conn.transaction():
        # a whole generation must not be lost to a crash of the database while its old one is dropped
        _run(conn, ["SET LOCAL synchronous_commit = on", f"SET LOCAL maintenance_work_mem = '{INDEX_MEMORY}'"])
        _release(conn, build, fill)
        for statement in statements:
            began = time.perf_counter()
            _run(conn, [statement])
            seconds[statement] = time.perf_counter() - began
        _run(conn, [statement.format(schema=build.schema) for statement in getattr(build.view, "mended", ())])
        for (topic, partition), offset in positions.items():
            moved = _of(build, "UPDATE {} SET next_offset = %s WHERE topic = %s AND partition = %s")
            conn.execute(moved, (offset, topic, partition))
    return seconds


def _give_up(conn: psycopg.Connection[Any], build: Build, fill: UUID) -> None:
    """Empty tables, whole again, for a runner that begins at the beginning."""
    with conn.transaction():
        _release(conn, build, fill)
        _run(conn, [*tables.strip(build.view, build.schema), *tables.add_keys(build.view, build.schema)])


def _release(conn: psycopg.Connection[Any], build: Build, fill: UUID) -> None:
    freed = conn.execute(_of(build, "UPDATE {} SET retired = false, runner = NULL WHERE runner = %s"), (fill,))
    if freed.rowcount == 0:
        raise Fenced(_FENCED.format(build.schema))
    _run(conn, [f"DROP TABLE {build.schema}.{LOADED}"])


def _of(build: Build, statement: str) -> bytes:
    return statement.format(f"{build.schema}.checkpoint").encode()


def _run(conn: psycopg.Connection[Any], statements: Iterable[str]) -> None:
    for statement in statements:
        conn.execute(statement.encode())
