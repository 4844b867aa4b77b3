"""Views whose fold works on rows in memory, and how these rows come from the database and go back.

A batch first says which rows its records touch; they are read at once, folded record by record, and what differs is written at
once: new rows by COPY, as nobody else writes there. The same fold, over rows that begin empty, makes a view anew.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, ClassVar, Self

from msgspec.structs import astuple
from psycopg.types.json import Jsonb

from projections.records import Placed, Source
from projections.rows import Changes, Key, Row, Rows, Wanted
from projections.vectors import wire_types
from projections.view import Table, Target, quoted

AT_ONCE = 64
"""From so many rows on COPY costs less than a statement for each."""
BATCH = 10_000
"""Keys in one query."""


class FoldingView(ABC):
    """Base of such views; a subclass has a name, a version, tables and sources, as ``projections.view.View`` asks for."""

    name: ClassVar[str]
    forgets: ClassVar[bool] = True
    """Whether its rows hold anything that a forgetting takes away."""
    version: ClassVar[int]
    tables: tuple[Table, ...]
    sources: tuple[Source, ...]
    opens: ClassVar[bool] = True
    """False for a view that keeps sealed values as they came: no key is fetched for it."""
    bulk: ClassVar[bool] = True
    """Whether ``projections.bulk`` may fill it: what a record touches belongs to its owner (of parked work: to its entry), or is
    ``mended``."""
    mended: ClassVar[tuple[str, ...]] = ()
    """Statements for a ``{schema}`` that was filled in bulk: what the records of one owner do to another's rows."""
    chained: ClassVar[tuple[Table, ...]] = ()
    """Tables whose rows hang together by partition and not by owner: ``chain`` adds them, and no fold looks at one again."""
    _given: tuple[Any, ...]

    def __new__(cls, *given: Any) -> Self:
        made = super().__new__(cls)
        made._given = given
        return made

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        # a view in another process must have the tables that its module has there: they are told apart by identity
        return type(self), self._given

    def check(self, placed: Placed) -> None:  # noqa: B027 - most tables take whatever the contract allows
        """Raise ContractError for a record that the tables cannot take; it is skipped and recorded."""

    def wants(self, wanted: Wanted, placed: Placed) -> None:  # noqa: B027 - some only add and remove
        """Say which rows ``fold`` will look at or replace for this record, other than those it adds or removes unseen."""

    def wants_next(self, wanted: Wanted, rows: Rows, placed: Placed) -> None:  # noqa: B027 - most records say all by themselves
        """Say which further rows those that were found lead to. ``rows`` are as the database has them."""

    @abstractmethod
    def fold(self, rows: Rows, placed: Placed) -> None:
        """What the record makes of the rows. It follows from the record, its place and the rows alone."""

    def chain(self, rows: Rows, placed: Placed) -> None:  # noqa: B027 - most views have no such tables
        """The part of ``fold`` that needs the records of a partition in their order; it opens no sealed value."""

    def fold_apart(self, rows: Rows, placed: Placed) -> None:
        """The other part of ``fold``: the order of an owner's records is enough."""
        self.fold(rows, placed)

    async def apply(self, target: Target, batch: Sequence[Placed]) -> None:
        """Fold a batch."""
        wanted = Wanted()
        for placed in batch:
            self.wants(wanted, placed)
        rows = Rows(self.tables)
        await load(target, wanted, rows)
        further = Wanted()
        for placed in batch:
            self.wants_next(further, rows, placed)
        await load(target, further, rows)
        for placed in batch:
            self.fold(rows, placed)
        for table, changes in rows.changes():
            await write(target, table, changes)


async def load(target: Target, wanted: Wanted, rows: Rows) -> None:
    """Read what is wanted into ``rows``."""
    for (table, columns), values in wanted.values.items():
        assert table.row is not None
        (given, same), shown = _by(table, columns), ", ".join(f't."{name}"' for name in table.names)
        query = f"SELECT {shown} FROM {given} JOIN {target.name(table)} AS t ON {same}".encode()
        for batch in _batches(sorted(values)):
            async with target.conn.cursor(binary=True) as cursor:
                await cursor.execute(query, _columns(batch))
                found = [table.row(*values) for values in await cursor.fetchall()]
            rows.load(table, found)
        rows.know(table, columns, values)


async def copy_in(target: Target, table: Table, rows: Iterable[Row]) -> None:
    """COPY rows that are new. Raises UniqueViolation."""
    types = await wire_types(target.conn, target.schema, table)
    async with target.conn.cursor() as cursor:
        statement = f"COPY {target.name(table)} ({table.quoted}) FROM STDIN (FORMAT BINARY)"
        async with cursor.copy(statement.encode()) as copy:
            copy.set_types(types)
            for values in as_sent(table, rows):
                await copy.write_row(values)


async def write(target: Target, table: Table, changes: Changes) -> None:
    for column in dict.fromkeys(column for column, _ in changes.wiped):
        values = [value for of, value in changes.wiped if of == column]
        await target.conn.execute(f'DELETE FROM {target.name(table)} WHERE "{column}" = ANY(%s)'.encode(), (values,))
    written = [*changes.changed, *changes.added]
    copied = len(written) >= AT_ONCE
    # rows that are written anew as a whole; and two that swap what is unique must not meet
    replaced = changes.changed if copied or table.unique else ()
    await _delete(target, table, [*changes.deleted, *(tuple(getattr(row, name) for name in table.key) for row in replaced)])
    if copied:
        await copy_in(target, table, written)
    else:
        await target.run(table.upsert(target.schema), list(as_sent(table, written)))


async def _delete(target: Target, table: Table, keys: Sequence[Key]) -> None:
    wanted, same = _by(table, table.key)
    statement = f"DELETE FROM {target.name(table)} AS t USING {wanted} WHERE {same}".encode()
    for batch in _batches(keys):
        await target.conn.execute(statement, _columns(batch))


@cache
def _by(table: Table, columns: tuple[str, ...]) -> tuple[str, str]:
    """SQL for values of ``columns``, a list for each as parameters, as rows ``w``; and for a row ``t`` being one of them."""
    types = {column.name: column.type for column in table.columns}
    lists = ", ".join(f"%b::{types[name]}[]" for name in columns)
    same = " AND ".join(f't."{name}" = w."{name}"' for name in columns)
    return f"unnest({lists}) AS w ({quoted(columns)})", same


def _columns(values: Sequence[Key]) -> list[list[Any]]:
    return [list(column) for column in zip(*values, strict=True)]


def as_sent(table: Table, rows: Iterable[Row]) -> Iterator[Sequence[Any]]:
    """Values in the order of the table's columns, as psycopg sends them."""
    places = [i for i, column in enumerate(table.columns) if column.type == "jsonb"]
    if not places:
        yield from map(astuple, rows)
        return
    for row in rows:
        values = list(astuple(row))
        for place in places:
            values[place] = Jsonb(values[place])
        yield values


def _batches(items: Sequence[Key]) -> Iterator[Sequence[Key]]:
    return (items[i : i + BATCH] for i in range(0, len(items), BATCH))
