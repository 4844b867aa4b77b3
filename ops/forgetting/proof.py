"""The proof: every store is searched for texts that the asker gives, and what was found where is told.

It changes nothing, and what is sought is neither printed nor logged nor sent to a server. See ``ops.forgetting.needles`` for the
forms in which a text is found, and in which it is not. What is sealed on topics is opened where its key is still there, and
found in the form ``sealed``. Not searched: vectors, key files, sealed values in tables and files, backups and exports, records in
compressions that this installation cannot read (told as a failure), and the memory of processes.

What a topic no longer shows may stand in the broker's files for a while, and a deleted row in the database's: where they lie in
the data folder, these are searched as raw bytes. Raw bytes show no text that the broker's batches or the database's large
values hold compressed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from ops.forgetting.files import search_files
from ops.forgetting.findings import Finding, OnProgress, Search, Searched
from ops.forgetting.keyvalues import search_key_values
from ops.forgetting.needles import Needles
from ops.forgetting.stores import Places, file_stores, key_value_stores, table_stores, topic_stores
from ops.forgetting.tables import generations, search_database
from ops.forgetting.topics import search_topics

__all__ = ["Finding", "Proof", "Searched", "prove"]


@dataclass(frozen=True, slots=True)
class Proof:
    """All stores, in the order of the search."""

    stores: tuple[Searched, ...]

    @property
    def found(self) -> int:
        """Findings in all stores."""
        return sum(searched.found for searched in self.stores)

    @property
    def failures(self) -> list[str]:
        """What could not be searched: with any, that nothing was found proves nothing."""
        return [failure for searched in self.stores for failure in searched.failures]


def _silent(store: str, items: int) -> None:
    return None


async def prove(places: Places, needles: Sequence[str], on_progress: OnProgress = _silent) -> Proof:
    """Search every store of the registry for ``needles``; letters count in either case.

    Raises needles.TooShort, NotRunning and psycopg.OperationalError where a service is away.
    """
    search = Search(Needles(needles), on_progress)
    async with await psycopg.AsyncConnection.connect(places.dsn, autocommit=True) as connection:
        numbers = await generations(connection)
    stores = table_stores(numbers, key_store=places.key_dsn is not None)
    await search_database(search, places.dsn, [store for store in stores if not store.keys])
    if places.key_dsn is not None:
        await search_database(search, places.key_dsn, [store for store in stores if store.keys])
    await search_topics(search, places.bootstrap, topic_stores(places.topics), places.keys)
    if places.redis_url is not None:
        await search_key_values(search, places.redis_url, key_value_stores(places.topics))
    await search_files(search, places.data_dir, file_stores())
    return Proof(tuple(search.done))
