"""The acceptance rule in a view: duplicates and zombies change nothing, gaps park their owner, rubbish is noted."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from projections.view import View
from schemas.codec import decode_as
from schemas.types import MemoryReheated
from tests.projections.harness import Fold, owner
from tests.projections.logs import T0, LogMaker, foreign_forget, slice_rows

ARCHIVE = "original_content, temperature_score, access_count FROM {s}.thermal_memory_archive ORDER BY added_offset"


@pytest.fixture
def thermal(views: dict[str, View]) -> View:
    return views["thermal"]


async def test_the_same_fact_twice_is_one_memory_at_80_with_two_accesses(database: str, thermal: View, log: LogMaker) -> None:
    ana = owner()
    [memory] = log.add(ana, "Ana lives in Valparaíso", at=T0)
    log.reheat(ana, memory, at=T0)
    async with Fold.of(database, thermal) as fold:
        await fold.take(log.records)
        assert await fold.rows(ARCHIVE) == [("Ana lives in Valparaíso", 80.0, 2)]
        assert await fold.rows("metadata ->> 'mem0_event', tags FROM {s}.thermal_memory_archive") == [
            ("UPDATE", ["mem0", "auto_extracted", "u-1"])
        ]
        mentions = await fold.rows("sequence, session_id FROM {s}.memory_mention ORDER BY sequence")
        assert mentions == [(1, "s-1"), (2, "s-2")]


async def test_another_owners_identical_fact_is_a_memory_of_its_own(database: str, thermal: View, log: LogMaker) -> None:
    log.add(owner(), "The dog is called Luna")
    log.add(owner(), "The dog is called Luna")
    async with Fold.of(database, thermal) as fold:
        await fold.take(log.records)
        assert await fold.rows("count(*), count(DISTINCT owner) FROM {s}.thermal_memory_archive") == [(2, 2)]


async def test_a_row_holds_what_the_archives_users_know(database: str, thermal: View, log: LogMaker) -> None:
    ana = owner()
    [memory] = log.add(ana, "abc", at=T0)
    async with Fold.of(database, thermal) as fold:
        await fold.take(log.records)
        [row] = await fold.rows(
            "id::text, memory_hash, memory_type, metadata, created_at, last_access, access_count, owner::text, sequence, sacred "
            "FROM {s}.thermal_memory_archive"
        )
    sha256_of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    metadata = {"source": "mem0_extraction", "user_id": "u-1", "agent_id": "agent-1", "mem0_event": "ADD"}
    assert row == (memory, sha256_of_abc, "episodic", metadata, T0, T0, 1, ana, 1, False)


async def test_a_zombies_slices_are_dropped_whole(database: str, thermal: View, log: LogMaker) -> None:
    ana = owner()
    [memory] = log.add(ana, "Ana lives in Quito")
    log.reheat(ana, memory)
    first, second = log.records[:1], log.records[1:]
    log.again(second)
    log.again(first)
    log.add(ana, "Ana has a cat")
    log.again(second)
    async with Fold.of(database, thermal) as fold:
        await fold.take(log.records)
        assert [r[2] for r in await fold.rows(ARCHIVE)] == [2, 1]
        assert await fold.rows("last_sequence, last_cause FROM {s}.owner_position") == [(3, 3)]
        assert await fold.rows("count(*) FROM {s}.owner_alarm") == [(0,)]


async def test_duplicates_are_dropped_after_a_restart_with_an_empty_cache(database: str, thermal: View, log: LogMaker) -> None:
    ana = owner()
    log.add(ana, "Ana lives in Quito")
    async with Fold.of(database, thermal) as fold:
        await fold.take(log.records)
        seen = len(log.records)
        log.again(log.records[:seen])
        await fold.restart()
        await fold.take(log.records[seen:])
        assert await fold.rows("count(*) FROM {s}.memory_mention") == [(1,)]


async def test_a_slice_that_overlaps_an_accepted_one_is_dropped_whole(database: str, thermal: View, log: LogMaker) -> None:
    """An older decider's slice may begin at or below the last sequence and end above it: none of it counts."""
    ana = owner()
    [memory] = log.add(ana, "Ana lives in Quito")
    late = [foreign_forget(ana, sequence, 9, memory) for sequence in (1, 2)]
    log.append(ana, late)
    async with Fold.of(database, thermal) as fold:
        await fold.take(log.records)
        assert len(await fold.rows(ARCHIVE)) == 1
        assert await fold.rows("last_sequence FROM {s}.owner_position") == [(1,)]


