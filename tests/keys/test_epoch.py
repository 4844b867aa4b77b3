"""A key that is destroyed is used no more, by no process, whatever it had read before."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ops.keys.database import KeyDatabase
from ops.keys.destroying import Destroyer
from ops.keys.directory import PostgresDirectory
from ops.keys.master import LocalMasterKey, Masters
from ops.keys.store import PostgresKeys
from schemas.subjects import Subject
from tests.keys.spec import ANA, BEN, Bench


class Slow(KeyDatabase):
    """A database whose first answer about keys waits for ``go_on`` once it is there."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.answered, self.go_on = asyncio.Event(), asyncio.Event()

    async def rows(self, query: str, parameters: Any) -> list[Any]:
        found = await super().rows(query, parameters)
        if "key_id" in query and not self.answered.is_set():
            self.answered.set()
            await self.go_on.wait()
        return found


@pytest.fixture
def bench(database: KeyDatabase) -> Bench:
    return Bench(PostgresKeys(database), PostgresDirectory(database), Destroyer(database))


async def test_no_call_that_begins_after_a_destroying_uses_the_key_whatever_is_cached(
    fresh_database: str, bench: Bench, master: LocalMasterKey
) -> None:
    ana, ben = await bench.owners.reference_of(ANA), await bench.owners.reference_of(BEN)
    subjects = [Subject(owner, "message", "m") for owner in (ana, ben)]
    async with KeyDatabase(fresh_database, Masters(master), cache_s=1e9) as database:
        keys = PostgresKeys(database)
        made = await keys.for_sealing(subjects)
        ids = {s: key.key_id for s, key in made.items() if key is not None}
        assert None not in (await keys.for_opening(ids.values())).values()
        await bench.destroyer.destroy_messages(ana, ["m"])
        opened = await keys.for_opening(ids.values())
        assert (opened[ids[subjects[0]]], opened[ids[subjects[1]]] is None) == (None, False)
        await bench.destroyer.destroy_owner(ben)
        assert set((await keys.for_opening(ids.values())).values()) == {None}
        assert set((await keys.for_sealing(subjects)).values()) == {None}
        assert await keys.fingerprint_key(ben) is None


async def test_an_answer_that_was_asked_for_before_a_destroying_is_not_kept_after_it(
    fresh_database: str, bench: Bench, master: LocalMasterKey
) -> None:
    ana = await bench.owners.reference_of(ANA)
    value = await bench.seal(Subject(ana, "message", "m"))
    assert value.key_id is not None
    async with Slow(fresh_database, Masters(master), cache_s=1e9) as database:
        keys = PostgresKeys(database)
        asked = asyncio.create_task(keys.for_opening([value.key_id]))
        await database.answered.wait()
        await bench.destroyer.destroy_messages(ana, ["m"])
        await database.see_epoch()  # this process has seen what was destroyed
        database.go_on.set()
        assert (await asked)[value.key_id] is not None, "it was asked for before"
        assert (await keys.for_opening([value.key_id])) == {value.key_id: None}
