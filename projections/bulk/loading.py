"""Rows into tables that nobody else looks at: by binary COPY, on a thread, while the next rows are being made."""

from __future__ import annotations

from collections import deque, namedtuple
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg

from projections.bulk.binary import HEADER, REFUSED, TRAILER, Encode, encoder
from projections.bulk.plan import Work
from projections.errors import Fenced, is_data_fault
from projections.generation import LINK
from projections.view import Table

CHUNK_BYTES = 262_144
WAITING_BYTES = 24 * 1_048_576
"""So many bytes may wait for the database at once."""


class _Waiting(NamedTuple):
    size: int
    done: Future[None]


class Loader:
    """Loads rows into builds, named by their place in the list.

    A build with a value that its tables cannot take is given up (``failed``: why); what is loaded into it from then on is not.
    """

    def __init__(self, conn: psycopg.Connection[Any], work: Work, thread: ThreadPoolExecutor) -> None:
        self.failed: dict[int, str] = {}
        self._conn, self._work, self._thread = conn, work, thread
        self._encoders: dict[Table, Encode | None] = {}
        self._waiting: deque[_Waiting] = deque()
        self._size = 0

    @classmethod
    @contextmanager
    def of(cls, work: Work) -> Iterator[Loader]:
        """A loader with a connection and a thread of its own. Raises psycopg's errors."""
        with connect(work.config.dsn) as conn, ThreadPoolExecutor(1, "bulk-load") as thread:
            yield cls(conn, work, thread)

    def load(self, place: int, table: Table, rows: Sequence[Any]) -> None:
        """Load rows, whose attributes are named like the columns. Raises psycopg's errors, of earlier calls too."""
        if not rows or place in self.failed:
            return
        encode = self._encoder(table)
        try:
            chunks = _chunks(encode, rows)
        except REFUSED as error:
            # not its text: it may quote the value
            self.failed[place] = f"{table.name} cannot take a value ({type(error).__name__})"
            return
        size = sum(map(len, chunks))
        while self._waiting and self._size + size > WAITING_BYTES:
            self._take_back()
        self._size += size
        self._waiting.append(_Waiting(size, self._thread.submit(self._copy, place, table, chunks)))

    def load_tuples(self, place: int, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """Load rows of values in the order of the columns."""
        named = namedtuple("named", table.names)  # type: ignore[misc]
        self.load(place, table, [named(*row) for row in rows])

    def flush(self) -> None:
        """Wait until everything is loaded. Raises psycopg's errors."""
        while self._waiting:
            self._take_back()

    def _take_back(self) -> None:
        waiting = self._waiting.popleft()
        self._size -= waiting.size
        waiting.done.result()

    def _encoder(self, table: Table) -> Encode:
        found = self._encoders.get(table)
        if found is None:
            found = self._encoders[table] = encoder(table)
        assert found is not None, "such a build is left out"
        return found

    def _copy(self, place: int, table: Table, chunks: list[bytes]) -> None:
        if place in self.failed:
            return
        schema = self._work.builds[place].schema
        statement = f"COPY {schema}.{table.name} ({table.quoted}) FROM STDIN (FORMAT BINARY)"
        try:
            with self._conn.transaction(), self._conn.cursor() as cursor:
                self._must_be_ours(cursor, schema)
                with cursor.copy(statement.encode()) as copy:
                    for chunk in chunks:
                        copy.write(chunk)
        except psycopg.Error as error:
            if not is_data_fault(error):
                raise
            self.failed[place] = f"{table.name} cannot take a value (SQLSTATE {error.sqlstate})"

    def _must_be_ours(self, cursor: psycopg.Cursor[Any], schema: str) -> None:
        # what a killed fill left running must not write into the tables of the next one
        query = f"SELECT 1 FROM {schema}.checkpoint WHERE runner = %s LIMIT 1 FOR SHARE"
        if cursor.execute(query.encode(), (self._work.fill,)).fetchone() is None:
            raise Fenced(f"another fill of {schema} has begun, so this one has stopped")


def _chunks(encode: Encode, rows: Sequence[Any]) -> list[bytes]:
    chunks, held = [], [HEADER]
    size = 0
    for row in rows:
        data = encode(row)
        held.append(data)
        size += len(data)
        if size > CHUNK_BYTES:
            chunks.append(b"".join(held))
            held, size = [], 0
    held.append(TRAILER)
    return [*chunks, b"".join(held)]


def connect(dsn: str) -> psycopg.Connection[Any]:
    """An autocommit connection whose commits do not wait for the disk. Raises psycopg's errors."""
    conn: psycopg.Connection[Any] = psycopg.connect(dsn, autocommit=True, **LINK)
    conn.execute("SET synchronous_commit = off; SET client_min_messages = warning")
    return conn
