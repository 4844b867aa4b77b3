"""What a rebuild is compared with, over the same history and for the same views.

(a) `raw_copy`: the final rows, sent as they are by binary COPY into bare tables, then the same keys and indexes.
(b) `TempMerge`: a consumer that folds a batch, sends its rows by COPY to a temporary table and merges them from there.
(d) `RowByRow`: a consumer that folds one event at a time and upserts its rows, each event with its offset in a transaction.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

import psycopg
from psycopg import AsyncConnection

from projections import folding, generation, tables
from projections.applier import Applier
from projections.bulk import Build
from projections.folding import FoldingView
from projections.intake import Reader
from projections.log_reader import KafkaLog
from projections.records import Placed, Positions
from projections.rows import Changes, Rows, Wanted
from projections.runner import RunnerConfig
from projections.vectors import register_vector
from projections.view import Table, Target
from schemas.sealing import opening

CHUNK = 1_048_576


# -- (a)


def raw_copy(dsn: str, builds: Sequence[Build]) -> tuple[float, int]:
    """Seconds and rows: the rows of ``builds`` into tables beside them, which are dropped again."""
    seconds, rows = 0.0, 0
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("SET synchronous_commit = off; SET maintenance_work_mem = '256MB'")
        for build in builds:
            beside = f"{build.schema}_raw"
            for statement in tables.create_generation(build.view, beside):
                conn.execute(statement.encode())
            for statement in tables.strip(build.view, beside):
                conn.execute(statement.encode())
            for table in (*tables.SERVICE_TABLES, *build.view.tables):
                spent, count = _copied(conn, table, build.schema, beside)
                seconds, rows = seconds + spent, rows + count
            began = time.perf_counter()
            names = [table.name for table in (*tables.SERVICE_TABLES, *build.view.tables)]
            after = [*tables.add_keys(build.view, beside), *tables.create_indexes(build.view, beside, cluster=False)]
            for statement in (*after, *(f"ANALYZE {beside}.{name}" for name in names)):
                conn.execute(statement.encode())
            seconds += time.perf_counter() - began
            conn.execute(f"DROP SCHEMA {beside} CASCADE".encode())
    return seconds, rows


def _copied(conn: psycopg.Connection[Any], table: Table, source: str, target: str) -> tuple[float, int]:
    with tempfile.TemporaryFile() as file:
        with conn.cursor() as cursor, cursor.copy(_copy(table, source, "TO STDOUT")) as copy:
            for part in copy:
                file.write(part)
        file.seek(0)
        began = time.perf_counter()
        with conn.cursor() as cursor:
            _send(cursor, _copy(table, target, "FROM STDIN"), file)
            return time.perf_counter() - began, cursor.rowcount


def _send(cursor: psycopg.Cursor[Any], statement: bytes, file: IO[bytes]) -> None:
    with cursor.copy(statement) as copy:
        while part := file.read(CHUNK):
            copy.write(part)


def _copy(table: Table, schema: str, what: str) -> bytes:
    return f"COPY {schema}.{table.name} ({table.quoted}) {what} (FORMAT BINARY)".encode()


# -- (b)


class TempMerge:
    """A view that writes by COPY to a temporary table and a merge from there; the rest of it is ``view``'s."""

    def __init__(self, view: FoldingView) -> None:
        self._view = view
        self.name, self.version, self.tables, self.sources, self.check = (
            view.name, view.version, view.tables, view.sources, view.check
        )  # fmt: skip

    async def apply(self, target: Target, batch: Sequence[Placed]) -> None:
        """Fold a batch and merge its rows."""
        for table, changes in (await _folded(self._view, target, batch)).changes():
            gone = Changes(changes.wiped, changes.deleted)
            await folding.write(target, table, gone)
            await _merge(target, table, [*changes.changed, *changes.added])


async def _folded(view: FoldingView, target: Target, batch: Iterable[Placed]) -> Rows:
    wanted, rows = Wanted(), Rows(view.tables)
    for placed in batch:
        view.wants(wanted, placed)
    await folding.load(target, wanted, rows)
    for placed in batch:
        view.fold(rows, placed)
    return rows


