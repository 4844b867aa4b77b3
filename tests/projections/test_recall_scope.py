"""Recall stays inside one owner, and knows nothing that is forgotten or erased."""

from __future__ import annotations

import pytest

from tests.projections.harness import owner
from tests.projections.store import Store


async def test_no_owner_sees_anothers_memories(store: Store) -> None:
    ana, ben = owner(), owner()
    for who, text in ((ana, "Ana's secret garden"), (ben, "Ben's secret garden")):
        [memory] = store.log.add(who, text)
        store.log.embed(who, memory, [1.0, 0.0])
    await store.take()
    assert await store.texts(ana, "secret garden", [1.0, 0.0]) == ["Ana's secret garden"]
    assert await store.texts(ben, "secret garden", [1.0, 0.0]) == ["Ben's secret garden"]
    assert await store.texts(owner(), "secret garden", [1.0, 0.0]) == []
    assert [r.text for r in (await store.nearest(ben, [1.0, 0.0])).rows] == ["Ben's secret garden"]
    with pytest.raises(ValueError, match="owner reference"):
        await store.ask("default/user/ana", "secret")


async def test_a_vector_under_a_wrong_owner_gives_no_access(store: Store) -> None:
    """A row of memory_embedding that names Ben for a memory of Ana's must not open it to Ben."""
    ana, ben = owner(), owner()
    [memory] = store.log.add(ana, "Ana's secret garden")
    store.log.embed(ben, memory, [1.0, 0.0])
    await store.take()
    assert await store.texts(ben, "secret garden", [1.0, 0.0]) == []
    assert (await store.nearest(ben, [1.0, 0.0])).rows == ()


async def test_what_is_forgotten_is_not_recalled_even_before_its_vector_is_gone(store: Store) -> None:
    ana = owner()
    keep, gone = store.log.add(ana, "Ana keeps bees", "Ana keeps secrets")
    for memory in (keep, gone):
        store.log.embed(ana, memory, [1.0, 0.0])
    await store.take()
    store.log.forget(ana, gone)
    await store.take("thermal")
    assert await store.texts(ana, "Ana keeps", [1.0, 0.0]) == ["Ana keeps bees"]
    assert [r.text for r in (await store.nearest(ana, [1.0, 0.0])).rows] == ["Ana keeps bees"]


async def test_an_erased_owner_has_no_memories_but_those_of_after(store: Store) -> None:
    ana, ben = owner(), owner()
    for who in (ana, ben):
        [memory] = store.log.add(who, "a secret garden")
        store.log.embed(who, memory, [1.0, 0.0])
    store.log.erase(ana)
    await store.take()
    assert await store.texts(ana, "secret garden", [1.0, 0.0]) == []
    assert (await store.nearest(ana, [1.0, 0.0])).rows == ()
    assert await store.texts(ben, "secret garden", [1.0, 0.0]) == ["a secret garden"]
    store.log.add(ana, "another garden")
    await store.take()
    assert await store.texts(ana, "secret garden", [1.0, 0.0]) == ["another garden"]
