"""The decider's state in Postgres, entry by entry."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.types import Sealed, ThermalPolicy
from streams.decider import MemoryState, OwnerState
from streams.decider.state import AccessState, ApprovalState, Entry, Gone, Statement, SummaryState, Versioned
from streams.protocol.entries import MAX_KEY_BYTES, dump_entry, dump_key, load_entry
from streams.protocol.store import Change, DeciderStore, PositionLost
from streams.setup import create_state_tables

texts = st.text(st.characters(codec="utf-8"), max_size=20)
ids = st.lists(texts, max_size=4).map(tuple)
numbers = st.floats(allow_nan=False) | st.integers(-5, 100).map(float)
longs = st.integers(-(2**63), 2**63 - 1)
maybe = st.none() | texts
times = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda t: t.replace(tzinfo=UTC))
policies = st.just(ThermalPolicy()) | st.builds(ThermalPolicy, numbers, numbers, numbers, numbers, numbers)
sealed = st.builds(Sealed, st.binary(max_size=20), texts, maybe)
ENTRIES: dict[str, st.SearchStrategy[Entry]] = {
    "m:": st.builds(MemoryState, texts, numbers, times, longs, policies, longs, st.booleans(), texts, maybe, maybe, ids)
    | st.builds(Gone, longs),
    "f:": st.builds(Statement, ids, longs),
    "e:": ids,
    "s:": texts,
    "l:": numbers,
    "y:": st.builds(SummaryState, longs, st.booleans()),
    "d:": longs,
    "a:": st.builds(AccessState, texts, st.sampled_from(("session", "member")), st.booleans(), st.none() | sealed),
    "n:": st.just(1),
    "p:": st.builds(Versioned, texts, longs),
    "t:": st.builds(Versioned, texts, longs),
    "q:": st.builds(ApprovalState, texts, texts, texts, st.booleans(), times, texts),
}
NOISE = "".join(chr(33 + b % 90) for b in random.Random(1).randbytes(9_000))
HUGE = ("\0", "x" * 5_000, "x" * 5_001, "é" * 99, "é" * 100, NOISE, NOISE + "x")
names = texts | st.text("é\0x", min_size=90, max_size=110) | st.sampled_from(HUGE)
rows = st.sampled_from(sorted(ENTRIES)).flatmap(lambda prefix: st.tuples(names.map(prefix.__add__), ENTRIES[prefix]))
states = st.lists(rows, max_size=12).map(dict)


def owner() -> str:
    return str(uuid.uuid4())


def change(entries: dict[str, Entry | None], last_cause: int = 0) -> Change:
    return Change(OwnerState(1, last_cause), None, entries)


@asynccontextmanager
async def opened(dsn: str, topic: str = "memory.events.v1") -> AsyncIterator[DeciderStore]:
    store = DeciderStore(dsn, topic, 0)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(fresh_database: str) -> AsyncIterator[DeciderStore]:
    await create_state_tables(fresh_database)
    async with opened(fresh_database) as store:
        yield store


# -- entries as rows


@given(rows)
def test_an_entry_comes_back_from_its_row_as_it_was(row: tuple[str, Entry]) -> None:
    key, entry = row
    name, found = load_entry(dump_key(key), dump_entry(key, entry))
    assert (name, found) == (key, entry)
    assert type(found) is type(entry)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 1e300, 0.1 + 0.2, 75.0])
def test_every_number_comes_back_to_the_bit(number: float) -> None:
    memory = MemoryState("f", number, datetime(2026, 3, 1, tzinfo=UTC), 1, ThermalPolicy(number, number, number, number, number))
    entries: tuple[Entry, ...] = (number, memory)
    for entry in entries:
        assert repr(load_entry(b"m:1", dump_entry("m:1", entry))[1]) == repr(entry)


def test_keys_of_rows_are_short_keep_their_kind_and_never_collide() -> None:
    keys = ["n:" + "x" * n for n in (0, MAX_KEY_BYTES - 2, MAX_KEY_BYTES - 1, 5_000, 5_001)] + ["p:" + "x" * 5_000]
    dumped = [dump_key(key) for key in keys]
    assert len(set(dumped)) == len(keys)
    assert all(len(raw) <= MAX_KEY_BYTES and raw[:2] == key[:2].encode() for raw, key in zip(dumped, keys, strict=True))
    assert all(0xFF in raw for raw, key in zip(dumped, keys, strict=True) if len(key) > MAX_KEY_BYTES), "no text is like a hash"


# -- the store


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(states, min_size=1, max_size=3))
async def test_entries_of_every_kind_are_found_by_key_and_as_a_whole(store: DeciderStore, found: list[dict[str, Entry]]) -> None:
    saved = {owner(): entries for entries in found}
    position = (await store.position()) + 1
    await store.save(position - 1, position, {o: change(dict(entries), last_cause=7) for o, entries in saved.items()})
    by_key = await store.entries({o: [*entries, "m:another"] for o, entries in saved.items()})
    whole = await store.all_entries(saved)
    for each in (by_key, whole):
        assert {o: {key: row.entry for key, row in entries.items()} for o, entries in each.items()} == saved
        assert all(row.cause == 7 for entries in each.values() for row in entries.values())


async def test_a_header_holds_all_but_the_entries(store: DeciderStore) -> None:
    mine, others = owner(), owner()
    state = OwnerState(5, 2**40, 3, 17, 2**39)
    await store.save(0, 1, {mine: Change(state, 2, {}), others: Change(OwnerState(1, 1), None, {})})
    headers = await store.headers([mine, others, owner()])
    assert headers == {mine: (state, 2), others: (OwnerState(1, 1), None)}


async def test_changed_entries_are_replaced_and_those_that_are_gone_are_deleted(store: DeciderStore) -> None:
    mine, others = owner(), owner()
    await store.save(0, 1, {o: change({"s:a": "m-1", "s:b": "m-2", "s:" + "x" * 999: "m-3"}) for o in (mine, others)})
    await store.save(1, 2, {mine: change({"s:a": "m-9", "s:b": None, "s:" + "x" * 999: None, "s:c": None}, last_cause=4)})
    whole = await store.all_entries([mine, others])
    assert {key: tuple(row) for key, row in whole[mine].items()} == {"s:a": (4, "m-9")}
    assert len(whole[others]) == 3


async def test_one_topics_owners_are_not_anothers(fresh_database: str, store: DeciderStore) -> None:
    mine = owner()
    await store.save(0, 1, {mine: change({"s:x": "m-1"})})
    async with opened(fresh_database, "another") as other:
        assert await other.headers([mine]) == {}
        assert await other.entries({mine: ["s:x"]}) == await other.all_entries([mine]) == {mine: {}}


async def test_a_save_from_a_position_that_another_moved_saves_nothing(store: DeciderStore) -> None:
    mine = owner()
    await store.save(0, 5, {mine: change({"s:x": "m-1"})})
    with pytest.raises(PositionLost):
        await store.save(0, 6, {mine: change({"s:x": "m-2"}, last_cause=9)})
    assert await store.position() == 5
    assert (await store.all_entries([mine]))[mine]["s:x"] == (0, "m-1")


async def test_an_erasure_deletes_what_was_there_before_it_but_not_which_commands_were_decided(store: DeciderStore) -> None:
    mine, others = owner(), owner()
    before: dict[str, Entry | None] = {"s:x": "m-1", "d:c-1": 3, "m:1": Gone(1), "d" * 300: 1}
    await store.save(0, 1, {o: change(dict(before), last_cause=3) for o in (mine, others)})
    erased = OwnerState(9, 11, 1, 20, 10)
    await store.save(1, 2, {mine: Change(erased, None, {"d:c-2": 10, "s:y": "m-2"}, erased=True)})
    whole = await store.all_entries([mine, others])
    assert {key: row.entry for key, row in whole[mine].items()} == {"d:c-1": 3, "d:c-2": 10, "s:y": "m-2"}
    assert len(whole[others]) == 4
