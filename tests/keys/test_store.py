"""What is the store's own in Postgres: few queries, bounded caches, makers beside destroyers, outages, bytes in the files."""

from __future__ import annotations

import asyncio
import secrets
import uuid

import psycopg
import pytest

from ops.keys.database import KeyDatabase
from ops.keys.destroying import Destroyer
from ops.keys.directory import PostgresDirectory
from ops.keys.master import LocalMasterKey, MasterKeyMissing, Masters
from ops.keys.store import PostgresKeys
from ops.vacuuming import Database, vacuum
from schemas.errors import KeyLost, KeysUnavailable
from schemas.owner import Owner
from schemas.subjects import Subject
from tests.keys.spec import ANA, NICK, Bench, said


class Counting(KeyDatabase):
    """A database that counts how often a connection was asked for, other than for a look at the epoch."""

    asked = 0

    def connection(self):  # type: ignore[no-untyped-def]
        self.asked += 1
        return super().connection()

    async def see_epoch(self) -> None:
        await super().see_epoch()
        self.asked -= 1


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def bench(database: KeyDatabase) -> Bench:
    return Bench(PostgresKeys(database), PostgresDirectory(database), Destroyer(database))


@pytest.mark.slow
async def test_100000_keys_of_a_replay_are_read_in_a_handful_of_queries(
    fresh_database: str, bench: Bench, master: LocalMasterKey
) -> None:
    ana = await bench.owners.reference_of(ANA)
    made = await bench.keys.for_sealing([said(ana, f"f{i}", i) for i in range(100_000)])
    ids = [key.key_id for key in made.values() if key is not None]
    async with Counting(fresh_database, Masters(master), cache_size=20_000) as database:
        keys = PostgresKeys(database)
        found = await keys.for_opening(ids)
        assert len(set(found)) == 100_000
        assert None not in found.values()
        assert database.asked <= 11, "ten for the keys, one for their owner"
        assert (len(keys._by_id), len(keys._by_subject)) == (20_000, 0), "the cache is bounded"


async def test_a_batch_costs_the_same_few_queries_whatever_its_size(
    fresh_database: str, bench: Bench, master: LocalMasterKey
) -> None:
    owners = [await bench.owners.reference_of(Owner.parse(f"u-{i}")) for i in range(20)]
    subjects = [said(owner, f"f{i}", i) for owner in owners for i in range(50)]
    async with Counting(fresh_database, Masters(master)) as database:
        keys = PostgresKeys(database)
        made = await keys.for_sealing(subjects)
        assert database.asked == 3, "found none, read the owners, made all"
        assert await keys.for_sealing(subjects) == made
        assert database.asked == 3, "all from the cache"
        ids = {key.key_id for key in made.values() if key is not None}
        assert len(await keys.for_opening(ids)) == len(await keys.for_opening(ids)) == 1000
        assert database.asked == 4


async def test_a_key_is_cached_for_its_time_and_that_it_is_gone_for_good(
    fresh_database: str, bench: Bench, master: LocalMasterKey
) -> None:
    ana, clock = await bench.owners.reference_of(ANA), Clock()
    subject = Subject(ana, "message", "m")
    async with Counting(fresh_database, Masters(master), cache_s=60, clock=clock) as database:
        keys = PostgresKeys(database)
        value = await Bench(keys, PostgresDirectory(database), bench.destroyer).seal(subject)
        assert value.key_id is not None
        for clock.now, questions in ((0, 1), (59.9, 0), (60, 2)):  # the key; then the key and its owner's
            asked = database.asked
            assert (await keys.for_opening([value.key_id]))[value.key_id] is not None
            assert database.asked == asked + questions
        await bench.destroyer.destroy_messages(ana, ["m"])
        asked = database.asked
        for clock.now in (60, 60, 1e9):
            assert (await keys.for_opening([value.key_id])) == {value.key_id: None}
            assert await keys.for_sealing([subject]) == {subject: None}
        assert database.asked == asked + 2, "asked once each, though long past its time"


