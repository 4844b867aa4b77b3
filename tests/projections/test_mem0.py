"""Memories as Mem0 reads them: one row for each that is live and has a vector, in whatever order the two topics are read."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo

from projections.view import View, ViewSettings
from projections.views.mem0 import Mem0View
from schemas.sealed import Sealed
from schemas.types import MemoryEmbedding
from streams.extraction.embedders import WordLlamaEmbedder
from streams.extraction.guards import mem0
from tests.projections.harness import Fold, of_view, owner
from tests.projections.interleaving import interleaved, rows_of
from tests.projections.logs import T0, LogMaker
from tests.projections.store import Store
from tests.projections.test_splits import TOPICS, write

OLD, NEW = [1.0, 0.0], [0.0, 1.0]
ROWS = "id::text, vector::text, payload ->> 'data' FROM {s}.mem0_memories ORDER BY 3"
STEPS = ("add", "request", "revise", "forget", "erase", "embed", "embed late", "unembed", "again", "embed message")

steps = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 1), st.integers(0, 9)), min_size=4, max_size=30)
choices = st.lists(st.integers(0, 3), min_size=1, max_size=40)


@pytest.fixture
def view(views: dict[str, View]) -> View:
    return views["mem0"]


async def test_a_row_has_the_payload_that_mem0_writes(database: str, view: View, log: LogMaker) -> None:
    ana = owner()
    [learnt] = log.add(ana, "Ana lives in Quito", user_id="ana", at=T0 + timedelta(microseconds=5))
    asked = log.request(ana, "Ana is called Ana", user_id="ana", at=T0, slug="name", category="who", tags="a,b")
    for memory in (learnt, asked):
        log.embed(ana, memory, OLD)
    log.revise(ana, asked, "Ana is called Anna", at=T0 + timedelta(days=1))
    async with Fold.of(database, view) as fold:
        await fold.take(log.records)
        rows = dict(await fold.rows("id::text, payload FROM {s}.mem0_memories"))
    assert rows[learnt] == {
        "data": "Ana lives in Quito",
        "text_lemmatized": "Ana lives in Quito",
        "hash": hashlib.md5(b"Ana lives in Quito").hexdigest(),
        "created_at": "2024-03-01T12:00:00.000005+00:00",
        "updated_at": "2024-03-01T12:00:00.000005+00:00",
        "user_id": "ana",
        "agent_id": "agent-1",
    }
    assert rows[asked] == {
        "data": "Ana is called Anna",
        "text_lemmatized": "Ana is called Anna",
        "hash": hashlib.md5(b"Ana is called Anna").hexdigest(),
        "created_at": "2024-03-01T12:00:00+00:00",
        "updated_at": "2024-03-02T12:00:00+00:00",
        "user_id": "ana",
        "slug": "name",
        "category": "who",
        "tags": ["a", "b"],
    }


@pytest.mark.parametrize("words_first", [True, False])
async def test_there_is_no_row_before_both_words_and_vector_are_there(
    database: str, view: View, log: LogMaker, words_first: bool
) -> None:
    ana = owner()
    [memory] = log.add(ana, "Ana lives in Quito")
    log.embed(ana, memory, OLD)
    first, second = log.records if words_first else reversed(log.records)
    async with Fold.of(database, view) as fold:
        await fold.take([first])
        assert await fold.rows(ROWS) == []
        await fold.take([second])
        assert await fold.rows(ROWS) == [(memory, "[1,0]", "Ana lives in Quito")]
        for table in ("mem0_unembedded", "mem0_spare_vector"):
            assert await fold.rows(f"count(*) FROM {{s}}.{table}") == [(0,)]


async def test_after_a_revision_the_vector_of_the_words_before_stays_until_the_new_one_comes(
    database: str, view: View, log: LogMaker
) -> None:
    ana = owner()
    [memory] = log.add(ana, "Ana lives in Quito")
    log.embed(ana, memory, OLD, sequence=1)
    log.revise(ana, memory, "Ana lives in Lima")
    async with Fold.of(database, view) as fold:
        await fold.take(log.records, [2])
        assert await fold.rows(ROWS) == [(memory, "[1,0]", "Ana lives in Lima")]
        log.embed(ana, memory, NEW, sequence=2)
        log.embed(ana, memory, OLD, sequence=1)  # an embedder that was stopped and wakes up
        await fold.take(log.records[3:])
        assert await fold.rows(ROWS) == [(memory, "[0,1]", "Ana lives in Lima")]


async def test_another_embedders_vector_takes_the_place_and_gives_it_back_when_it_is_withdrawn(
    database: str, view: View, log: LogMaker
) -> None:
    ana = owner()
    [memory] = log.add(ana, "one")
    log.embed(ana, memory, OLD, sequence=1)
    log.embed(ana, memory, [1.0, 2.0, 3.0], model="another", sequence=1)
    async with Fold.of(database, view) as fold:
        await fold.take(log.records)
        assert await fold.rows(ROWS) == [(memory, "[1,2,3]", "one")]
        log.unembed(ana, memory, "another")
        await fold.take(log.records[3:])
        assert await fold.rows(ROWS) == [(memory, "[1,0]", "one")]
        log.unembed(ana, memory)
        await fold.take(log.records[4:])
        assert await fold.rows(ROWS) == []


async def test_vectors_of_other_heads_and_of_messages_are_not_for_it(database: str, view: View, log: LogMaker) -> None:
    ana = owner()
    [memory] = log.add(ana, "one")
    log.embed_message(ana, memory, Sealed(b"\0\0\0\x3c"))
    record = MemoryEmbedding(memory, ana, "entity", "m", 1, Sealed(b"\0\0\x80\x3f"), 1)
    for value in (record, None):
        log.plain(log.topics.embeddings, ana, f"{memory}/entity/m".encode(), value)
    async with Fold.of(database, view) as fold:
        await fold.take(log.records)
        assert await fold.rows("count(*) FROM {s}.view_problem") == [(0,)]
        assert await fold.rows("count(*) FROM {s}.mem0_spare_vector") == [(0,)]


@pytest.mark.parametrize("second", [1, 2])
async def test_of_two_vectors_by_one_model_that_of_the_later_words_counts_and_of_equals_the_last(
    database: str, view: View, log: LogMaker, second: int
) -> None:
    ana = owner()
    [memory] = log.add(ana, "one")
    log.embed(ana, memory, OLD, sequence=1)
    log.embed(ana, memory, NEW, sequence=second)
    log.embed(ana, memory, [0.5, 0.5], model="another", sequence=second)
    log.embed(ana, memory, OLD, model="another", sequence=0)
    async with Fold.of(database, view) as fold:
        await fold.take(log.records[:3])
        assert await fold.rows(ROWS) == [(memory, "[0,1]", "one")]
        await fold.take(log.records[3:])
        assert await fold.rows(ROWS) == [(memory, "[0.5,0.5]", "one")]


def test_nothing_of_what_is_forgotten_or_erased_is_left_in_any_table_in_any_order() -> None:
    log, made, ana, ben = LogMaker(TOPICS), Mem0View(ViewSettings(TOPICS)), owner(), owner()
    [one], [two] = log.add(ben, "one"), log.add(ana, "two")
    log.forget(ben, one)
    log.erase(ana)
    [three] = log.add(ana, "three")
    events = list(log.records)
    for who, memory, sequence in ((ben, one, 1), (ana, two, 1), (ana, three, 3)):
        log.embed(who, memory, NEW, sequence=sequence)
    vectors = log.records[len(events) :]
    for taken in itertools.combinations(range(len(events) + len(vectors)), len(vectors)):
        rest, mine = iter(events), iter(vectors)
        rows = rows_of(made, [next(mine) if at in taken else next(rest) for at in range(len(events) + len(vectors))])
        assert [(str(row.id), row.payload["data"]) for row in rows["mem0_memories"]] == [(three, "three")]
        assert len(rows["mem0_shown"]) == 1
        assert rows["mem0_unembedded"] == rows["mem0_spare_vector"] == []


@given(plan=steps, order=choices)
@settings(max_examples=150, deadline=None)
def test_in_whatever_order_the_topics_are_read_the_rows_are_the_same_in_the_end(
    plan: list[tuple[str, int, int]], order: list[int]
) -> None:
    log, made = LogMaker(TOPICS), Mem0View(ViewSettings(TOPICS))
    write(log, plan)
    records = of_view(made, log.records)
    assert rows_of(made, interleaved(records, order)) == rows_of(made, records)


@given(plan=steps, order=choices, cuts=st.lists(st.integers(0, 60), max_size=9))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_in_the_database_too(database: str, plan: list[tuple[str, int, int]], order: list[int], cuts: list[int]) -> None:
    log, made = LogMaker(TOPICS), Mem0View(ViewSettings(TOPICS))
    write(log, plan)
    records = of_view(made, log.records)
    async with Fold.of(database, made) as one, Fold.of(database, made) as other:
        await one.take(records, [c for c in cuts if c < len(records)])
        await other.take(interleaved(records, order), [c for c in cuts if c < len(records)])
        assert (await one.digest()).differing(await other.digest()) == []


class Ours:
    """Mem0's port of an embedder, with our vectors behind it."""

    def __init__(self) -> None:
        self._embedder = WordLlamaEmbedder()

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:
        return self._embedder.embed_sync([text])[0]

    def embed_batch(self, texts: Sequence[str], memory_action: str | None = None) -> list[list[float]]:
        return self._embedder.embed_sync(texts)


