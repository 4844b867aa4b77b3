"""Rows and checkpoint are one: crashes, rollbacks and second writers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psycopg
import pytest

from projections import checkpoint, generation
from projections.applier import Applier
from projections.errors import Fenced, Promoted
from projections.view import View
from tests.projections.harness import Fold, owner
from tests.projections.logs import LogMaker

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def thermal(views: dict[str, View]) -> View:
    return views["thermal"]


async def test_a_second_writer_fences_the_first_and_nothing_is_written_twice(database: str, thermal: View, log: LogMaker) -> None:
    ana = owner()
    log.add(ana, "one")
    log.add(ana, "two")
    log.add(ana, "three")
    async with Fold.of(database, thermal) as first:
        await first.take(log.records[:1])
        async with await generation.connect(database) as conn:
            second = Applier(thermal, first.schema, conn)
            assert await second.claim() == first.applier.positions
            with pytest.raises(Fenced, match="another runner"):
                await first.take(log.records[1:2])
            await second.apply(log.records[1:])
        assert await first.rows("count(*), max(sequence) FROM {s}.thermal_memory_archive") == [(3, 3)]
        with pytest.raises(Fenced):
            await first.applier.still_ours()


async def test_of_two_writers_at_one_moment_one_wins_and_the_other_writes_nothing(
    database: str, thermal: View, log: LogMaker
) -> None:
    """Both believe that the generation is theirs: the compare-and-set on the offset alone must tell them apart."""
    log.add(owner(), *[f"fact {i}" for i in range(20)])
    async with Fold.of(database, thermal) as one, await generation.connect(database) as conn:
        other = Applier(thermal, one.schema, conn, runner=one.applier.runner)
        await other.load()
        outcomes = await asyncio.gather(one.applier.apply(log.records), other.apply(log.records), return_exceptions=True)
        assert sorted(type(o).__name__ for o in outcomes) == ["Fenced", "int"]
        assert await one.rows("count(*) FROM {s}.thermal_memory_archive") == [(20,)]


async def test_a_retired_generation_takes_no_more_rows(database: str, thermal: View, log: LogMaker) -> None:
    log.add(owner(), "one")
    async with Fold.of(database, thermal) as fold:
        await fold.conn.execute(f"UPDATE {fold.schema}.checkpoint SET retired = true")
        with pytest.raises(Promoted):
            await fold.take(log.records)
        assert await fold.rows("count(*) FROM {s}.thermal_memory_archive") == [(0,)]


async def test_a_zombie_of_a_retired_generation_is_fenced_not_sent_to_the_new_one(
    database: str, thermal: View, log: LogMaker
) -> None:
    log.add(owner(), "one")
    async with Fold.of(database, thermal) as fold:
        zombie, fold.applier = fold.applier, Applier(thermal, fold.schema, fold.conn)
        await fold.applier.claim()
        await fold.conn.execute(f"UPDATE {fold.schema}.checkpoint SET retired = true")
        with pytest.raises(Fenced):
            await zombie.apply(log.records)


async def test_a_failure_behind_the_rows_takes_rows_and_checkpoint_back(database: str, thermal: View, log: LogMaker) -> None:
    log.add(owner(), "one", "two")
    async with Fold.of(database, thermal) as fold:
        await fold.conn.execute(f"ALTER TABLE {fold.schema}.owner_position RENAME TO away")
        with pytest.raises(psycopg.errors.UndefinedTable):
            await fold.take(log.records)
        await fold.conn.execute(f"ALTER TABLE {fold.schema}.away RENAME TO owner_position")
        assert await fold.rows("count(*) FROM {s}.thermal_memory_archive") == [(0,)]
        assert await fold.rows("sum(next_offset) FROM {s}.checkpoint") == [(0,)]
        await fold.restart()
        await fold.take(log.records)
        assert await fold.rows("count(*) FROM {s}.thermal_memory_archive") == [(2,)]


async def test_a_position_never_stands_inside_a_slice(database: str, thermal: View, log: LogMaker) -> None:
    ana = owner()
    for i in range(5):
        log.add(ana, *[f"fact {i}-{j}" for j in range(4)])
    async with Fold.of(database, thermal) as fold:
        for record in log.records:
            await fold.take([record])
            [(position,)] = await fold.rows("sum(next_offset) FROM {s}.checkpoint")
            [(rows,)] = await fold.rows("count(*) FROM {s}.thermal_memory_archive")
            assert position % 4 == 0
            assert rows == position


CHILD = """
    import asyncio, sys
    from projections import generation
    from projections.applier import Applier
    from projections.view import ViewSettings
    from projections.views import build_views
    from schemas.topics import Topics
    from tests.projections.logs import LogMaker

    async def main(dsn, schema, owner):
        log = LogMaker(Topics(2, "kill."))
        for i in range(400):
            log.add(owner, f"fact {i} a", f"fact {i} b")
        view = build_views(ViewSettings(Topics(2, "kill.")), ["thermal"])["thermal"]
        conn = await generation.connect(dsn)
        applier = Applier(view, schema, conn)
        at = sum((await applier.claim()).values())
        for i in range(at, len(log.records), 5):
            await applier.apply(log.records[i : i + 5])
            print("+", flush=True)

    asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_writer_killed_at_any_moment_leaves_rows_and_checkpoint_consistent(database: str) -> None:
    from projections.view import ViewSettings
    from projections.views import build_views
    from schemas.topics import Topics

    view = build_views(ViewSettings(Topics(2, "kill.")), ["thermal"])["thermal"]
    ana = owner()
    async with Fold.of(database, view) as fold:
        for kill in range(3):
            child = await asyncio.to_thread(
                subprocess.Popen,
                [sys.executable, "-c", textwrap.dedent(CHILD), database, fold.schema, ana],
                cwd=ROOT,
                stdout=subprocess.PIPE,
            )
            try:
                assert child.stdout is not None
                for _ in range(20 + 13 * kill):
                    assert await asyncio.to_thread(child.stdout.readline)
            finally:
                os.kill(child.pid, signal.SIGKILL)
                child.wait()
                if child.stdout:
                    child.stdout.close()
            # its last transaction may still be under way in the database: claiming waits for that
            await checkpoint.claim(fold.conn, fold.schema, fold.applier.runner)
            [(position,)] = await fold.rows("sum(next_offset)::bigint FROM {s}.checkpoint")
            [(rows, last)] = await fold.rows("count(*), max(sequence) FROM {s}.thermal_memory_archive")
            assert rows == last == position
            assert position > 0
            assert await fold.rows("last_sequence FROM {s}.owner_position") == [(position,)]