async def test_makers_of_one_subject_in_several_processes_get_the_same_key(
    fresh_database: str, bench: Bench, master: LocalMasterKey
) -> None:
    ana = await bench.owners.reference_of(ANA)
    async with KeyDatabase(fresh_database, Masters(master)) as one, KeyDatabase(fresh_database, Masters(master)) as two:
        for turn in range(3):
            # in opposite orders, and so many that both are at it at the same time
            subjects = [said(ana, f"f{i}", turn) for i in range(1000)]
            first, second = await asyncio.gather(
                PostgresKeys(one).for_sealing(subjects), PostgresKeys(two).for_sealing(subjects[::-1])
            )
            assert {s: k and k.key_id for s, k in first.items()} == {s: k and k.key_id for s, k in second.items()}


@pytest.mark.parametrize("what", ["statements", "messages", "owner", "parked"])
async def test_a_destroy_beside_makers_leaves_no_key_that_it_should_have_destroyed(
    what: str, fresh_database: str, bench: Bench, master: LocalMasterKey
) -> None:
    async with KeyDatabase(fresh_database, Masters(master), connections=6) as database:
        for attempt in range(8):
            owner = await bench.owners.reference_of(Owner.parse(f"u-{attempt}"))
            names = [f"{attempt} {i}" for i in range(60)]
            kind = {"statements": "statement", "messages": "message", "owner": "turn", "parked": "parked"}[what]
            subjects = [Subject(owner, kind, name) for name in names]  # type: ignore[arg-type]

            async def destroy(owner: str = owner, names: list[str] = names, attempt: int = attempt) -> None:
                await asyncio.sleep(0.001 * attempt)
                if what == "statements":
                    await bench.destroyer.destroy_statements(owner, names, 1, 0)
                elif what == "messages":
                    await bench.destroyer.destroy_messages(owner, names)
                elif what == "parked":
                    await bench.destroyer.destroy_parked(names)
                else:
                    await bench.destroyer.destroy_owner(owner)

            destroying = asyncio.create_task(destroy())
            makers = (PostgresKeys(database).for_sealing(subjects[i : i + 20]) for i in range(0, 60, 20))
            answers = await asyncio.gather(*makers)
            await destroying
            ids = [key.key_id for answer in answers for key in answer.values() if key is not None]
            assert set((await bench.keys.for_opening(ids)).values()) <= {None}
            assert set((await bench.keys.for_sealing(subjects)).values()) == {None}
            assert await database.rows("SELECT FROM emberlog_item_key WHERE wrapped IS NOT NULL", ()) == [], "none is left unseen"


async def test_a_forget_that_is_under_way_when_a_key_is_made_is_waited_for(bench: Bench, fresh_database: str) -> None:
    ana = await bench.owners.reference_of(ANA)
    async with await psycopg.AsyncConnection.connect(fresh_database) as other:
        await other.execute("SELECT FROM emberlog_owner WHERE reference = %s FOR UPDATE", (ana,))
        maker = asyncio.create_task(bench.key(Subject(ana, "message", "m")))
        await until_waiting(other)
        await other.execute("INSERT INTO emberlog_forgotten SELECT %s, 'message', substring(sha256('m') FOR 16), 1", (ana,))
        assert not maker.done()
    assert await maker is None


