"""Fills that are cut off, doubled or impossible: a generation never looks complete when it is not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from secrets import token_hex
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import psutil
import pytest
from psycopg.types.json import Jsonb

from projections import generation
from projections.applier import Applier
from projections.bulk import spill as spilling
from projections.bulk.binary import HEADER, TRAILER, encoder
from projections.bulk.loading import Loader, connect
from projections.bulk.plan import Work
from projections.bulk.reading import PartsLog
from projections.errors import Fenced, NotEmpty, Promoted
from projections.records import Placed
from projections.runner import RunnerConfig
from projections.tables import OWNER_POSITION, create_indexes
from projections.view import Column, Table, Target, View, ViewSettings
from tests.projections.bulk import VIEWS, applied, empty, fill_from, must_equal_the_live_work
from tests.projections.harness import eventually, owner
from tests.projections.logs import T0
from tests.projections.test_spec import spec_log
from tests.projections.test_splits import TOPICS, write


class Broken(Exception):
    """The power goes."""


@pytest.fixture(autouse=True)
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spilling, "EVENTS_PER_BUCKET", 15)


@pytest.mark.parametrize("where", ["read", "fold"])
async def test_a_fill_that_was_cut_off_is_no_generation_and_begins_anew(database: str, tmp_path: Path, where: str) -> None:
    records = spec_log().records

    def cut(stage: str, done: int, total: int) -> None:
        if stage == where and done * 2 > total:
            raise Broken

    async with empty(database, VIEWS.values()) as builds:
        with pytest.raises(Broken):
            await fill_from(database, builds, records, tmp_path, progress=cut)
        async with await generation.connect(database) as conn:
            for build in builds:
                with pytest.raises(Promoted):
                    await Applier(build.view, build.schema, conn).claim()
                cursor = await conn.execute(f"SELECT sum(next_offset) FROM {build.schema}.checkpoint")
                assert await cursor.fetchone() == (0,)
        filled = await fill_from(database, builds, records, tmp_path)
        await must_equal_the_live_work(database, builds, records, filled=filled)


async def test_a_filled_generation_goes_on_live(database: str, tmp_path: Path) -> None:
    log = spec_log()
    # the last slice is not whole: a runner finishes it
    ana = owner()
    log.add(ana, "one", "two", "three")
    first = log.records[:-1]
    log.add(ana, "four")
    write(log, [("add", 1, 2), ("reheat", 0, 1), ("revise", 0, 1), ("forget", 0, 1), ("erase", 1, 0), ("park", 0, 1)])
    async with empty(database, VIEWS.values()) as builds:
        await fill_from(database, builds, first, tmp_path)
        for build in builds:
            await applied(database, build, log.records)
        await must_equal_the_live_work(database, builds, log.records)


async def test_what_was_filled_is_not_filled_again(database: str, tmp_path: Path) -> None:
    async with empty(database, [VIEWS["thermal"]]) as builds:
        await fill_from(database, builds, spec_log().records, tmp_path)
        with pytest.raises(NotEmpty):
            await fill_from(database, builds, spec_log().records, tmp_path)


async def test_what_a_killed_fill_left_running_writes_nothing_into_the_next(database: str, tmp_path: Path) -> None:
    async with empty(database, [VIEWS["thermal"]]) as builds:
        work = Work(RunnerConfig("", database), tuple(builds), {}, (), tmp_path, 1, uuid4(), PartsLog)
        with connect(database) as conn, ThreadPoolExecutor(1) as thread:
            loader = Loader(conn, work, thread)
            loader.load_tuples(0, OWNER_POSITION, [(uuid4(), 1, 1)])
            with pytest.raises(Fenced):
                loader.flush()
            assert conn.execute(f"SELECT count(*) FROM {builds[0].schema}.owner_position".encode()).fetchone() == (0,)


async def test_a_value_that_no_table_takes_leaves_its_view_to_the_runner_and_fills_the_others(
    database: str, tmp_path: Path
) -> None:
    log = spec_log()
    ana = owner()
    [memory] = log.add(ana, "one")
    log.embed(ana, memory, [1.0, 0.5], model=token_hex(20_000))  # no index takes it
    log.embed(ana, memory, [1.0, 0.5])
    async with empty(database, VIEWS.values()) as builds:
        filled = await fill_from(database, builds, log.records, tmp_path)
        assert set(filled.left_out) == {"graph", "mem0"}
        assert "embeddings" not in filled.positions
        for build in builds:
            await applied(database, build, log.records)
        await must_equal_the_live_work(database, builds, log.records)


async def test_views_that_cannot_be_filled_are_named_and_left_alone(database: str, tmp_path: Path) -> None:
    class Whole(type(VIEWS["thermal"])):  # type: ignore[misc]
        bulk = False

    class Sql:
        """A view whose fold is SQL."""

        name, version, tables, sources = "parked", 1, VIEWS["parked"].tables, VIEWS["parked"].sources

        def check(self, placed: Placed) -> None: ...
        async def apply(self, target: Target, batch: Sequence[Placed]) -> None: ...

    views: list[View] = [Whole(ViewSettings(TOPICS)), Sql(), VIEWS["mem0"]]
    async with empty(database, views) as builds:
        filled = await fill_from(database, builds, spec_log().records, tmp_path)
        assert set(filled.left_out) == {"thermal", "parked"}
        assert set(filled.positions) == {"mem0"}
        async with await generation.connect(database) as conn:
            cursor = await conn.execute(f"SELECT bool_or(retired) FROM {builds[0].schema}.checkpoint")
            assert await cursor.fetchone() == (False,)


TYPES = ("int8", "int4", "float8", "bool", "text", "uuid", "timestamptz", "date", "bytea", "jsonb", "text[]", "uuid[]")
ALL_TYPES = Table(
    "everything",
    tuple(
        Column(f"{kind}_{null}".replace("[]", "s"), kind, null == "null")
        for kind in (
            "int8",
            "int4",
            "float8",
            "bool",
            "text",
            "uuid",
            "timestamptz",
            "date",
            "bytea",
            "jsonb",
            "text[]",
            "uuid[]",
        )
        for null in ("null", "set")
    ),
    ("int8_set",),
)


async def test_every_type_of_column_is_loaded_as_psycopg_would(database: str) -> None:
    at = T0.replace(year=1969)
    some = (-5, 7, -0.1, True, "año", uuid4(), T0, T0.date(), b"\0\xff", {"a": [1, None, 2**70, 0.1]}, ["", "ü"], [uuid4()])
    old: tuple[Any, ...] = (2**62, -1, 1e300, False, "", uuid4(), at, at.date(), b"", [], [], [])
    rows: list[list[Any]] = [[v for pair in zip(one, old, strict=True) for v in pair] for one in (some, [None] * len(old), old)]
    for number, row in enumerate(rows):
        row[1] = number  # the key
    encode = encoder(ALL_TYPES)
    assert encode is not None
    data = [encode(SimpleNamespace(**dict(zip(ALL_TYPES.names, row, strict=True)))) for row in rows]
    async with await generation.connect(database) as conn:
        await conn.execute(ALL_TYPES.create("pg_temp"))
        await conn.execute("CREATE TEMP TABLE others AS TABLE everything")
        statement = f"COPY everything ({ALL_TYPES.quoted}) FROM STDIN (FORMAT BINARY)"
        async with conn.cursor() as cursor, cursor.copy(statement) as copy:
            await copy.write(HEADER + b"".join(data) + TRAILER)
        for row in rows:
            sent = [Jsonb(v) if c.type == "jsonb" and v is not None else v for v, c in zip(row, ALL_TYPES.columns, strict=True)]
            await conn.execute(f"INSERT INTO others VALUES ({', '.join(['%s'] * len(sent))})", sent)
        differing = "(TABLE everything EXCEPT TABLE others) UNION ALL (TABLE others EXCEPT TABLE everything)"
        assert await (await conn.execute(differing)).fetchall() == []
        assert await (await conn.execute("SELECT count(*) FROM everything")).fetchone() == (3,)


def test_a_table_with_a_type_that_is_not_known_has_no_encoder() -> None:
    assert encoder(Table("t", (Column("a", "inet"),), ("a",))) is None


WORKER = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from projections.bulk.crew import _begin
context = multiprocessing.get_context("spawn")
with ProcessPoolExecutor(1, context, _begin, (context.Event(),)) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 600).result()
"""


def begun() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-P", "-c", WORKER], stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
async def test_the_processes_of_a_fill_do_not_outlive_the_one_that_is_killed() -> None:
    first = begun()
    assert first.stdout is not None
    number = int(first.stdout.readline())

    async def gone() -> bool:
        try:
            return psutil.Process(number).status() == psutil.STATUS_ZOMBIE  # nobody may be there to take it away
        except psutil.NoSuchProcess:
            return True

    try:
        assert not await gone()
    finally:
        first.kill()
        first.communicate()
    await eventually(gone, "the worker ends")


def test_no_secondary_index_is_made_twice() -> None:
    """CLUSTER makes all indexes anew that are there."""
    for view in VIEWS.values():
        made: dict[str, list[str]] = {}
        for statement in create_indexes(view, "s"):
            name = statement.split(" ON " if " ON " in statement else " ")[1].split()[0]
            made.setdefault(name, []).append(statement.split()[0])
        for table in view.tables:
            kinds = made.get(f"s.{table.name}", [])
            assert kinds == (
                ["CREATE", "CLUSTER", *["CREATE"] * (len(table.indexes) - 1)]
                if table.clustered
                else ["CREATE"] * len(table.indexes)
            )
