"""Owners by their references, many at once, as views ask for them."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from ops.keys.database import KeyDatabase
from ops.keys.destroying import Destroyer
from ops.keys.directory import PostgresDirectory
from ops.keys.master import LocalMasterKey, Masters
from ops.keys.tables import STORE_WIDE
from tests.keys.spec import ANA, BEN


class Counted(KeyDatabase):
    """Counts what it is asked about owners."""

    asked = 0

    async def rows(self, query: str, parameters: Any) -> list[Any]:
        self.asked += "emberlog_owner" in query
        return await super().rows(query, parameters)


async def test_it_tells_who_is_known_and_leaves_out_the_erased_and_the_unknown(database: KeyDatabase) -> None:
    directory = PostgresDirectory(database)
    ana, ben = await directory.reference_of(ANA), await directory.reference_of(BEN)
    await Destroyer(database).destroy_owner(ben)
    assert await directory.owners_of([ana, ben, str(uuid4()), STORE_WIDE, "", "no reference"]) == {ana: ANA}
    assert await directory.owners_of([]) == {}


async def test_one_query_answers_for_many_and_none_for_those_that_it_told_before(
    fresh_database: str, database: KeyDatabase, master: LocalMasterKey
) -> None:
    made = PostgresDirectory(database)
    ana, ben = await made.reference_of(ANA), await made.reference_of(BEN)
    async with Counted(fresh_database, Masters(master), cache_s=1e9) as counted:
        directory = PostgresDirectory(counted)
        assert await directory.owners_of([ana, ben]) == {ana: ANA, ben: BEN}
        assert await directory.owners_of([ana, ben]) == {ana: ANA, ben: BEN}
        assert counted.asked == 1


async def test_nobody_is_told_after_an_erasure_who_it_was_whatever_is_cached(
    fresh_database: str, database: KeyDatabase, master: LocalMasterKey
) -> None:
    made = PostgresDirectory(database)
    ana, ben = await made.reference_of(ANA), await made.reference_of(BEN)
    async with Counted(fresh_database, Masters(master), cache_s=1e9) as counted:
        directory = PostgresDirectory(counted)
        await directory.owners_of([ana, ben])
        await Destroyer(database).destroy_owner(ana)
        assert await directory.owners_of([ana, ben]) == {ben: BEN}
        again = counted.asked
        assert await directory.owners_of([ana]) == {}
        assert counted.asked == again, "that one is gone is final"
