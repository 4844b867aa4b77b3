"""Parked work is listed until it is resolved, with what a person needs to read it."""

from __future__ import annotations

import base64
import dataclasses
from datetime import timedelta

import pytest
from msgspec.structs import replace

from projections.view import View
from schemas import ids
from schemas.codec import encode
from schemas.sealed import DESTROYED, Sealed
from schemas.types import ParkedResolved, ParkedRetryRequested, Record, WorkParked
from tests.projections.harness import Fold, of_view, owner
from tests.projections.logs import T0, LogMaker

ANA = owner()
FIRST = ids.parked_id("extract", "conversation.events.v1", 1, 7)
WORK = WorkParked(
    parked_id=FIRST,
    owner=ANA,
    stage="extract",
    topic="conversation.events.v1",
    partition=1,
    offset=7,
    reason="malformed answer",
    behind=None,
    attempts=4,
    parked_at=T0,
    key=Sealed(b"\x00key"),
    value=Sealed(b"\x00\xffvalue"),
    headers={"ce_id": Sealed(b"\xff"), "n\0ul": Sealed(b"")},
)


@pytest.fixture
def parked(views: dict[str, View]) -> View:
    return views["parked"]


def write(log: LogMaker, *records: Record) -> None:
    for record in records:
        log.plain(log.topics.parked, ANA, ANA.encode(), record)


async def test_parked_work_is_kept_readable_until_it_is_resolved(database: str, parked: View, log: LogMaker) -> None:
    second = replace(WORK, parked_id=ids.parked_id("extract", "t", 1, 8), offset=8, behind=FIRST, attempts=0, value=None)
    write(log, WORK, second)
    async with Fold.of(database, parked) as fold:
        await fold.take(log.records)
        rows = await fold.rows(
            'parked_id::text, owner::text, "offset", reason, behind::text, attempts, parked_at, retry_requested_at, size, key, '
            'value, headers FROM {s}.parked_work ORDER BY "offset"'
        )
        headers = {"ce_id": base64.b64encode(b"\xff").decode(), "n\ufffdul": ""}
        assert rows[0] == (FIRST, ANA, 7, "malformed answer", None, 4, T0, None, 7, b"\x00key", b"\x00\xffvalue", headers)
        assert rows[1][4:6] == (FIRST, 0)
        assert rows[1][8] == 0
        write(log, ParkedRetryRequested(FIRST, ANA, T0 + timedelta(hours=1)))
        await fold.take(log.records[-1:])
        assert await fold.rows("retry_requested_at FROM {s}.parked_work WHERE parked_id = %s", FIRST) == [
            (T0 + timedelta(hours=1),)
        ]
        write(log, replace(WORK, attempts=8, parked_at=T0 + timedelta(hours=2)))
        await fold.take(log.records[-1:])
        assert await fold.rows("attempts, retry_requested_at FROM {s}.parked_work WHERE parked_id = %s", FIRST) == [(8, None)]
        write(log, ParkedResolved(FIRST, ANA, "done", T0), ParkedResolved(second.parked_id, ANA, "dropped", T0))
        await fold.take(log.records[-2:])
        assert await fold.rows("count(*) FROM {s}.parked_work") == [(0,)]


async def test_work_that_is_parked_again_waits_for_a_new_retry_however_its_records_are_batched(
    database: str, parked: View, log: LogMaker
) -> None:
    write(log, WORK, ParkedRetryRequested(FIRST, ANA, T0), replace(WORK, attempts=8))
    for cuts in ([], [1], [2], [1, 2]):
        async with Fold.of(database, parked) as fold:
            await fold.take(log.records, cuts)
            assert await fold.rows("attempts, retry_requested_at FROM {s}.parked_work") == [(8, None)]


async def test_work_without_an_owner_is_parked_too(database: str, parked: View, log: LogMaker) -> None:
    write(log, replace(WORK, owner=None, stage="admit", reason="not JSON\0"))
    async with Fold.of(database, parked) as fold:
        await fold.take(log.records)
        assert await fold.rows("owner, reason FROM {s}.parked_work") == [(None, "not JSON\ufffd")]


@pytest.mark.parametrize("cuts", [[], [1], [2], [1, 2]])
async def test_work_of_an_erased_owner_stays_listed_without_what_it_held_as_a_rebuild_that_finds_no_key_has_it(
    database: str, parked: View, log: LogMaker, cuts: list[int]
) -> None:
    log.add(ANA, "learnt")
    other = replace(WORK, parked_id=ids.parked_id("extract", "t", 1, 9), owner=owner(), offset=9)
    write(log, WORK, other)
    log.erase(ANA)
    write(log, replace(WORK, parked_id=ids.parked_id("extract", "t", 1, 8), offset=8))
    records = of_view(parked, log.records)
    shown = 'owner::text, "offset", reason, size, key, value, headers FROM {s}.parked_work ORDER BY "offset"'
    async with Fold.of(database, parked) as fold:
        await fold.take(records, cuts)
        rows = await fold.rows(shown)
        assert [row[:6] for row in rows] == [
            (ANA, 7, "malformed answer", 0, None, None),
            (ANA, 8, "malformed answer", 0, None, None),
            (other.owner, 9, "malformed answer", 7, b"\x00key", b"\x00\xffvalue"),
        ]
        assert rows[0][6] == rows[1][6] == {"ce_id": "", "n\ufffdul": ""}
        live = await fold.digest()
    gone = Sealed(b"", DESTROYED)
    destroyed = [
        dataclasses.replace(record, value=encode(replace(WORK, key=gone, value=gone, headers=dict.fromkeys(WORK.headers, gone))))
        if record.value == encode(WORK)
        else record
        for record in records
    ]
    assert destroyed != records
    async with Fold.of(database, parked) as fold:
        await fold.take(destroyed)
        assert await fold.digest() == live


async def test_work_whose_record_is_sealed_is_listed_without_it(database: str, parked: View, log: LogMaker) -> None:
    sealed = Sealed(b"\x01\x02", "a-cipher", "a-key")
    write(log, replace(WORK, key=sealed, value=sealed, headers={"ce_id": sealed}))
    async with Fold.of(database, parked) as fold:
        await fold.take(log.records)
        assert await fold.rows("reason, size, key, value, headers FROM {s}.parked_work") == [
            ("malformed answer", 0, None, None, {"ce_id": ""})
        ]


async def test_words_about_work_that_is_not_parked_change_nothing(database: str, parked: View, log: LogMaker) -> None:
    write(log, ParkedRetryRequested(FIRST, ANA, T0), ParkedResolved(FIRST, ANA, "done", T0))
    async with Fold.of(database, parked) as fold:
        await fold.take(log.records)
        assert await fold.rows("count(*) FROM {s}.parked_work") == [(0,)]


async def test_what_is_no_parked_record_is_noted(database: str, parked: View, log: LogMaker) -> None:
    write(log, replace(WORK, parked_id="7"), replace(WORK, behind="x"))
    log.put(log.topics.parked, 0, b"k", b"rubbish")
    log.put(log.topics.parked, 0, b"k", None)
    log.add(ANA, "an event on the wrong topic")
    log.put(log.topics.parked, 0, b"k", log.records.pop().value)
    write(log, WORK)
    async with Fold.of(database, parked) as fold:
        await fold.take(log.records)
        assert await fold.rows("count(*) FROM {s}.view_problem") == [(5,)]
        assert await fold.rows("count(*) FROM {s}.parked_work") == [(1,)]
