"""Recall finds the right memories: by words, by vectors, by both."""

from __future__ import annotations

import numpy as np
import pytest

from projections.recall import Nearest
from tests.projections.harness import owner
from tests.projections.store import Store

ENGLISH = [
    "Ana lives in Valparaíso near the harbour",
    "Ana's dog is called Luna",
    "Ana plays the violin in an amateur orchestra",
    "Ana is allergic to peanuts",
    "Ana works as a nurse at night",
]


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
    assert found[0].parts.similarity == pytest.approx(np.cos(0.02), abs=1e-5), "stored as float16"
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