async def test_a_gap_parks_its_owner_for_good_and_nobody_else(database: str, thermal: View, log: LogMaker) -> None:
    ana, ben = owner(), owner()
    log.add(ana, "one")
    lost = log.add(ana, "two")
    del log.records[-1]  # the second event never reached the log
    log.add(ana, "three")
    log.add(ben, "ben's")
    log.append(ana, [foreign_forget(ana, 2, 2, lost[0])])  # would fit, but the owner is parked
    async with Fold.of(database, thermal) as fold:
        cut = len(log.records) - 1
        await fold.take(log.records, [cut])
        await fold.restart()
        log.add(ana, "four")
        await fold.take(log.records[-1:])
        assert sorted(r[0] for r in await fold.rows(ARCHIVE)) == ["ben's", "one"]
        [alarm] = await fold.rows("owner::text, expected_sequence, found_sequence FROM {s}.owner_alarm")
        assert alarm == (ana, 2, 3)


async def test_forgetting_leaves_nothing_behind(database: str, views: dict[str, View], log: LogMaker) -> None:
    ana = owner()
    kept, gone = log.add(ana, "Ana keeps this", "Ana's secret")
    log.reheat(ana, gone)
    for memory in (kept, gone):
        log.embed(ana, memory, [0.6, 0.8])
    log.forget(ana, gone)
    log.unembed(ana, gone)
    for cuts in (range(0), range(len(log.records))):
        for name, tables in (
            ("thermal", ("thermal_memory_archive", "memory_mention")),
            ("graph", ("memory_trace", "memory_embedding")),
        ):
            view = views[name]
            records = [r for r in log.records if r.topic in {s.topic for s in view.sources}]
            async with Fold.of(database, view) as fold:
                await fold.take(records, [c for c in cuts if c < len(records)])
                for table in tables:
                    texts = [r[0] for r in await fold.rows(f"t::text FROM {{s}}.{table} t")]
                    assert len(texts) == 1
                    assert kept in texts[0]
                    assert not any(gone in t or "secret" in t for t in texts)


async def test_a_slice_cut_by_a_batch_waits_for_its_rest(database: str, thermal: View, log: LogMaker) -> None:
    ana = owner()
    log.add(ana, "one", "two", "three")
    async with Fold.of(database, thermal) as fold:
        await fold.take(log.records[:2])
        assert await fold.rows(ARCHIVE) == []
        assert await fold.rows("sum(next_offset) FROM {s}.checkpoint") == [(0,)]
        await fold.take(log.records[2:])
        assert len(await fold.rows(ARCHIVE)) == 3
        assert await fold.rows("sum(next_offset) FROM {s}.checkpoint") == [(3,)]


async def test_rubbish_on_the_topic_is_noted_without_its_content_and_the_rest_goes_on(
    database: str, thermal: View, log: LogMaker
) -> None:
    ana, events = owner(), log.topics.events
    log.add(ana, "one")
    for value in (b"secret rubbish", b"", None, b"\xc3\x01" + b"secret!!" + b"rubbish"):
        log.put(events, 0, b"k", value)
        log.put(events, 1, b"k", value, [("sliceid", b"\xff"), ("slicefirst", b"x"), ("slicesize", None)])
    log.embed(ana, log.live(ana)[0], [1.0])
    wrong_type = log.records.pop()
    log.put(events, 0, b"k", wrong_type.value, [("sliceid", b"a"), ("slicefirst", b"1"), ("slicesize", b"1")])
    log.add(ana, "two")
    async with Fold.of(database, thermal) as fold:
        await fold.take(log.records, range(len(log.records)))
        assert [r[0] for r in await fold.rows(ARCHIVE)] == ["one", "two"]
        problems = await fold.rows("reason FROM {s}.view_problem")
        assert len(problems) == 9
        assert not any("secret" in reason or "rubbish" in reason for (reason,) in problems)
        assert await fold.rows("sum(next_offset) FROM {s}.checkpoint") == [(11,)]


async def test_values_that_the_database_refuses_are_noted_and_the_rest_goes_on(
    database: str, thermal: View, log: LogMaker
) -> None:
    ana = owner()
    log.add(ana, "before")
    log.add(ana, "with a \0 byte")
    log.add(ana, "in the session", session="s\0")
    log.add(ana, "in the user", user_id="\0")
    log.add(ana, "after")
    log.append("not-an-owner", [foreign_forget("not-an-owner", 1, 1, "no-memory")])
    log.append(ana, [foreign_forget(ana, 6, 1, "no-memory")])
    async with Fold.of(database, thermal) as fold:
        await fold.take(log.records)
        assert [r[0] for r in await fold.rows(ARCHIVE)] == ["before", "after"]
        assert await fold.rows("count(*) FROM {s}.view_problem") == [(5,)]
        assert await fold.rows("last_sequence FROM {s}.owner_position") == [(6,)]


