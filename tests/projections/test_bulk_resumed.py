"""Fills that ended too soon are gone on with: what was read is not read again, and what was loaded is not loaded twice."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from secrets import token_hex
from typing import Any
from uuid import uuid4

import pytest

from projections import generation
from projections.bulk import Build, Filled, finishing, manifest
from projections.bulk import spill as spilling
from projections.bulk.finishing import prepare
from projections.bulk.loading import Loader, connect
from projections.bulk.plan import Progress, Work
from projections.bulk.reading import PartsLog
from projections.bulk.resuming import GIVEN_UP
from projections.runner import RunnerConfig
from projections.tables import OWNER_POSITION
from projections.view import Table
from tests.projections.bulk import VIEWS, RecordedLog, applied, empty, fill_from, must_equal_the_live_work
from tests.projections.harness import eventually, owner
from tests.projections.logs import LogMaker, Rec
from tests.projections.test_spec import spec_log
from tests.projections.test_splits import TOPICS

SOME = [VIEWS[name] for name in ("thermal", "graph", "audit")]
"""With rows of an owner, rows by vectors, and rows that hang together by partition."""


class Broken(Exception):
    """The power goes."""


@pytest.fixture(autouse=True)
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spilling, "EVENTS_PER_BUCKET", 15)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each look at the log."""
    found: list[int] = []
    real = RecordedLog.next_below

    async def counted(self: RecordedLog, target: Any) -> list[Rec]:
        found.append(1)
        return await real(self, target)

    monkeypatch.setattr(RecordedLog, "next_below", counted)
    return found


def at(stage: str, done: int) -> Progress:
    """A progress that breaks there."""

    def look(found: str, reached: int, total: int) -> None:
        if found == stage and reached >= done:
            raise Broken

    return look


async def cut(dsn: str, builds: Sequence[Build], records: Sequence[Rec], folder: Path, progress: Progress) -> None:
    with pytest.raises(Broken):
        await fill_from(dsn, builds, records, folder, progress=progress)


async def resumed(dsn: str, builds: Sequence[Build], records: Sequence[Rec], folder: Path, reads: list[int]) -> Filled:
    """Gone on with, over views as another process has them; nothing is read."""
    reads.clear()
    others = [Build(pickle.loads(pickle.dumps(build.view)), build.schema) for build in builds]
    filled = await fill_from(dsn, others, records, folder)
    assert filled.resumed
    assert reads == []
    return filled


def folders(path: Path) -> list[Path]:
    return sorted((path / "spill").glob("*"))


@pytest.mark.parametrize("bucket", [0, 1, 3])
async def test_a_fill_that_was_cut_off_between_buckets_goes_on_with_those_left(
    database: str, tmp_path: Path, reads: list[int], bucket: int
) -> None:
    records = spec_log().records
    async with empty(database, SOME) as builds:
        await cut(database, builds, records, tmp_path, at("fold", bucket))
        filled = await resumed(database, builds, records, tmp_path, reads)
        # the last bucket may be nobody's
        assert bucket == 3 or sum(filled.records.values()) > 0
        await must_equal_the_live_work(database, builds, records, filled=filled)
    assert not (tmp_path / "spill").exists()