async def _merge(target: Target, table: Table, rows: Sequence[Any]) -> None:
    if not rows:
        return
    name = f"merged_{table.name}"
    columns = ", ".join(f'"{c.name}" {c.type}' for c in table.columns)
    await target.conn.execute(f"CREATE TEMP TABLE IF NOT EXISTS {name} ({columns})".encode())
    await target.conn.execute(f"TRUNCATE {name}".encode())
    await folding.copy_in(Target(target.conn, "pg_temp"), _renamed(table, name), rows)
    change = ", ".join(f'"{n}" = EXCLUDED."{n}"' for n in table.names if n not in table.key)
    keys = ", ".join(f'"{n}"' for n in table.key)
    await target.conn.execute(
        f"INSERT INTO {target.name(table)} ({table.quoted}) SELECT {table.quoted} FROM {name} "
        f"ON CONFLICT ({keys}) DO UPDATE SET {change}".encode()
    )


def _renamed(table: Table, name: str) -> Table:
    return Table(name, table.columns, table.key, row=table.row)


async def temp_merge(config: RunnerConfig, builds: Sequence[Build], until: Positions) -> float:
    """Seconds: every view in its own pass, as a consumer of it reads. Secondary indexes come after."""
    began = time.perf_counter()
    for build in builds:
        assert isinstance(build.view, FoldingView)
        async with await generation.connect(config.dsn) as conn:
            applier = Applier(TempMerge(build.view), build.schema, conn, keys=config.keys)
            await applier.claim()
            target = {tp: end for tp, end in until.items() if tp in applier.positions}
            async with KafkaLog(config.bulk_reader(), build.view.sources) as reader:
                await reader.seek(applier.positions)
                while _is_short(await reader.positions(), target):
                    records = await reader.next_below(target)
                    for at in range(0, len(records), config.max_records):
                        await applier.apply(records[at : at + config.max_records])
                await applier.settle(target)
            for statement in tables.create_indexes(build.view, build.schema, cluster=False):
                await conn.execute(statement.encode())
    return time.perf_counter() - began


def _is_short(positions: Positions, target: Positions) -> bool:
    return any(positions[tp] < end for tp, end in target.items())


# -- (d)


async def row_by_row(config: RunnerConfig, builds: Sequence[Build], records: Mapping[str, int]) -> float:
    """Seconds for the first ``records`` of each topic, values opened beforehand and not counted."""
    seconds = 0.0
    for build in builds:
        assert isinstance(build.view, FoldingView)
        async with await generation.connect(config.dsn) as conn:
            await register_vector(conn)
            for topic in sorted({source.topic for source in build.view.sources}):
                for placed in await _opened(config, build.view, topic, records.get(topic, 0)):
                    began = time.perf_counter()
                    await _one(conn, build, placed)
                    seconds += time.perf_counter() - began
    return seconds


async def _one(conn: AsyncConnection[Any], build: Build, placed: Placed) -> None:
    assert isinstance(build.view, FoldingView)
    async with conn.transaction():
        target = Target(conn, build.schema)
        for table, changes in (await _folded(build.view, target, [placed])).changes():
            await folding.write(target, table, Changes(changes.wiped, changes.deleted))
            await target.upsert(table, list(folding.as_sent(table, [*changes.changed, *changes.added])))
        await conn.execute(
            f"UPDATE {build.schema}.checkpoint SET next_offset = %s WHERE topic = %s AND partition = %s".encode(),
            (placed.offset + 1, placed.topic, placed.partition),
        )


async def _opened(config: RunnerConfig, view: FoldingView, topic: str, limit: int) -> list[Placed]:
    """The first records of a topic, as far as the view takes them."""
    found: list[Placed] = []
    sources = [source for source in view.sources if source.topic == topic]
    async with KafkaLog(config.reader(), sources) as reader:
        await reader.seek({(topic, p): 0 for p in range(sources[0].partitions)})
        intake = Reader(sources)
        while len(found) < limit and (records := await reader.next()):
            found += [placed for candidate in intake.take(records).candidates for placed in candidate.events]
    found = found[:limit]
    open_one = await opening(config.keys, [placed.record for placed in found if placed.record is not None])
    return [Placed(p.topic, p.partition, p.offset, p.key, None if p.record is None else open_one(p.record)) for p in found]
