"""(c) The same events through the `eventsourcing` library (9.5): an application in PostgreSQL, and a projection of it.

As its manual has it: the events are an application's, kept by its own recorder; a ``ProjectionRunner`` subscribes to them (LISTEN
and pages of 500, its default) and gives them one by one to a ``Projection``; the view is a ``PostgresTrackingRecorder``, which
writes what an event changes and the position of that event in one transaction.

What the view writes comes from our own folds, so that the rows are the same. Events are kept in plain and in MessagePack, which
is faster than the library's JSON; no commit waits for the disk; statements are pipelined as the library does it when it records
events; all views share a transaction. A view that keeps values sealed is left out, as these events hold none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID, uuid5

import msgspec
import numpy as np
import psycopg
from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import Mapper, StoredEvent, Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.utils import get_topic
from msgspec.msgpack import Decoder, Encoder
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import tuple_row

from benchmarks.harness import Failed
from benchmarks.rebuild_part import Part
from projections import folding
from projections.bulk import Build
from projections.folding import FoldingView
from projections.records import Placed
from projections.rows import Changes, Rows, Wanted
from projections.vectors import Vector
from projections.view import Table, View
from schemas.ids import NAMESPACE
from schemas.owner import Owner
from schemas.types import RECORDS

SCHEMA = "eventsourcing"
SAVED_AT_ONCE = 25
"""Not timed. With far more than a socket holds in one statement, psycopg's pipeline, which the library uses, may stand still."""
PATIENCE_S = 1_800.0
_VECTORS = ("vector", "halfvec")
_TOMBSTONE = -1
_KINDS = {kind: number for number, kind in enumerate(RECORDS)}


# -- the application


@dataclass(frozen=True, slots=True)
class Told:
    """A record of the history, as an event of the library: of the owner's stream, or of its partition's stream of vectors."""

    originator_id: UUID
    originator_version: int
    placed: Placed


class _State(msgspec.Struct, array_like=True):
    """What is stored of it. ``kind`` is the place of the record's type in ``RECORDS``."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    kind: int
    record: msgspec.Raw
    owners: dict[str, Owner]


_encode, _decode_state = Encoder().encode, Decoder(_State).decode
_decoders = [Decoder(kind) for kind in RECORDS]


class InMessagePack(Mapper[UUID]):
    """Between events and what is stored."""

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> StoredEvent:
        """The record in MessagePack."""
        assert isinstance(domain_event, Told)
        at, record = domain_event.placed, domain_event.placed.record
        kind = _TOMBSTONE if record is None else _KINDS[type(record)]
        raw = msgspec.Raw(_encode(record))
        state = _encode(_State(at.topic, at.partition, at.offset, at.key, kind, raw, dict(at.owners)))
        return StoredEvent(domain_event.originator_id, domain_event.originator_version, get_topic(Told), state)

    def to_domain_event(self, stored_event: StoredEvent) -> Told:
        """The same, back."""
        state = _decode_state(stored_event.state)
        record = None if state.kind == _TOMBSTONE else _decoders[state.kind].decode(state.record)
        placed = Placed(state.topic, state.partition, state.offset, state.key, record, state.owners)
        assert isinstance(stored_event.originator_id, UUID)
        return Told(stored_event.originator_id, stored_event.originator_version, placed)


class Remembered(Application[UUID]):
    """The application whose events they are."""

    name = "remembered"

    def construct_mapper(self) -> Mapper[UUID]:
        """Ours, by the library's factory."""
        return self.factory.mapper(transcoder=self.construct_transcoder(), mapper_class=InMessagePack)


def told(part: Iterable[Placed]) -> Iterator[Told]:
    """Events of the library, each at its place in a stream."""
    for placed in part:
        meta = getattr(placed.record, "meta", None)
        if meta is not None:
            yield Told(UUID(meta.owner), meta.sequence, placed)
        else:
            yield Told(uuid5(NAMESPACE, f"{placed.topic}/{placed.partition}"), placed.offset + 1, placed)


# -- the view and its projection


class Stores(PostgresTrackingRecorder):
    """The tables of several views. ``began`` and ``ended`` are when the first event came and the last one was written."""

    builds: ClassVar[tuple[Build, ...]] = ()
    began = ended = 0.0

    def take(self, placed: Placed, tracking: Tracking) -> None:
        """Write what a record changes, and its position."""
        self.began = self.began or time.perf_counter()
        folds = [_Fold(build) for build in self.builds if _is_for(build.view, placed)]
        with self.datastore.get_connection() as conn, conn.pipeline(), conn.transaction():
            conn.execute("SET LOCAL synchronous_commit = off")
            _load(conn, [fold.asked(fold.view.wants, placed) for fold in folds])
            _load(conn, [fold.asked(_next(fold), placed) for fold in folds])
            for fold in folds:
                fold.view.fold(fold.rows, placed)
                for table, changes in fold.rows.changes():
                    _write(conn, fold.schema, table, changes)
            with conn.cursor() as cursor:
                self._insert_tracking(cursor, tracking)
        self.ended = time.perf_counter()


