"""Recall does not answer from before a forgetting that is known already, as after views were brought back from a backup."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from psycopg_pool import AsyncConnectionPool

from projections.errors import NotFollowed
from projections.recall import Recall, Recalled
from schemas.topics import partition_of
from tests.projections.harness import owner
from tests.projections.logs import MODEL, T0
from tests.projections.store import Store


class Known:
    """Where each owner's last forgetting stands."""

    def __init__(self) -> None:
        self.at: dict[str, tuple[int, int]] = {}

    async def last(self, owner_ref: str) -> tuple[int, int] | None:
        return self.at.get(owner_ref)


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
async def pool(store: Store) -> AsyncIterator[AsyncConnectionPool[Any]]:
    async with AsyncConnectionPool(store.dsn, min_size=1, open=False) as opened:
        yield opened


def recall_of(store: Store, pool: AsyncConnectionPool[Any], known: Known, patience_s: float) -> Recall:
    return Recall(pool, store.log.topics, model=MODEL, forgettings=known, patience_s=patience_s)


def texts(found: list[Recalled]) -> list[str]:
    return [answer.content for answer in found]


async def test_nothing_of_an_owner_is_shown_before_the_archive_has_followed_what_the_owner_forgot(
    store: Store, pool: AsyncConnectionPool[Any], known: Known
) -> None:
    ana, ben = owner(), owner()
    for who in (ana, ben):
        [memory] = store.log.add(who, "a secret garden")
        store.log.embed(who, memory, [1.0, 0.0])
    await store.take()
    partition, end = end_of(store, ana)
    recall = recall_of(store, pool, known, 0.05)
    known.at[ana] = partition, end
    with pytest.raises(NotFollowed, match="emberlog status"):
        await recall.search(ana, "secret garden", [1.0, 0.0], 5, T0)
    with pytest.raises(NotFollowed):
        await recall.nearest(ana, [1.0, 0.0], 5)
    assert texts(await recall.search(ben, "secret garden", [1.0, 0.0], 5, T0)) == ["a secret garden"]
    known.at[ana] = partition, end - 1
    assert texts(await recall.search(ana, "secret garden", [1.0, 0.0], 5, T0)) == ["a secret garden"]


async def test_recall_waits_for_an_archive_that_is_about_to_follow(
    store: Store, pool: AsyncConnectionPool[Any], known: Known
) -> None:
    ana = owner()
    _, gone = store.log.add(ana, "Ana keeps bees", "Ana keeps secrets")
    await store.take()
    known.at[ana] = end_of(store, ana)
    store.log.forget(ana, gone)
    asked = asyncio.create_task(recall_of(store, pool, known, 30).search(ana, "Ana keeps", None, 5, T0))
    done, _ = await asyncio.wait([asked], timeout=0.2)
    assert not done, "it answered from before the forgetting"
    await store.take()
    assert texts(await asked) == ["Ana keeps bees"]


def end_of(store: Store, who: str) -> tuple[int, int]:
    """Where the next event of the owner will stand."""
    topics = store.log.topics
    partition = partition_of(who, topics.partitions)
    return partition, store.log.ends(topics.events)[topics.events, partition]
