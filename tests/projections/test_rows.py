"""Rows in memory and in the database: any batches of any changes end in the rows that one pass over all changes has."""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from projections import generation
from projections.digest import view_digest
from projections.folding import AT_ONCE, FoldingView, copy_in, load
from projections.records import Placed
from projections.rows import Int4, Json, Row, Rows, Wanted, table_of
from projections.vectors import Vector, register_vector
from projections.view import Column, Table, Target


class Thing(Row, frozen=True):
    owner: int
    name: str
    slot: Int4
    about: Json
    notes: list[str]
    near: Vector
    seen: datetime | None


THING = table_of(Thing, "thing", key=("owner", "name"), lookups=("owner", "slot"), unique=(("slot",),))


class Things(FoldingView):
    """Folds (what, owner, name, slot): ``put``, ``remove``, ``clear`` an owner, ``leave`` a slot."""

    name: ClassVar[str] = "things"
    version: ClassVar[int] = 1
    tables: tuple[Table, ...] = (THING,)
    sources = ()

    def wants(self, wanted: Wanted, placed: Placed) -> None:
        what, owner, name, slot = placed.record
        if what in ("put", "remove"):
            wanted.key(THING, owner, name)
            wanted.where(THING, "slot", slot)

    def fold(self, rows: Rows, placed: Placed) -> None:
        what, owner, name, slot = placed.record
        match what:
            case "put":
                for other in rows.where(Thing, THING, "slot", slot):
                    rows.remove(THING, other.owner, other.name)
                before = rows.get(Thing, THING, owner, name)
                rows.put(THING, _thing(owner, name, slot) if before is None else replace(before, slot=slot))
            case "remove":
                rows.remove(THING, owner, name)
            case "clear":
                rows.remove_where(THING, "owner", owner)
            case _:
                rows.remove_where(THING, "slot", slot)


def _thing(owner: int, name: str, slot: int) -> Thing:
    about = {"slot": slot, "of": [None, 1.5, "é"]}
    seen = datetime(2026, 1, 1, tzinfo=UTC) if slot % 2 else None
    return Thing(owner, name, slot, about, [name, "x"], Vector.of([slot, 1.0]), seen)


VIEW = Things()
Step = tuple[str, int, str, int]
kinds = st.sampled_from(["put", "put", "put", "put", "remove", "clear", "leave"])
plans = st.lists(st.tuples(kinds, st.integers(0, 3), st.sampled_from("abcd"), st.integers(0, 9)), min_size=1, max_size=60)


def placed(steps: Sequence[Step]) -> list[Placed]:
    return [Placed("t", 0, i, None, step) for i, step in enumerate(steps)]


def complete(steps: Sequence[Step]) -> Rows:
    rows = Rows(VIEW.tables, complete=True)
    for each in placed(steps):
        VIEW.fold(rows, each)
    return rows


@contextlib.asynccontextmanager
async def scratch(dsn: str) -> AsyncIterator[Target]:
    schema = f"things_{secrets.token_hex(5)}"
    async with await generation.connect(dsn) as conn:
        await register_vector(conn)
        async with conn.transaction():
            await generation.create_schema(conn, VIEW, schema)
        yield Target(conn, schema)
        await conn.execute(f"DROP SCHEMA {schema} CASCADE")


async def digest(target: Target) -> str:
    return (await view_digest(target.conn, VIEW, target.schema)).digest


@given(plan=plans, cuts=st.lists(st.integers(1, 59), max_size=8))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_batches_end_in_the_rows_that_one_pass_in_memory_has(database: str, plan: list[Step], cuts: list[int]) -> None:
    records = placed(plan)
    async with scratch(database) as batched, scratch(database) as whole:
        borders = [0, *sorted({c for c in cuts if c < len(records)}), len(records)]
        for begin, end in itertools.pairwise(borders):
            async with batched.conn.transaction():
                await VIEW.apply(batched, records[begin:end])
        await copy_in(whole, THING, complete(plan).all(THING))
        assert await digest(batched) == await digest(whole)


async def test_many_rows_of_one_batch_are_copied_and_changed_ones_among_them_replaced(database: str) -> None:
    before: list[Step] = [("put", 1, f"n{i}", i) for i in range(AT_ONCE)]
    after: list[Step] = [("put", 1, f"n{i}", i + 1000) for i in range(0, AT_ONCE, 2)]
    after += [("put", 2, f"m{i}", i + 5000) for i in range(AT_ONCE)]
    async with scratch(database) as target, scratch(database) as whole:
        await VIEW.apply(target, placed(before))
        await VIEW.apply(target, placed(after))
        await copy_in(whole, THING, complete([*before, *after]).all(THING))
        assert await digest(target) == await digest(whole)


async def test_a_row_read_back_is_the_row_that_was_written(database: str) -> None:
    row = _thing(1, "a", 3)
    async with scratch(database) as target:
        await VIEW.apply(target, placed([("put", 1, "a", 3)]))
        wanted, rows = Wanted(), Rows(VIEW.tables)
        wanted.key(THING, 1, "a")
        await load(target, wanted, rows)
        assert rows.get(Thing, THING, 1, "a") == row


def test_a_fold_that_looks_at_what_nobody_wanted_is_told_so() -> None:
    rows = Rows(VIEW.tables)
    with pytest.raises(LookupError, match="thing by owner, name"):
        rows.get(Thing, THING, 1, "a")
    with pytest.raises(LookupError, match="thing by slot"):
        rows.where(Thing, THING, "slot", 1)
    with pytest.raises(LookupError):
        rows.put(THING, _thing(1, "a", 1))
    rows.know(THING, ("owner",), [(1,)])
    assert rows.get(Thing, THING, 1, "a") is None, "all rows of this owner are known"


def test_a_key_that_is_there_already_cannot_be_added() -> None:
    rows = Rows(VIEW.tables)
    rows.add(THING, _thing(1, "a", 1))
    with pytest.raises(AssertionError, match="there already"):
        rows.add(THING, _thing(1, "a", 2))


def test_a_table_has_the_columns_that_its_rows_fields_say() -> None:
    assert THING.columns == (
        Column("owner", "int8"),
        Column("name", "text"),
        Column("slot", "int4"),
        Column("about", "jsonb"),
        Column("notes", "text[]"),
        Column("near", "vector"),
        Column("seen", "timestamptz", null=True),
    )


def test_a_field_without_a_sql_type_is_refused() -> None:
    class Odd(Row, frozen=True):
        at: complex

    with pytest.raises(KeyError):
        table_of(Odd, "odd", key=("at",))
