"""Fills that ended too soon: which can be gone on with, and the working files of those that nobody goes on with."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from projections.bulk.manifest import Manifest
from projections.bulk.plan import Build
from projections.records import Positions
from schemas.ids import is_uuid

LOADED = "loaded_bucket"
"""Table of a build while it is filled: the buckets whose rows are in it, written in the transaction of these rows."""
GIVEN_UP = "it was given up before the fill was gone on with"


@dataclass(frozen=True, slots=True)
class Stand:
    """Where an earlier fill stands: what it had read, the buckets that are not loaded, and builds it gave up, by their place."""

    manifest: Manifest
    folder: Path
    left: list[int]
    failed: dict[int, str]


def folder_of(spill: Path, fill: UUID) -> Path:
    """The working files of a fill."""
    return spill / str(fill)


def left_by(
    conn: psycopg.Connection[Any], spill: Path, builds: Sequence[Build], until: Positions | None = None
) -> Manifest | None:
    """What an earlier fill had read for all of ``builds``, and not beyond ``until``; None where they have to begin anew."""
    fills = {_fill_of(conn, build) for build in builds}
    if len(fills) != 1 or None in fills:
        return None
    fill = fills.pop()
    assert fill is not None
    found = Manifest.read(folder_of(spill, fill))
    fits = found is not None and found.fill == fill and all(map(found.has, builds)) and found.is_below(until or {})
    return found if fits else None


def stand_of(conn: psycopg.Connection[Any], spill: Path, builds: Sequence[Build], until: Positions | None = None) -> Stand | None:
    """Like ``left_by``, its files looked at and what is left to be done."""
    manifest = left_by(conn, spill, builds, until)
    if manifest is None or not manifest.is_whole(folder := folder_of(spill, manifest.fill)):
        return None
    # in one statement: what a killed fill left running may still be loading
    queries = [f"SELECT {place}, bucket FROM {build.schema}.{LOADED}" for place, build in enumerate(builds)]
    loaded: dict[int, set[int]] = {place: set() for place in range(len(builds))}
    for place, bucket in conn.execute(" UNION ALL ".join(queries).encode()).fetchall():
        loaded[place].add(bucket)
    whole = set().union(*loaded.values())
    failed = {place: manifest.failed[build.schema] for place, build in enumerate(builds) if build.schema in manifest.failed}
    for place, buckets in loaded.items():
        if buckets != whole:
            failed.setdefault(place, GIVEN_UP)
    return Stand(manifest, folder, [bucket for bucket in range(manifest.buckets) if bucket not in whole], failed)


def clear(conn: psycopg.Connection[Any], spill: Path) -> None:
    """Remove the working files of fills that no build knows any more."""
    folders = [path for path in spill.glob("*") if path.is_dir() and is_uuid(path.name)]
    if not folders:
        return
    cursor = conn.execute(
        "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relname = %s", (LOADED,)
    )
    known = set()
    for (schema,) in cursor.fetchall():
        try:
            rows = conn.execute(f'SELECT DISTINCT runner FROM "{schema}".checkpoint'.encode()).fetchall()
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            continue  # dropped meanwhile
        known |= {str(runner) for (runner,) in rows}
    for folder in folders:
        if folder.name not in known:
            shutil.rmtree(folder, ignore_errors=True)


def _fill_of(conn: psycopg.Connection[Any], build: Build) -> UUID | None:
    """The fill that may write to a build, where one was begun and is not at its end."""
    query = (
        f"SELECT runner FROM {build.schema}.checkpoint WHERE to_regclass('{build.schema}.{LOADED}') IS NOT NULL "
        "GROUP BY runner HAVING bool_and(retired AND next_offset = 0)"
    )
    found: list[UUID | None] = [runner for (runner,) in conn.execute(query.encode()).fetchall()]
    return found[0] if len(found) == 1 else None
