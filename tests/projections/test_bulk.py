"""Filling in bulk: the rows are those of the live work, whatever stands on the log."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from projections import generation
from projections.bulk import Build, fill
from projections.bulk import spill as spilling
from projections.bulk.filling import unfit
from projections.records import Placed
from projections.runner import RunnerConfig
from projections.view import View
from schemas.codec import decode, encode
from schemas.errors import ContractError
from schemas.golden.sample import sample_bytes
from schemas.sealed import Sealed
from schemas.sealing import seal
from schemas.types import RECORDS
from schemas.versions import FILES
from tests.keys.memory import MemoryKeys
from tests.projections.bulk import VIEWS, empty, everybody, fill_from, must_equal_the_live_work
from tests.projections.harness import EVERYBODY, Broker, owner, user
from tests.projections.logs import LogMaker, Rec, foreign_forget
from tests.projections.test_spec import spec_log
from tests.projections.test_splits import TOPICS, steps, write

UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)
"""An example takes long, and the error says enough: shrinking one would take minutes."""
DAMAGES = ("cut", "cut", "rubbish", "no headers", "null")
damages = st.lists(st.tuples(st.sampled_from(DAMAGES), st.integers(0, 200)), max_size=6)


@pytest.fixture(autouse=True)
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the logs of the tests fall into several."""
    monkeypatch.setattr(spilling, "EVENTS_PER_BUCKET", 15)


def damaged(records: list[Rec], plan: list[tuple[str, int]]) -> list[Rec]:
    """What no writer would leave: it breaks slices, so that sequences have holes, and ends the log in the middle of one."""
    records = list(records)
    for damage, at in plan:
        place = at % len(records)
        match damage:
            case "cut":
                records = records[: max(1, len(records) - at % 4)]
            case "rubbish":
                records[place] = dataclasses.replace(records[place], value=b"rubbish")
            case "no headers":
                records[place] = dataclasses.replace(records[place], headers=())
            case "null":
                records[place] = dataclasses.replace(records[place], value=None)
    return records


async def fill_must_equal(dsn: str, folder: Path, records: list[Rec]) -> None:
    async with empty(dsn, VIEWS.values()) as builds:
        filled = await fill_from(dsn, builds, records, folder)
        assert filled.left_out == {}
        await must_equal_the_live_work(dsn, builds, records, filled=filled)