class Rebuilding(Projection[Stores]):
    """Gives each record to the view."""

    name = "rebuilding"

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """No other events."""

    @process_event.register
    def _(self, domain_event: Told, tracking: Tracking) -> None:
        self.view.take(domain_event.placed, tracking)


Link = psycopg.Connection[Any]


class _Fold:
    """One view's part in one record."""

    def __init__(self, build: Build) -> None:
        assert isinstance(build.view, FoldingView)
        self.view, self.schema, self.rows = build.view, build.schema, Rows(build.view.tables)

    def asked(self, wants: Callable[[Wanted, Placed], None], placed: Placed) -> tuple[_Fold, Wanted]:
        wanted = Wanted()
        wants(wanted, placed)
        return self, wanted


def _next(fold: _Fold) -> Callable[[Wanted, Placed], None]:
    return lambda wanted, placed: fold.view.wants_next(wanted, fold.rows, placed)


def _is_for(view: View, placed: Placed) -> bool:
    return any(source.topic == placed.topic and not isinstance(placed.record, source.passes) for source in view.sources)


def _load(conn: Link, asked: Sequence[tuple[_Fold, Wanted]]) -> None:
    """Read what is wanted: all statements are on their way before the first answer is waited for."""
    sent: list[tuple[Rows, Table, psycopg.Cursor[Any]]] = []
    for fold, wanted in asked:
        for (table, columns), values in wanted.values.items():
            shown = ", ".join(f'"{c.name}"{"::real[]" if c.type in _VECTORS else ""}' for c in table.columns)
            query = f"SELECT {shown} FROM {fold.schema}.{table.name} WHERE {_same(columns)}"
            cursors = [conn.cursor(row_factory=tuple_row).execute(query.encode(), value) for value in values]
            sent += [(fold.rows, table, cursor) for cursor in cursors]
            fold.rows.know(table, columns, values)
    for rows, table, cursor in sent:
        rows.load(table, [_row(table, values) for values in cursor.fetchall()])


def _row(table: Table, values: Sequence[Any]) -> Any:
    assert table.row is not None
    found = [Vector.of(v) if c.type in _VECTORS else v for c, v in zip(table.columns, values, strict=True)]
    return table.row(*found)


def _write(conn: Link, schema: str, table: Table, changes: Changes) -> None:
    gone = f"DELETE FROM {schema}.{table.name} WHERE "
    for column, value in changes.wiped:
        conn.execute((gone + _same((column,))).encode(), (value,))
    # two rows that swap what is unique must not meet
    replaced = [tuple(getattr(row, name) for name in table.key) for row in changes.changed] if table.unique else []
    for key in (*changes.deleted, *replaced):
        conn.execute((gone + _same(table.key)).encode(), key)
    for values in folding.as_sent(table, [*changes.changed, *changes.added]):
        conn.execute(table.upsert(schema).encode(), [_sent(value) for value in values])


def _sent(value: Any) -> Any:
    """A vector in pgvector's text form."""
    if not isinstance(value, Vector):
        return value
    return f"[{','.join(map(str, np.frombuffer(value.data, dtype='<f4').tolist()))}]"


def _same(columns: Iterable[str]) -> str:
    return " AND ".join(f'"{column}" = %s' for column in columns)


# -- the measurement


async def projected(dsn: str, builds: Sequence[Build], part: Part) -> float:
    """Seconds from the first event of ``part`` to the last, written to ``builds``. Raises Failed."""
    return await asyncio.to_thread(_projected, dsn, builds, part)


def _projected(dsn: str, builds: Sequence[Build], part: Part) -> float:
    class Ours(Stores):
        pass

    Ours.builds = tuple(builds)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(f"CREATE SCHEMA {SCHEMA}".encode())
    env = _environment(dsn)
    with Remembered(env) as app:
        events, last = list(told(part.opened)), 0
        for at in range(0, len(events), SAVED_AT_ONCE):
            last = app.save(*events[at : at + SAVED_AT_ONCE])[-1].notification.id
    with ProjectionRunner(application_class=Remembered, projection_class=Rebuilding, view_class=Ours, env=env) as runner:
        try:
            runner.wait(last, timeout=PATIENCE_S)
        except TimeoutError:
            raise Failed(f"the library's projection was not through after {PATIENCE_S:.0f} s") from None
        finally:
            runner.view.datastore.close()
        return runner.view.ended - runner.view.began


def _environment(dsn: str) -> Mapping[str, str]:
    """The library's settings. Those that are not here have its defaults."""
    parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": parts.get("dbname", ""),
        "POSTGRES_HOST": parts.get("host", ""),
        "POSTGRES_PORT": parts.get("port", "5432"),
        "POSTGRES_USER": parts.get("user", ""),
        "POSTGRES_PASSWORD": parts.get("password", ""),
        "POSTGRES_SCHEMA": SCHEMA,
    }
