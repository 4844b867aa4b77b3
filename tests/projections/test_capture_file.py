"""Interactions in a SQLite file: the same rows as in PostgreSQL, batch by batch, and no byte of what was forgotten."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.local.services import ServiceAddresses
from projections.errors import Fenced, OtherFold
from projections.folding import load
from projections.log_reader import ReaderConfig
from projections.rows import Rows, Wanted
from projections.sqlite import tables
from projections.sqlite.applier import SqliteApplier
from projections.sqlite.follower import SqliteFollower
from projections.view import Target, ViewSettings
from projections.views.capture import CaptureView
from tests.projections.harness import Broker, Fold, eventually, of_view, owner
from tests.projections.logs import LogMaker, Rec
from tests.projections.reference import fold_all
from tests.projections.test_capture import steps
from tests.projections.test_spec import spec_log
from tests.projections.test_splits import TOPICS, write
from tests.projections.turns import learn, say

VIEW = CaptureView(ViewSettings(TOPICS))


def in_file(path: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(path)) as file:
        return {table.name: sorted(tables.read_all(file, table), key=repr) for table in VIEW.tables}


def reference(records: list[Rec]) -> dict[str, list[Any]]:
    rows = fold_all(VIEW, records)
    return {table.name: sorted(rows.all(table), key=repr) for table in VIEW.tables}


async def fold(path: Path, records: list[Rec], view: CaptureView = VIEW) -> None:
    with closing(SqliteApplier(view, path)) as applier:
        await applier.apply([r for r in records if r.offset >= applier.positions[r.topic, r.partition]])


async def test_a_file_that_is_closed_after_every_record_has_the_rows_of_the_reference_fold(tmp_path: Path) -> None:
    records = of_view(VIEW, spec_log().records)
    for end in range(1, len(records) + 1):
        await fold(tmp_path / "cut.sqlite", records[:end])
    await fold(tmp_path / "whole.sqlite", records)
    assert in_file(tmp_path / "cut.sqlite") == in_file(tmp_path / "whole.sqlite") == reference(records)
    with closing(sqlite3.connect(tmp_path / "cut.sqlite")) as file:
        assert file.execute("SELECT count(*) FROM view_problem").fetchone()[0] > 0, "rubbish is noted"


@given(plan=steps, cuts=st.lists(st.integers(1, 60), max_size=9))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_split_gives_the_rows_of_the_reference_fold(
    tmp_path_factory: pytest.TempPathFactory, plan: list[tuple[str, int, int]], cuts: list[int]
) -> None:
    log, path = LogMaker(TOPICS), tmp_path_factory.mktemp("capture") / "file.sqlite"
    write(log, plan)
    records = of_view(VIEW, log.records)
    for end in [*sorted(cuts), len(records)]:
        await fold(path, records[:end])
    assert in_file(path) == reference(records)


async def test_postgresql_and_the_file_hold_the_same_rows(database: str, tmp_path: Path) -> None:
    records = of_view(VIEW, spec_log().records)
    await fold(tmp_path / "file.sqlite", records)
    async with Fold.of(database, VIEW) as live:
        await live.take(records)
        found, target = {}, Target(live.conn, live.schema)
        for table in VIEW.tables:
            keys = await live.rows(f"{', '.join(table.key)} FROM {{s}}.{table.name}")
            wanted, rows = Wanted(), Rows(VIEW.tables)
            for key in keys:
                wanted.key(table, *key)
            await load(target, wanted, rows)
            found[table.name] = sorted(rows.all(table), key=repr)
        assert in_file(tmp_path / "file.sqlite") == found


async def test_forgotten_words_leave_the_bytes_of_the_file(tmp_path: Path) -> None:
    log, ana, ben, path = LogMaker(TOPICS), owner(), owner(), tmp_path / "file.sqlite"
    turns = [say(log, ana, f"u{n}", f"a{n}", session=f"hers {n}") for n in range(400)]
    say(log, ben, "u1", session="his")
    await fold(path, of_view(VIEW, log.records))
    assert all(words in path.read_bytes() for words in (b"what u399 says", b"what a7 says", b"hers 3"))
    memory = learn(log, turns[7], "u7", "a7")
    log.forget(ana, memory, include_source=True)
    await fold(path, of_view(VIEW, log.records))
    data = path.read_bytes()
    assert b"what u7 says" not in data
    assert b"what a7 says" not in data
    assert b"what a8 says" in data
    log.erase(ana)
    await fold(path, of_view(VIEW, log.records))
    data = path.read_bytes()
    assert not [n for n in range(400) if f"what a{n} says".encode() in data or (f"what u{n} says".encode() in data and n != 1)]
    assert b"hers" not in data
    assert b"what u1 says" in data, "Ben's stays"
    assert os.listdir(tmp_path) == ["file.sqlite"]


async def test_a_second_writer_is_fenced_and_leaves_nothing(tmp_path: Path) -> None:
    log, path = LogMaker(TOPICS), tmp_path / "file.sqlite"
    say(log, owner(), "u1", "a1")
    with closing(SqliteApplier(VIEW, path)) as one, closing(SqliteApplier(VIEW, path)) as other:
        await one.apply(log.records)
        before = in_file(path)
        with pytest.raises(Fenced):
            await other.apply(log.records)
    assert in_file(path) == before


async def test_a_file_of_another_fold_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await fold(tmp_path / "file.sqlite", [])
    monkeypatch.setattr(CaptureView, "version", 2)
    with pytest.raises(OtherFold, match="delete the file"):
        SqliteApplier(CaptureView(ViewSettings(TOPICS)), tmp_path / "file.sqlite")


async def test_the_follower_goes_on_from_its_file_and_makes_a_deleted_one_anew(
    services: ServiceAddresses, broker: Broker, log: LogMaker, tmp_path: Path
) -> None:
    view, path, ana = CaptureView(ViewSettings(log.topics)), tmp_path / "a folder" / "file.sqlite", owner()
    turns = {s.topic for s in view.sources}

    async def follow() -> None:
        follower, stop = SqliteFollower(view, path, ReaderConfig(services.kafka_bootstrap)), asyncio.Event()
        task = asyncio.create_task(follower.run(stop))

        async def there() -> bool:
            return task.done() or follower.applied == log.ends(*turns)

        await eventually(there, "the follower has read everything")
        stop.set()
        await task

    say(log, ana, "u1", "a1")
    await broker.send(log.records)
    await follow()
    said = say(log, ana, "u2")
    memory = learn(log, said)
    log.forget(ana, memory, include_source=True)
    await broker.send(log.records[1:])
    await follow()
    rows = in_file(path)
    assert [row.user_transcript for row in rows["interactions"]] == ["what u1 says"]
    path.unlink()
    await follow()
    assert in_file(path) == rows