async def until_waiting(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
    """Wait until another session of this database waits for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(20):
        while (await (await connection.execute(query)).fetchone()) == (0,):
            await connection.execute("SELECT pg_stat_clear_snapshot()")
            await asyncio.sleep(0.02)


async def test_a_store_that_is_away_is_an_outage_and_is_back_afterwards(
    fresh_database: str, bench: Bench, master: LocalMasterKey
) -> None:
    ana = await bench.owners.reference_of(ANA)
    value = await bench.seal(Subject(ana, "message", "m"))
    assert value.key_id is not None
    async with KeyDatabase("host=/nowhere dbname=none", Masters(master), wait_s=0.2) as away:
        keys, owners, destroyer = PostgresKeys(away), PostgresDirectory(away), Destroyer(away)
        for call in (
            keys.for_opening([value.key_id]),
            keys.for_sealing([Subject(ana, "message", "m")]),
            keys.fingerprint_key(ana),
            owners.reference_of(ANA),
            owners.owner_of(ana),
            destroyer.destroy_owner(ana),
        ):
            with pytest.raises(KeysUnavailable) as error:
                await call
            assert ana not in str(error.value)
    async with await psycopg.AsyncConnection.connect(fresh_database, autocommit=True) as other:
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    async with asyncio.timeout(20):
        while True:
            try:
                assert await bench.opened(value) == b"words"
                break
            except KeysUnavailable:
                await asyncio.sleep(0.05)


async def test_a_store_whose_master_key_was_not_given_refuses_to_start(fresh_database: str, bench: Bench) -> None:
    ana = await bench.owners.reference_of(ANA)
    async with KeyDatabase(fresh_database, Masters(LocalMasterKey(secrets.token_bytes(32)))) as database:
        with pytest.raises(MasterKeyMissing, match="put its backup back"):
            await database.prepare()
        with pytest.raises(KeyLost):
            await PostgresKeys(database).fingerprint_key(ana)


async def test_a_wrapped_key_that_was_changed_or_moved_is_lost_not_another_value(bench: Bench, fresh_database: str) -> None:
    ana = await bench.owners.reference_of(ANA)
    one, two = [await bench.seal(Subject(ana, "message", name)) for name in ("m", "n")]
    async with await psycopg.AsyncConnection.connect(fresh_database, autocommit=True) as other:
        await other.execute(
            "UPDATE emberlog_item_key SET wrapped = (SELECT wrapped FROM emberlog_item_key WHERE key_id = %s) WHERE key_id = %s",
            (one.key_id, two.key_id),
        )
    with pytest.raises(KeyLost):
        await bench.opened(two)


async def test_owners_are_listed_in_their_order_page_by_page(bench: Bench, database: KeyDatabase) -> None:
    directory = PostgresDirectory(database)
    owners = [Owner.parse(text) for text in ("company/b", "a", "b", "c", "x/user/a")]
    made = {owner: await directory.reference_of(owner) for owner in reversed(owners)}
    await directory.alias(made[owners[1]], NICK)
    await bench.destroyer.destroy_owner(made[owners[3]])
    first = await directory.listed(limit=2)
    rest = await directory.listed(first[-1].owner, limit=10)
    left = [owner for owner in owners if owner != owners[3]]
    assert [(item.owner, item.reference) for item in first + rest] == [(owner, made[owner]) for owner in left]


FILES = """
SELECT string_agg(encode(pg_read_binary_file(pg_relation_filepath(c.oid)), 'hex'), '')
FROM pg_class AS c WHERE c.relname LIKE 'emberlog%' AND c.relkind IN ('r', 'i')
"""


async def test_after_a_vacuum_neither_wrapped_keys_nor_ids_of_an_erased_owner_are_in_the_files(
    bench: Bench, fresh_database: str
) -> None:
    marker = f"marker-{uuid.uuid4()}"
    kept = await bench.owners.reference_of(Owner.parse("kept"))
    owner = await bench.owners.reference_of(Owner.parse(marker))
    await bench.owners.alias(owner, Owner.parse(marker + "-alias"))
    await bench.seal(Subject(owner, "message", "m"))
    async with await psycopg.AsyncConnection.connect(fresh_database, autocommit=True) as other:
        rows = await (
            await other.execute(
                "SELECT wrapped FROM emberlog_item_key UNION ALL SELECT wrapped FROM emberlog_owner WHERE id = %s", (marker,)
            )
        ).fetchall()
        secrets_of_it = [marker.encode().hex(), *(row[0].hex() for row in rows)]

        async def found() -> list[bool]:
            await other.execute("CHECKPOINT")
            row = await (await other.execute(FILES)).fetchone()
            assert row is not None
            return [secret in row[0] for secret in secrets_of_it]

        assert await found() == [True, True, True]
        await bench.destroyer.destroy_owner(owner)
        [done] = await vacuum([Database("key store", fresh_database, keys=True)])
        assert await found() == [False, False, False]
    assert done.left == {}
    assert await bench.key(Subject(kept, "message", "m")) is not None
