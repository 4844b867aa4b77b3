"""Rows into tables that nobody else looks at: by binary COPY, on a thread, while the next rows are being made."""

from __future__ import annotations

from collections import deque, namedtuple
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg

from projections.bulk.binary import HEADER, REFUSED, TRAILER, Encode, encoder
from projections.bulk.plan import Work
from projections.bulk.resuming import LOADED
from projections.errors import Fenced, is_data_fault
from projections.generation import LINK
from projections.vectors import sent_types
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
        self.failed: dict[int, str] = dict(work.failed)
        self._conn, self._work, self._thread = conn, work, thread
        self._encoders: dict[tuple[int, Table], Encode | None] = {}
        self._waiting: deque[_Waiting] = deque()
        self._size = 0
        # of the thread
        self._broken = False
        self._mine: set[int] | None = None

    @classmethod
    @contextmanager
    def of(cls, work: Work) -> Iterator[Loader]:
        """A loader with a connection and a thread of its own. Raises psycopg's errors."""
        with connect(work.config.dsn) as conn, ThreadPoolExecutor(1, "bulk-load") as thread:
            yield cls(conn, work, thread)

    @contextmanager
    def bucket(self, number: int) -> Iterator[None]:
        """What is loaded in the block is loaded as a whole, with a note that this bucket is, and only where there is none yet."""
        self._later(0, lambda: self._begin(number))
        yield
        self._later(0, lambda: self._end(number))

    def load(self, place: int, table: Table, rows: Sequence[Any]) -> None:
        """Load rows, whose attributes are named like the columns. Raises psycopg's errors, of earlier calls too."""
        if not rows or place in self.failed:
            return
        encode = self._encoder(place, table)
        try:
            chunks = _chunks(encode, rows)
        except REFUSED as error:
            # not its text: it may quote the value
            self.failed[place] = f"{table.name} cannot take a value ({type(error).__name__})"
            return
        self._later(sum(map(len, chunks)), lambda: self._copy(place, table, chunks))

    def load_tuples(self, place: int, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """Load rows of values in the order of the columns."""
        named = namedtuple("named", table.names)  # type: ignore[misc]
        self.load(place, table, [named(*row) for row in rows])

    def flush(self) -> None:
        """Wait until everything is loaded. Raises psycopg's errors."""
        while self._waiting:
            self._take_back()

    def _later(self, size: int, job: Callable[[], None]) -> None:
        while self._waiting and self._size + size > WAITING_BYTES:
            self._take_back()
        self._size += size
        self._waiting.append(_Waiting(size, self._thread.submit(self._do, job)))

    def _take_back(self) -> None:
        waiting = self._waiting.popleft()
        self._size -= waiting.size
        waiting.done.result()

    def _encoder(self, place: int, table: Table) -> Encode:
        found = self._encoders.get((place, table))
        if found is None:
            # on a connection of its own: that of the thread is at work
            with connect(self._work.config.dsn) as conn:
                types = sent_types(conn, self._work.builds[place].schema, table)
            found = self._encoders[place, table] = encoder(table, types)
        assert found is not None, "such a build is left out"
        return found

    # -- on the thread

    def _do(self, job: Callable[[], None]) -> None:
        # after an error the rest of a bucket must not be loaded without its beginning
        if self._broken:
            return
        try:
            job()
        except BaseException:
            self._broken = True
            raise

    def _begin(self, bucket: int) -> None:
        self._conn.execute("BEGIN")
        self._mine = set()
        for place, build in enumerate(self._work.builds):
            if place in self.failed:
                continue
            self._must_be_ours(self._conn, build.schema)
            # what a killed fill left running may have loaded it meanwhile
            note = f"INSERT INTO {build.schema}.{LOADED} (bucket) VALUES (%s) ON CONFLICT DO NOTHING"
            if self._conn.execute(note.encode(), (bucket,)).rowcount:
                self._mine.add(place)

    def _end(self, bucket: int) -> None:
        for place in (self._mine or set()) & self.failed.keys():
            # without the note, whoever goes on sees that it was given up
            note = f"DELETE FROM {self._work.builds[place].schema}.{LOADED} WHERE bucket = %s"
            self._conn.execute(note.encode(), (bucket,))
        self._mine = None
        self._conn.execute("COMMIT")

    def _copy(self, place: int, table: Table, chunks: list[bytes]) -> None:
        if place in self.failed or (self._mine is not None and place not in self._mine):
            return
        schema = self._work.builds[place].schema
        statement = f"COPY {schema}.{table.name} ({table.quoted}) FROM STDIN (FORMAT BINARY)"
        try:
            with self._conn.transaction(), self._conn.cursor() as cursor:
                if self._mine is None:
                    self._must_be_ours(self._conn, schema)
                with cursor.copy(statement.encode()) as copy:
                    for chunk in chunks:
                        copy.write(chunk)
        except psycopg.Error as error:
            if not is_data_fault(error):
                raise
            self.failed[place] = f"{table.name} cannot take a value (SQLSTATE {error.sqlstate})"

    def _must_be_ours(self, conn: psycopg.Connection[Any], schema: str) -> None:
        # what a killed fill left running must not write into the tables of the next one
        query = f"SELECT 1 FROM {schema}.checkpoint WHERE runner = %s LIMIT 1 FOR SHARE"
        if conn.execute(query.encode(), (self._work.fill,)).fetchone() is None:
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