@contextmanager
def stock_memory(dsn: str, folder: Path) -> Iterator[Any]:
    """A ``mem0.Memory`` as its users make it, but for the embedder, on our collection; no model is ever asked."""
    unused = {"provider": "openai", "config": {"api_key": "unused"}}
    store = {"connection_string": dsn, "collection_name": "mem0_memories", "embedding_model_dims": 256}
    config = {
        "vector_store": {"provider": "pgvector", "config": store},
        "embedder": unused,
        "llm": unused,
        "history_db_path": str(folder / "history.db"),
    }
    with closing(mem0.Memory.from_config(config)) as memory:
        memory.embedding_model = Ours()
        yield memory
        memory.vector_store.connection_pool.close()


@contextmanager
def reading_role(dsn: str) -> Iterator[str]:
    """DSN for a role that may read ``mem0_memories`` and nothing else."""
    role = f"reader_{owner()[:8]}"
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(f"CREATE ROLE {role}")
        conn.execute(f"GRANT {role} TO CURRENT_USER")
        try:
            conn.execute(f"GRANT SELECT ON public.mem0_memories TO {role}")
            yield make_conninfo(dsn, options=f"-c role={role}")
        finally:
            conn.execute(f"DROP OWNED BY {role}")
            conn.execute(f"DROP ROLE {role}")