async def test_a_record_that_only_the_database_refuses_is_found_and_skipped(database: str, thermal: View, log: LogMaker) -> None:
    ana = owner()
    log.add(ana, "before", "too hot", "after")
    async with Fold.of(database, thermal) as fold:
        await fold.conn.execute(f"ALTER TABLE {fold.schema}.thermal_memory_archive ADD CHECK (original_content <> 'too hot')")
        await fold.take(log.records)
        assert [r[0] for r in await fold.rows(ARCHIVE)] == ["before", "after"]
        [(reason,)] = await fold.rows("reason FROM {s}.view_problem")
        assert "SQLSTATE 23514" in reason


async def test_a_slice_without_its_end_raises_an_alarm_for_what_follows(database: str, thermal: View, log: LogMaker) -> None:
    ana = owner()
    log.add(ana, "one", "two", at=T0)
    del log.records[1]  # the slice's second record is missing
    log.add(ana, "three", at=T0 + timedelta(days=1))
    async with Fold.of(database, thermal) as fold:
        await fold.take(log.records)
        assert await fold.rows(ARCHIVE) == []
        assert len(await fold.rows("reason FROM {s}.view_problem")) == 1
        assert await fold.rows("expected_sequence, found_sequence FROM {s}.owner_alarm") == [(1, 3)]


async def test_a_mention_of_a_forgotten_memory_leaves_nothing(database: str, thermal: View, log: LogMaker) -> None:
    """No decider writes such an event; were one to, it must not bring a trace of the memory back."""
    ana = owner()
    [memory] = log.add(ana, "Ana's secret")
    log.reheat(ana, memory)
    mention = log.records[-1]
    log.forget(ana, memory)
    assert mention.value is not None
    event = decode_as(MemoryReheated, mention.value)
    log.append(ana, [replace(event, meta=replace(event.meta, sequence=4))])
    for cuts in ([], [3], [2, 3]):
        async with Fold.of(database, thermal) as fold:
            await fold.take(log.records, cuts)
            assert await fold.rows("last_sequence FROM {s}.owner_position") == [(4,)]
            assert await fold.rows("count(*) FROM {s}.thermal_memory_archive") == [(0,)]
            assert await fold.rows("count(*) FROM {s}.memory_mention") == [(0,)]


async def test_each_row_names_the_very_record_it_comes_from(database: str, thermal: View, log: LogMaker) -> None:
    ana = owner()
    log.add(ana, "zero")
    _, one, two = log.add(ana, "one", "two", "three")
    log.reheat(ana, two, one)
    async with Fold.of(database, thermal) as fold:
        await fold.take(log.records)
        rows = await fold.rows(
            "original_content, added_offset, added_sequence, event_offset, sequence FROM {s}.thermal_memory_archive "
            "ORDER BY added_offset"
        )
        assert rows == [("zero", 0, 1, 0, 1), ("one", 1, 2, 1, 2), ("two", 2, 3, 5, 6), ("three", 3, 4, 4, 5)]
        mentions = await fold.rows("event_offset, sequence FROM {s}.memory_mention ORDER BY 1")
        assert mentions == [(i, i + 1) for i in range(6)]


async def test_slices_of_two_owners_meet_in_one_partition(database: str, thermal: View, log: LogMaker) -> None:
    owners = [owner() for _ in range(12)]
    for round_ in range(3):
        for one in owners:
            log.add(one, f"fact {round_} a", f"fact {round_} b")
    async with Fold.of(database, thermal, owner_cache=3) as fold:
        await fold.take(log.records, range(5, 70, 7))
        assert await fold.rows("count(*), count(DISTINCT owner) FROM {s}.thermal_memory_archive") == [(72, 12)]
        assert await fold.rows("min(last_sequence), max(last_sequence) FROM {s}.owner_position") == [(6, 6)]


def test_slice_rows_name_their_slice() -> None:
    """The tests' own writer says what the protocol demands."""
    ana = owner()
    events = [foreign_forget(ana, s, 1, owner()) for s in (4, 5)]
    headers = [dict(h) for _, h in slice_rows(events, "append-1")]
    assert [(h["sliceid"], h["slicefirst"], h["slicesize"], h["sequence"]) for h in headers] == [
        (b"append-1", b"4", b"2", b"4"),
        (b"append-1", b"4", b"2", b"5"),
    ]
