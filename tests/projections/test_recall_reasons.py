"""Each answer of recall says why it is there and how warm it is now."""

from __future__ import annotations

from datetime import timedelta

from schemas import ids
from schemas.temperature import temperature_at
from tests.projections.harness import owner
from tests.projections.logs import POLICY, T0
from tests.projections.store import Store


async def test_an_answer_says_why_it_is_there(store: Store) -> None:
    ana = owner()
    store.log.add(ana, "something before")
    [memory] = store.log.add(ana, "Ana lives in Quito", session="s-9", at=T0)
    store.log.reheat(ana, memory, at=T0 + timedelta(days=1))
    await store.take()
    [answer] = await store.ask(ana, "Quito")
    why = answer.provenance
    added, mentioned = [r for r in store.log.records if r.topic == store.log.topics.events][1:3]
    assert (why.topic, why.partition, why.offset) == (added.topic, added.partition, added.offset)
    assert (why.sequence, why.event_id, why.cause) == (2, ids.event_id(ana, 2), 2)
    assert (why.session_id, why.turn_id, why.occurred_at) == ("s-9", ids.turn_id(ana, "2"), T0)
    assert why.message_ids == why.producer_message_ids == (ids.message_id(ids.turn_id(ana, "2"), 0),)
    assert (why.extractor, why.model, why.rules) == ("mem0", "recorded", False)
    assert [(m.sequence, m.offset, m.session_id) for m in why.mentions] == [
        (3, mentioned.offset, "s-2"),
        (2, added.offset, "s-9"),
    ]
    assert why.mentions[0].event_id == ids.event_id(ana, 3)
    assert why.mentions[0].occurred_at == answer.last_access == T0 + timedelta(days=1)
    assert (answer.memory_id, answer.access_count, answer.created_at, answer.salience) == (memory, 2, T0, 0.5)


async def test_an_answer_names_its_messages_by_reference_and_by_the_ids_that_their_producers_gave(store: Store) -> None:
    ana = owner()
    store.log.add(ana, "Ana lives in Quito", producer_id="D1:3")
    await store.take()
    [answer] = await store.ask(ana, "Quito")
    why = answer.provenance
    assert (why.message_ids, why.producer_message_ids) == ((ids.message_reference(ana, "D1:3"),), ("D1:3",))
    assert [(m.message_ids, m.producer_message_ids) for m in why.mentions] == [(why.message_ids, why.producer_message_ids)]


async def test_a_memory_that_was_asked_for_has_a_request_and_no_turn_behind_it(store: Store) -> None:
    ana = owner()
    memory = store.log.request(ana, "Ana is a nurse", slug="job", category="work", tags="a,b", at=T0)
    store.log.reheat(ana, memory, by_request=True, at=T0)
    await store.take()
    [answer] = await store.ask(ana, "nurse")
    why = answer.provenance
    assert why.requested
    assert (why.turn_id, why.session_id, why.message_ids, why.producer_message_ids, why.mentions) == (None, None, (), (), ())
    assert (why.extractor, why.sequence, why.event_id) == ("request", 1, ids.event_id(ana, 1))
    assert answer.metadata == {"source": "request", "user_id": "u-1", "mem0_event": "UPDATE", "slug": "job", "category": "work"}
    assert answer.tags == ("emberlog", "request", "u-1", "a", "b")
    assert (answer.access_count, answer.version, answer.temperature_at_last_access) == (2, 1, 80.0)


async def test_a_revised_memory_is_found_by_its_new_words_and_not_by_its_old(store: Store) -> None:
    ana = owner()
    [memory] = store.log.add(ana, "Ana lives in Quito")
    store.log.revise(ana, memory, "Ana lives in Lima", by_request=False)
    await store.take()
    assert await store.texts(ana, "Quito") == []
    [answer] = await store.ask(ana, "Lima")
    assert (answer.memory_id, answer.version, answer.access_count) == (memory, 2, 2)
    assert [m.session_id for m in answer.provenance.mentions] == ["s-4", "s-1"]
    assert answer.provenance.sequence == 1


async def test_a_sacred_memory_does_not_cool_until_it_is_unpinned(store: Store) -> None:
    ana = owner()
    [memory] = store.log.add(ana, "Ana lives in Quito", at=T0)
    store.log.pin(ana, memory, at=T0)
    await store.take()
    later = T0 + timedelta(days=30)
    [held] = await store.recall.search(ana, "Quito", None, 1, later)
    assert (held.sacred, held.temperature) == (True, 75.0)
    store.log.pin(ana, memory, pinned=False, at=later)
    await store.take()
    [free] = await store.recall.search(ana, "Quito", None, 1, later + timedelta(days=30))
    assert (free.sacred, free.temperature, free.last_access) == (False, 47.5, later)


async def test_the_temperature_is_that_of_now(store: Store) -> None:
    ana = owner()
    store.log.add(ana, "Ana lives in Quito", at=T0)
    await store.take()
    [warm] = await store.recall.search(ana, "Quito", None, 1, T0)
    [cool] = await store.recall.search(ana, "Quito", None, 1, T0 + timedelta(days=30))
    assert (warm.temperature, warm.temperature_at_last_access) == (75.0, 75.0)
    assert cool.temperature == temperature_at(75.0, T0, T0 + timedelta(days=30), POLICY) == 47.5


async def test_positions_say_how_far_the_views_have_read(store: Store) -> None:
    store.log.add(owner(), "one", "two")
    await store.take()
    positions = await store.recall.positions()
    assert positions["thermal"] == store.log.ends(store.log.topics.events)
    assert positions["graph"] == store.log.ends(*(source.topic for source in store.views["graph"].sources))