@given(plan=steps, damage=damages)
@settings(max_examples=6, deadline=None, phases=UNSHRUNK, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_filled_generation_holds_the_rows_of_the_live_work(
    database: str, tmp_path: Path, plan: list[tuple[str, int, int]], damage: list[tuple[str, int]]
) -> None:
    log = LogMaker(TOPICS)
    write(log, plan)
    await fill_must_equal(database, tmp_path, damaged(log.records, damage))


@pytest.mark.slow
@given(plan=steps, damage=damages)
@settings(max_examples=40, deadline=None, phases=UNSHRUNK, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_log_fills_what_the_live_work_makes_of_it(
    database: str, tmp_path: Path, plan: list[tuple[str, int, int]], damage: list[tuple[str, int]]
) -> None:
    log = LogMaker(TOPICS)
    write(log, plan)
    await fill_must_equal(database, tmp_path, damaged(log.records, damage))


async def test_every_type_of_record_zombies_and_gaps_fill_what_the_live_work_makes_of_them(database: str, tmp_path: Path) -> None:
    log = spec_log()
    ana, ben = owner(), owner()
    lost = log.add(ana, "one", "two")
    log.append(ana, [foreign_forget(ana, sequence, 9, lost[0]) for sequence in (1, 2)])  # a zombie's
    log.append(ben, [foreign_forget(ben, 6, 1, owner())])  # a gap: ben is parked
    log.add(ben, "too late")
    await fill_must_equal(database, tmp_path, log.records)
    assert not (tmp_path / "spill").exists()


async def test_a_log_that_ends_in_the_middle_of_a_slice_is_filled_up_to_its_border(database: str, tmp_path: Path) -> None:
    log = LogMaker(TOPICS)
    for _ in range(6):
        log.add(owner(), "whole")
    ana = owner()
    log.add(ana, "one", "two", "three", "four")
    records = log.records[:-1]
    records[-1] = dataclasses.replace(records[-1], value=b"rubbish")
    await fill_must_equal(database, tmp_path, records)


async def test_a_vector_goes_by_a_tombstone_that_names_no_owner(database: str, tmp_path: Path) -> None:
    log = LogMaker(TOPICS)
    for number in range(12):
        ana = owner()
        [memory] = log.add(ana, "one")
        log.embed(ana, memory, [1.0, 0.5])
        if number % 2:
            log.unembed(ana, memory)
    await fill_must_equal(database, tmp_path, log.records)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
async def test_a_fill_from_a_broker_equals_the_live_work(
    broker: Broker, config: RunnerConfig, views: dict[str, View], log: LogMaker, tmp_path: Path, workers: int
) -> None:
    for number in range(10):
        ana = owner()
        memories = log.add(ana, "one", "two")
        log.reheat(ana, memories[0])
        log.embed(ana, memories[0], [1.0, number / 10])
        log.forget(ana, memories[1])
    await broker.send(log.records)
    async with empty(config.dsn, [view for name, view in views.items() if name in VIEWS]) as builds:
        filled = await fill(config, builds, workers=workers, spill=tmp_path / "spill", open_keys=everybody)
        assert filled.left_out == {}
        await must_equal_the_live_work(config.dsn, builds, log.records, filled=filled)


@pytest.mark.parametrize("known", [True, False], ids=["the directory still knows the user", "the directory knows no more"])
async def test_an_access_goes_with_its_user_who_is_in_another_bucket(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    log, acme = LogMaker(TOPICS), f"{owner()[:-1]}0"
    users = [user() for _ in range(8)]
    for who in users:
        log.access(acme, who, access_id=who)
    for who in users[::2]:
        log.erase(who)
    if not known:
        named = EVERYBODY.named
        monkeypatch.setattr(EVERYBODY, "named", lambda references: named(set(references) - set(users[::2])))
    async with empty(database, [VIEWS["brain"]]) as builds:
        filled = await fill_from(database, builds, log.records, tmp_path)
        async with await generation.connect(database) as conn:
            rows = await (await conn.execute(f"SELECT subject::text FROM {builds[0].schema}.brain_access")).fetchall()
        assert {row[0] for row in rows} == set(users[1::2])
        await must_equal_the_live_work(database, builds, log.records, filled=filled)


async def test_sealed_values_are_opened_and_what_lies_on_disk_is_sealed(database: str, tmp_path: Path) -> None:
    keys, log = MemoryKeys(), LogMaker(TOPICS)
    ana, ben = owner(), owner()
    secret = "the garden gate is open"
    [memory] = log.add(ana, secret, producer_id="m-1")
    log.embed(ana, memory, [1.0, 0.5])
    log.revise(ana, memory, f"{secret} at night")
    log.add(ben, "of somebody who is erased")
    log.erase(ben)
    records = [await sealed(keys, record) for record in log.records]
    foreign = log.embed(ana, memory, [0.5, 0.5], model="other")
    changed = replace(decode(foreign.value or b""), vector=Sealed(b"changed", "aes-256-siv", "a key that the store never had"))
    records.append(dataclasses.replace(foreign, value=encode(changed)))
    await keys.destroy_owner(ben)
    found: list[bytes] = []

    def look(stage: str, done: int, total: int) -> None:
        if stage == "fold" and done == 1:
            found.extend(path.read_bytes() for path in (tmp_path / "spill").rglob("*.spill"))

    async with empty(database, VIEWS.values()) as builds:
        filled = await fill_from(database, builds, records, tmp_path, keys=keys, progress=look)
        await must_equal_the_live_work(database, builds, records, keys=keys, filled=filled)
    assert found
    assert not any(secret.encode() in data for data in found)


async def sealed(keys: MemoryKeys, record: Rec) -> Rec:
    try:
        found = decode(record.value or b"")
    except ContractError:
        return record
    return dataclasses.replace(record, value=encode(await seal(keys, found)))


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_a_record_comes_back_from_disk_as_it_was(tmp_path: Path, kind: type) -> None:
    record = decode(sample_bytes(FILES.parsed(kind.__name__), FILES.fingerprint(kind.__name__)))
    spill = spilling.Spill(tmp_path, 0, 3, ["a", "b"])
    placed = [Placed("b", 2, offset, key, value) for offset, key, value in ((5, b"k", record), (6, None, record), (7, b"", None))]
    for one in placed:
        spill.put("somebody", one)
    spill.close()
    found = [list(spilling.read_bucket(tmp_path, bucket, ["a", "b"])) for bucket in range(3)]
    assert sorted(map(len, found)) == [0, 0, 3]
    assert next(filter(None, found)) == placed


def test_a_tombstone_of_nobody_goes_to_every_bucket(tmp_path: Path) -> None:
    spill = spilling.Spill(tmp_path, 0, 3, ["a"])
    spill.put(None, Placed("a", 0, 1, b"k", None))
    spill.close()
    assert [len(list(spilling.read_bucket(tmp_path, bucket, ["a"]))) for bucket in range(3)] == [1, 1, 1]


def test_of_the_registry_only_views_that_say_so_cannot_be_filled(views: dict[str, View]) -> None:
    refused = {name for name, view in views.items() if unfit(Build(view, "s")) is not None}
    assert refused == set(views) - set(VIEWS) == {"current"}
