"""What a view is: tables, the topics it reads, and a fold from records to rows.

A view's fold sees each accepted record once and in the order of its partition, in batches of any size. Its rows follow from the
records alone: no clock, no random, nothing read from elsewhere. So any split of the log into batches, and any rebuild, ends in
the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from psycopg import AsyncConnection

from projections.guard import Guard
from projections.records import Placed, Source
from schemas.topics import Topics
from schemas.vectors import Precision

Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, its SQL type (which is also its type in binary COPY) and whether it may be null."""

    name: str
    type: str
    null: bool = False


@dataclass(frozen=True, slots=True)
class HotIndex:
    """An HNSW index over the column ``vec`` of what is not older than ``days`` by ``created_at``, and as ``where`` says besides.

    Only vectors of ``dimensions`` numbers are in it. ``projections.hot_tier`` makes it, and makes it anew as time goes by, with
    ``memory_mb`` (MiB) of the database's memory at most.
    """

    dimensions: int
    days: int
    where: str
    memory_mb: int


@dataclass(frozen=True, eq=False)
class Table:
    """A table of a view. ``generated`` are columns that follow from others and stay out of digests."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    generated: tuple[tuple[str, str], ...] = ()
    indexes: tuple[str, ...] = ()
    """What follows ``ON schema.table`` in CREATE INDEX; created after the load of a rebuild."""
    clustered: bool = False
    """True where a rebuild puts the rows into the order of the first index."""
    tuning: tuple[str, ...] = ()
    """Further statements with ``{table}``, run when the table is new."""
    unique: tuple[tuple[str, ...], ...] = ()
    """Further sets of columns of which no two rows have the same values."""
    row: type[Any] | None = None
    """The struct of a row, where the table was made from one (``projections.rows``)."""
    lookups: tuple[str, ...] = ()
    """Columns by which a fold finds rows, beside the key."""
    digested: bool = True
    """False where others than the fold write, too, such as an outbox that is emptied: digests leave it out."""
    guard: Guard | None = None
    """Who reads which of its rows, where they are not all for everybody whom the public name is open to."""
    hot: HotIndex | None = None
    """An index that moves with the time, beside ``indexes``."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)

    @cached_property
    def types(self) -> tuple[str, ...]:
        return tuple(c.type for c in self.columns)

    @cached_property
    def quoted(self) -> str:
        return quoted(self.names)

    @cached_property
    def constraints(self) -> tuple[tuple[str, str], ...]:
        """Names and definitions of the primary key and of what else is unique."""
        key = (f"{self.name}_pkey", f"PRIMARY KEY ({quoted(self.key)})")
        return (key, *((f"{self.name}_unique_{n}", f"UNIQUE ({quoted(columns)})") for n, columns in enumerate(self.unique)))

    def create(self, schema: str) -> str:
        """CREATE TABLE with its primary key."""
        lines = [f'"{c.name}" {c.type}{"" if c.null else " NOT NULL"}' for c in self.columns]
        lines += [f'"{name}" {definition}' for name, definition in self.generated]
        lines += [f"CONSTRAINT {name} {what}" for name, what in self.constraints]
        return f"CREATE TABLE {schema}.{self.name} ({', '.join(lines)})"

    def upsert(self, schema: str) -> str:
        """INSERT of one row that replaces the row of the same key."""
        keys = quoted(self.key)
        rest = [n for n in self.names if n not in self.key]
        change = ", ".join(f'"{n}" = EXCLUDED."{n}"' for n in rest)
        marks = ", ".join(["%s"] * len(self.names))
        do = f"DO UPDATE SET {change}" if rest else "DO NOTHING"
        return f"INSERT INTO {schema}.{self.name} AS t ({self.quoted}) VALUES ({marks}) ON CONFLICT ({keys}) {do}"


def quoted(columns: Iterable[str]) -> str:
    """Names of columns in a statement."""
    return ", ".join(f'"{column}"' for column in columns)


@dataclass(slots=True)
class Target:
    """Where a fold writes: one generation's schema, inside the transaction that moves the checkpoint."""

    conn: AsyncConnection[Any]
    schema: str

    def name(self, table: Table) -> str:
        return f"{self.schema}.{table.name}"

    async def upsert(self, table: Table, rows: Sequence[Row]) -> None:
        """Write whole rows (values in the order of the table's columns); at most one row per key."""
        await self.run(table.upsert(self.schema), rows)

    async def run(self, statement: str, rows: Iterable[Row]) -> None:
        """Run one statement for each row of parameters, in one round trip."""
        todo = list(rows)
        if not todo:
            return
        async with self.conn.cursor() as cursor:
            await cursor.executemany(statement, todo)


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """What views need to know. ``audit_key`` makes the owner hashes of the audit log; it is none of the owners' keys.

    ``embedding_precision`` is that of stored vectors; those of ``embedding_dim`` numbers get an index in the hot tier, while they
    are not older than ``hot_days``; the database may take ``index_memory_mb`` MiB to make it. A message of at least
    ``salience_threshold`` (0 to 1) is a trace.
    """

    topics: Topics = field(default_factory=Topics)
    audit_key: bytes = field(default=b"", repr=False)
    embedding_precision: Precision = "fp16"
    embedding_dim: int = 768
    salience_threshold: float = 0.35
    hot_days: int = 30
    index_memory_mb: int = 1_024


class View(Protocol):
    """A projection. One file in ``views/`` and one line in its registry.

    Values of its records come opened, as far as their keys are there; an attribute ``opens`` that is False says that it wants
    them as they came.
    """

    @property
    def name(self) -> str:
        """Lower-case word: schemas are called ``<name>_g<N>``."""

    @property
    def version(self) -> int:
        """Version of the fold: raise it whenever the same log would give other rows, then rebuild."""

    @property
    def sources(self) -> tuple[Source, ...]:
        """Topics it reads. Where there are several, the fold must not care in which order their records meet."""

    @property
    def tables(self) -> tuple[Table, ...]:
        """Its tables; each is published in the public schema under its own name."""

    def check(self, placed: Placed) -> None:
        """Raise ContractError for a record that the tables cannot take; it is skipped and recorded."""

    async def apply(self, target: Target, batch: Sequence[Placed]) -> None:
        """Fold a batch. Idempotence is not needed: rows and checkpoint commit together."""
