"""Recall: the right memories of the right owner, with their reasons; any text is a question."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg_pool import AsyncConnectionPool

from projections import generation
from projections.applier import Applier
from projections.recall import Nearest, Recall, Recalled
from projections.view import View
from schemas import ids
from schemas.temperature import temperature_at
from tests.projections.harness import of_view, owner
from tests.projections.logs import MODEL, POLICY, T0, LogMaker

ENGLISH = [
    "Ana lives in Valparaíso near the harbour",
    "Ana's dog is called Luna",
    "Ana plays the violin in an amateur orchestra",
    "Ana is allergic to peanuts",
    "Ana works as a nurse at night",
]


class Store:
    """The live views filled from a log, without a broker, and recall over them."""

    def __init__(self, dsn: str, views: dict[str, View], log: LogMaker, recall: Recall) -> None:
        self.dsn, self.views, self.log, self.recall = dsn, views, log, recall
        self._taken = 0

    async def take(self, *names: str) -> None:
        """Fold what is new on the log into the named views (thermal and embeddings by default)."""
        fresh, self._taken = self.log.records[self._taken :], len(self.log.records)
        for name in names or ("thermal", "embeddings"):
            async with await generation.connect(self.dsn) as conn:
                live = await generation.live(conn, name)
                applier = Applier(self.views[name], live.schema, conn)
                await applier.claim()
                await applier.apply(of_view(self.views[name], fresh))

    async def ask(self, who: str, text: str, vector: Sequence[float] | None = None, k: int = 5) -> list[Recalled]:
        return await self.recall.search(who, text, vector, k, T0 + timedelta(days=30))

    async def texts(self, who: str, text: str, vector: Sequence[float] | None = None, k: int = 5) -> list[str]:
        return [r.content for r in await self.ask(who, text, vector, k)]

    async def nearest(self, who: str, vector: Sequence[float], limit: int = 5) -> Nearest:
        return await self.recall.nearest(who, vector, limit)


@pytest.fixture
async def store(installed: str, views: dict[str, View], log: LogMaker) -> AsyncIterator[Store]:
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(installed, min_size=1, max_size=2, open=False)
    async with pool:
        yield Store(installed, views, log, Recall(pool, log.topics, model=MODEL))


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Where does Ana live?", ENGLISH[0]),
        ("What is the name of Ana's dog?", ENGLISH[1]),
        ("Which instrument is she playing?", ENGLISH[2]),
        ("peanut allergies", ENGLISH[3]),
        ("VALPARAISO", ENGLISH[0]),
    ],
)
async def test_a_question_finds_its_fact_by_text_alone(store: Store, question: str, answer: str) -> None:
    ana = owner()
    store.log.add(ana, *ENGLISH)
    await store.take()
    assert (await store.texts(ana, question))[0] == answer


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("¿Dónde vive la empresa?", "La empresa vive de la exportación de frutas"),
        ("regimen tributario", "El régimen tributario de la compañía es ProPyme"),
        ("¿Quiénes son los representantes legales?", "La representante legal es Marta Soto"),
        ("¿Qué contraseñas usan?", "La contraseña del portal vence en marzo"),
    ],
)
async def test_spanish_questions_find_spanish_facts(store: Store, question: str, answer: str) -> None:
    acme = owner()
    store.log.add(
        acme,
        "La empresa vive de la exportación de frutas",
        "El régimen tributario de la compañía es ProPyme",
        "La representante legal es Marta Soto",
        "La contraseña del portal vence en marzo",
        "Los trabajadores almuerzan en la planta",
    )
    await store.take()
    assert (await store.texts(acme, question))[0] == answer


async def test_a_rare_word_weighs_more_than_common_ones(store: Store) -> None:
    ana = owner()
    store.log.add(ana, *[f"Ana likes number {i} on the list of things" for i in range(30)], "Ana owns a theremin")
    await store.take()
    assert (await store.texts(ana, "does Ana likes things on the list like a theremin"))[0] == "Ana owns a theremin"


async def test_the_nearest_vector_is_found_where_no_word_matches(store: Store) -> None:
    ana = owner()
    for memory, angle in zip(store.log.add(ana, *ENGLISH), (0.0, 0.3, 0.6, 0.9, 1.2), strict=True):
        store.log.embed(ana, memory, [np.cos(angle), np.sin(angle)])
    await store.take()
    found = await store.ask(ana, "zzz", [np.cos(0.62), np.sin(0.62)])
    assert found[0].content == ENGLISH[2]
    assert found[0].parts.similarity == pytest.approx(np.cos(0.02), abs=1e-6)
    assert found[0].parts.bm25 is None
    assert [r.score for r in found] == sorted((r.score for r in found), reverse=True)


async def test_vector_search_is_exact(store: Store) -> None:
    """Every answer in the order of brute force."""
    rng, ana = np.random.default_rng(7), owner()
    vectors = rng.normal(size=(300, 16)).astype("<f4")
    memories = store.log.add(ana, *[f"fact number {i}" for i in range(300)])
    for memory, vector in zip(memories, vectors, strict=True):
        store.log.embed(ana, memory, vector.tolist())
    await store.take()
    query = rng.normal(size=16)
    cosines = vectors @ query / np.linalg.norm(vectors, axis=1)
    best = [memories[i] for i in np.argsort(-cosines)[:20]]
    assert [r.memory_id for r in await store.ask(ana, "", query.tolist(), 20)] == best
    assert [r.memory_id for r in (await store.nearest(ana, query.tolist(), 20)).rows] == best


async def test_a_fact_without_its_vector_yet_is_found_by_its_text_beside_those_that_have_one(store: Store) -> None:
    ana = owner()
    for memory in store.log.add(ana, *ENGLISH[:3]):
        store.log.embed(ana, memory, [1.0, 0.0])
    store.log.add(ana, "Ana collects stamps from Iceland")
    await store.take()
    assert (await store.texts(ana, "Does Ana collect stamps?", [1.0, 0.0]))[0] == "Ana collects stamps from Iceland"


async def test_vectors_of_another_model_or_size_take_no_part(store: Store) -> None:
    ana = owner()
    one, two, three = store.log.add(ana, "alpha fact", "beta fact", "gamma fact")
    store.log.embed(ana, one, [1.0, 0.0])
    store.log.embed(ana, two, [1.0, 0.0], model="another")
    store.log.embed(ana, three, [1.0, 0.0, 0.0])
    await store.take()
    assert await store.texts(ana, "zzz", [1.0, 0.0]) == ["alpha fact"]


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
    assert why.message_ids == (ids.message_id(why.turn_id, 0),)
    assert (why.extractor, why.model, why.rules) == ("mem0", "recorded", False)
    assert [(m.sequence, m.offset, m.session_id) for m in why.mentions] == [
        (3, mentioned.offset, "s-2"),
        (2, added.offset, "s-9"),
    ]
    assert why.mentions[0].event_id == ids.event_id(ana, 3)
    assert why.mentions[0].occurred_at == answer.last_access == T0 + timedelta(days=1)
    assert (answer.memory_id, answer.access_count, answer.created_at, answer.salience) == (memory, 2, T0, 0.5)


async def test_the_temperature_is_that_of_now(store: Store) -> None:
    ana = owner()
    store.log.add(ana, "Ana lives in Quito", at=T0)
    await store.take()
    [warm] = await store.recall.search(ana, "Quito", None, 1, T0)
    [cool] = await store.recall.search(ana, "Quito", None, 1, T0 + timedelta(days=30))
    assert (warm.temperature, warm.temperature_at_last_access) == (75.0, 75.0)
    assert cool.temperature == temperature_at(75.0, T0, T0 + timedelta(days=30), POLICY) == 47.5


ODD = [
    "", " ", "'", '"', "\\", "\0", "a\0b", "%s %(k)s", "' OR 1=1 --", "& | ! <-> ( )", "a:*b", "C:\\dir\\'x'", "x" * 10_000,
    "word " * 2_000, "http://a.b/c\\d?e='f'&g=\"h\"", "😀 日本語", "\ud800 \udfff \uffff", "-" * 500, "'\\''\\\\'",
]  # fmt: skip


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize("vector", [None, [1.0, 0.0], [0.0, 0.0], [], [float("nan"), 1.0]])
async def test_no_question_is_an_error(odd_store: tuple[Store, str], text: str, vector: list[float] | None) -> None:
    store, ana = odd_store
    assert isinstance(await store.ask(ana, text, vector), list)


@given(text=st.text(max_size=60))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_text_at_all_is_an_error(odd_store: tuple[Store, str], text: str) -> None:
    store, ana = odd_store
    assert isinstance(await store.ask(ana, text), list)
    assert isinstance(await store.ask(ana, text + "'\\" + text), list)


@pytest.fixture(scope="module")
async def odd_store(database: str) -> AsyncIterator[tuple[Store, str]]:
    from projections.view import ViewSettings
    from projections.views import build_views
    from schemas.topics import Topics
    from tests.projections.harness import AUDIT_KEY

    topics, ana = Topics(2, "odd."), owner()
    log, views = LogMaker(topics), build_views(ViewSettings(topics, AUDIT_KEY))
    await generation.install(database, list(views.values()))
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(database, min_size=1, max_size=2, open=False)
    async with pool:
        store = Store(database, views, log, Recall(pool, topics, model=MODEL))
        for memory in log.add(ana, "it's C:\\dir\\'x' & \"more\"", "http://a.b/c\\d?e='f'", "日本語 😀", "plain words"):
            log.embed(ana, memory, [0.6, 0.8])
        await store.take()
        yield store, ana


async def test_k_bounds_the_answers(store: Store) -> None:
    ana = owner()
    store.log.add(ana, *[f"Ana and thing {i}" for i in range(12)], "nobody")
    await store.take()
    assert [len(await store.ask(ana, "thing", k=k)) for k in (-1, 0, 1, 5, 100)] == [0, 0, 1, 5, 12]


async def test_nearest_gives_new_memories_without_vectors_and_how_far_the_archive_has_read(store: Store) -> None:
    ana = owner()
    assert await store.nearest(ana, [1.0, 0.0]) == Nearest((), -1)
    old, older = store.log.add(ana, "has a vector", "has another")
    store.log.embed(ana, old, [1.0, 0.0])
    store.log.embed(ana, older, [0.0, 1.0])
    store.log.add(ana, "new one")
    store.log.add(ana, "newer one")
    await store.take()
    found = await store.nearest(ana, [1.0, 0.0], 1)
    assert [(r.text, r.score) for r in found.rows] == [("has a vector", pytest.approx(1.0)), ("newer one", None)]
    found = await store.nearest(ana, [1.0, 0.0], 10)
    assert [r.text for r in found.rows[:2]] == ["has a vector", "has another"]
    assert {r.text for r in found.rows[2:]} == {"new one", "newer one"}
    assert found.last_cause == 3
    [memory] = [r.memory_id for r in found.rows if r.text == "new one"]
    store.log.forget(ana, memory)
    await store.take()
    found = await store.nearest(ana, [1.0, 0.0], 10)
    assert "new one" not in {r.text for r in found.rows}
    assert found.last_cause == 4


async def test_positions_say_how_far_the_views_have_read(store: Store) -> None:
    store.log.add(owner(), "one", "two")
    await store.take()
    positions = await store.recall.positions()
    assert positions["thermal"] == store.log.ends(store.log.topics.events)
    assert positions["embeddings"] == store.log.ends(store.log.topics.events, store.log.topics.embeddings)