ANA = ("Ana lives in a small house in Quito", "Ana plays the violin in an orchestra", "Ana has two black cats")
BEN = ("Ben lives in a large house in Lima", "Ben plays the cello")


async def remember(store: Store) -> dict[str, list[str]]:
    """Memories of Ana and Ben with our embedder's vectors."""
    found, embedder = {}, Ours()
    for user, facts in (("ana", ANA), ("ben", BEN)):
        who = owner()
        found[user] = [who, *store.log.add(who, *facts, user_id=user)]
        for memory, fact in zip(found[user][1:], facts, strict=True):
            store.log.embed(who, memory, embedder.embed(fact))
    await store.take("mem0")
    return found


async def test_a_stock_mem0_finds_the_memories_of_its_user_and_nobody_elses(store: Store, tmp_path: Path) -> None:
    said = await remember(store)
    with reading_role(store.dsn) as dsn, stock_memory(dsn, tmp_path) as memory:
        # more often than a prepared statement needs to come
        for _ in range(7):
            found = memory.search("Where is her house?", filters={"user_id": "ana"}, threshold=0.0)["results"]
            assert found[0]["memory"] == ANA[0]
            assert {each["memory"] for each in found} == set(ANA)
        assert [each["memory"] for each in memory.search("violin", filters={"user_id": "ana"}, top_k=1)["results"]] == [ANA[1]]
        everything = memory.get_all(filters={"user_id": "ben"})["results"]
        assert {(each["id"], each["memory"]) for each in everything} == set(zip(said["ben"][1:], BEN, strict=True))
        one = memory.get(said["ana"][3])
        assert (one["memory"], one["user_id"], one["agent_id"]) == (ANA[2], "ana", "agent-1")
        assert one["hash"] == hashlib.md5(ANA[2].encode()).hexdigest()
        assert memory.get_all(filters={"user_id": "nobody"})["results"] == []
        assert len(memory.get_all(filters={"agent_id": "agent-1"})["results"]) == len(ANA) + len(BEN)
        words = memory.vector_store.keyword_search("two cats", filters={"user_id": "ana"})
        assert [each.payload["data"] for each in words] == [ANA[2]]
        assert memory.vector_store.col_info()["count"] == len(ANA) + len(BEN)

        ana, first, *_ = said["ana"]
        store.log.forget(ana, first)
        store.log.erase(said["ben"][0])
        await store.take("mem0")
        assert memory.get(first) is None
        found = memory.search("Where is the house?", filters={"user_id": "ana"}, threshold=0.0)["results"]
        assert {each["memory"] for each in found} == set(ANA[1:])
        assert memory.get_all(filters={"user_id": "ben"})["results"] == []


async def test_a_stock_mem0_with_a_role_that_reads_can_add_and_delete_nothing(store: Store, tmp_path: Path) -> None:
    said = await remember(store)
    with reading_role(store.dsn) as dsn, stock_memory(dsn, tmp_path) as memory:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            memory.add("Ana has a dog", user_id="ana", infer=False)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            memory.delete(said["ana"][1])
        assert len(memory.get_all(filters={"user_id": "ana"})["results"]) == len(ANA)