async def test_a_fill_that_was_cut_off_many_times_in_the_middle_of_buckets_loads_nothing_twice(
    database: str, tmp_path: Path, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    records = spec_log().records
    real, calls, cuts = Loader._copy, [0], [0]

    def sometimes(self: Loader, *what: Any) -> None:
        calls[0] += self._mine is not None
        if self._mine is not None and calls[0] in (4, 14, 20, 32):
            raise Broken
        real(self, *what)

    monkeypatch.setattr(Loader, "_copy", sometimes)
    async with empty(database, SOME) as builds:
        while True:
            try:
                filled = await fill_from(database, builds, records, tmp_path)
                break
            except Broken:
                cuts[0] += 1
                reads.clear()
        assert cuts[0] == 4
        assert reads == []
        await must_equal_the_live_work(database, builds, records, filled=filled)


async def test_a_fill_that_was_cut_off_while_it_read_begins_anew(database: str, tmp_path: Path, reads: list[int]) -> None:
    records = spec_log().records
    async with empty(database, SOME) as builds:
        await cut(database, builds, records, tmp_path, at("read", 20))
        assert folders(tmp_path) == []
        reads.clear()
        filled = await fill_from(database, builds, records, tmp_path)
        assert (filled.resumed, len(reads) > 0) == (False, True)
        await must_equal_the_live_work(database, builds, records, filled=filled)


async def test_a_fill_that_was_cut_off_at_its_indexes_makes_only_what_is_left(
    database: str, tmp_path: Path, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    records = spec_log().records
    real = finishing._complete

    def broken(conn: Any, build: Build, *rest: Any) -> Any:
        if build.view.name == "graph":
            raise Broken
        return real(conn, build, *rest)

    async with empty(database, SOME) as builds:
        with monkeypatch.context() as patch:
            patch.setattr(finishing, "_complete", broken)
            await cut(database, builds, records, tmp_path, lambda *_: None)
        left = [build for build in builds if build.view.name != "thermal"]
        filled = await resumed(database, left, records, tmp_path, reads)
        assert sum(filled.records.values()) == 0
        await must_equal_the_live_work(database, builds, records)


async def test_some_views_of_a_fill_go_on_and_the_others_later(database: str, tmp_path: Path, reads: list[int]) -> None:
    records = spec_log().records
    async with empty(database, SOME) as builds:
        await cut(database, builds, records, tmp_path, at("fold", 2))
        for some in (builds[:1], builds[1:]):
            filled = await resumed(database, some, records, tmp_path, reads)
            await must_equal_the_live_work(database, some, records, filled=filled)
            # another fill meanwhile leaves what is to be gone on with
            async with empty(database, [VIEWS["parked"]]) as others:
                await fill_from(database, others, records, tmp_path)


@pytest.mark.parametrize("what", ["no manifest", "another form", "a file cut", "a file changed", "beyond"])
async def test_what_does_not_fit_begins_anew(database: str, tmp_path: Path, reads: list[int], what: str) -> None:
    records = spec_log().records
    async with empty(database, SOME[:1]) as builds:
        await cut(database, builds, records, tmp_path, at("fold", 2))
        [folder] = folders(tmp_path)
        file, note = next(folder.glob("*.spill")), folder / manifest.NAME
        match what:
            case "no manifest":
                note.unlink()
            case "another form":
                note.write_bytes(note.read_bytes().replace(b'"form":"', b'"form":"0'))
            case "a file cut":
                file.write_bytes(file.read_bytes()[:-1])
            case "a file changed":
                file.write_bytes(file.read_bytes()[:-1] + b"\xff")
            case "beyond":
                records = records[:-20]
        reads.clear()
        filled = await fill_from(database, builds, records, tmp_path)
        assert (filled.resumed, len(reads) > 0) == (False, True)
        assert folders(tmp_path) == []
        await must_equal_the_live_work(database, builds, records, filled=filled)


async def test_working_files_of_a_generation_that_is_gone_are_removed(database: str, tmp_path: Path) -> None:
    records = spec_log().records
    async with empty(database, SOME) as builds:
        await cut(database, builds, records, tmp_path, at("fold", 2))
    assert len(folders(tmp_path)) == 1
    async with empty(database, SOME[:1]) as builds:
        await cut(database, builds, records, tmp_path, at("fold", 1))
        [folder] = folders(tmp_path)
        assert folder.stat().st_mode & 0o077 == 0


async def test_a_view_that_was_given_up_stays_so_and_the_others_go_on(
    database: str, tmp_path: Path, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = spec_log()
    for _ in range(10):
        log.add(owner(), "in one bucket or another")
    records = log.records
    real, calls = Loader._encoder, [0]

    def refusing(_: Any) -> bytes:
        raise ValueError

    def sometimes(self: Loader, place: int, table: Table) -> Any:
        calls[0] += table.name == "memory_trace"
        return refusing if table.name == "memory_trace" and calls[0] == 2 else real(self, place, table)

    def once_refused(stage: str, done: int, total: int) -> None:
        # which buckets hold traces follows from the owners' references; two do
        if stage == "fold" and calls[0] >= 2:
            raise Broken

    async with empty(database, SOME) as builds:
        with monkeypatch.context() as patch:
            patch.setattr(Loader, "_encoder", sometimes)
            await cut(database, builds, records, tmp_path, once_refused)
            assert calls[0] == 2
        filled = await resumed(database, builds, records, tmp_path, reads)
        assert filled.left_out == {"graph": GIVEN_UP}
        for build in builds:
            await applied(database, build, records)
        await must_equal_the_live_work(database, builds, records)


async def test_a_bucket_that_a_killed_fill_still_loads_is_loaded_once(database: str, tmp_path: Path) -> None:
    async with empty(database, SOME[:1]) as builds, await generation.connect(database) as third:
        work = Work(RunnerConfig("", database), tuple(builds), {}, (), tmp_path, 1, uuid4(), PartsLog)
        rows = [(uuid4(), 1, 1)]

        async def waits() -> bool:
            query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            return await (await third.execute(query)).fetchone() == (1,)

        with contextlib.ExitStack() as stack:
            one, other = (stack.enter_context(connect(database)) for _ in range(2))
            left, goes_on = (Loader(conn, work, stack.enter_context(ThreadPoolExecutor(1))) for conn in (one, other))
            prepare(one, builds[0], work.fill)
            with left.bucket(0):
                left.load_tuples(0, OWNER_POSITION, rows)
                left.flush()
                with goes_on.bucket(0):
                    goes_on.load_tuples(0, OWNER_POSITION, rows)
                await eventually(waits, "the second one waits for the first")
            left.flush()
            goes_on.flush()
        cursor = await third.execute(f"SELECT count(*) FROM {builds[0].schema}.owner_position")
        assert await cursor.fetchone() == (1,)


async def test_a_database_without_halfvec_is_filled_with_vector(fresh_database: str, tmp_path: Path) -> None:
    log = LogMaker(TOPICS)
    for number in range(80):
        ana = owner()
        [memory] = log.add(ana, token_hex(4))
        log.embed(ana, memory, [1.0, number / 80])
    async with await generation.connect(fresh_database) as conn:
        await conn.execute("ALTER TYPE halfvec RENAME TO not_there")
    async with empty(fresh_database, [VIEWS["graph"], VIEWS["mem0"]]) as builds:
        filled = await fill_from(fresh_database, builds, log.records, tmp_path)
        assert filled.left_out == {}
        await must_equal_the_live_work(fresh_database, builds, log.records, filled=filled)
