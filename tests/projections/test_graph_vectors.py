"""Vectors of the graph: the newest of each memory, none of what is gone, in whatever order the topics are read."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from projections import generation, recall_sql
from projections.applier import Applier
from projections.folding import AT_ONCE
from projections.view import View, ViewSettings
from projections.views.graph import GraphView
from schemas.sealed import Sealed
from schemas.types import MemoryEmbedding
from tests.projections.graph_logs import GraphLog, rows_of
from tests.projections.harness import Fold, owner
from tests.projections.logs import HEAD, MODEL, LogMaker
from tests.projections.store import Store

VECTORS = "vec::text, sequence FROM {s}.memory_embedding ORDER BY sequence"
OLD, NEW = [1.0, 0.0], [0.0, 1.0]


@pytest.fixture
def graph(views: dict[str, View]) -> View:
    return views["graph"]


async def test_a_vector_that_comes_after_its_memory_was_forgotten_stays_out(
    database: str, views: dict[str, View], log: LogMaker
) -> None:
    ana = owner()
    [memory] = log.add(ana, "Ana's secret")
    log.forget(ana, memory)
    log.unembed(ana, memory)
    log.embed(ana, memory, [1.0, 0.0])
    async with Fold.of(database, views["graph"]) as fold:
        await fold.take(log.records, [len(log.records) - 1])
        assert await fold.rows("count(*) FROM {s}.memory_embedding") == [(0,)]


async def test_what_compaction_left_of_the_embeddings_gives_the_same_rows(
    database: str, views: dict[str, View], log: LogMaker
) -> None:
    ana, view = owner(), views["graph"]
    one, two, three = log.add(ana, "one", "two", "three")
    for memory in (one, two, three, one):
        log.embed(ana, memory, [1.0, 0.0])
    log.embed(ana, two, [0.0, 1.0])
    log.unembed(ana, three)
    log.embed(ana, one, [0.6, 0.8])
    last = {r.key: r for r in log.records if r.topic == log.topics.embeddings}
    compacted = [r for r in log.records if r.topic != log.topics.embeddings or last[r.key] is r]
    async with Fold.of(database, view) as live, Fold.of(database, view) as rebuilt:
        await live.take(log.records, [4, 6])
        await rebuilt.take(compacted)
        assert await live.digest() == await rebuilt.digest()
        assert await live.rows("count(*) FROM {s}.memory_embedding") == [(2,)]


@pytest.mark.parametrize("cut", [[], [4]])
async def test_of_two_vectors_of_a_memory_the_newer_counts_however_late_the_older_comes(
    database: str, graph: View, log: LogMaker, cut: list[int]
) -> None:
    ana = owner()
    [memory] = log.add(ana, "Ana lives in Quito")
    log.embed(ana, memory, OLD, sequence=1)
    log.revise(ana, memory, "Ana lives in Lima")
    log.embed(ana, memory, NEW, sequence=2)
    log.embed(ana, memory, OLD, sequence=1)  # an embedder that was stopped and wakes up
    async with Fold.of(database, graph) as fold:
        await fold.take(log.records, cut)
        assert await fold.rows(VECTORS) == [("[0,1]", 2)]


async def test_of_two_vectors_of_one_event_the_last_counts(database: str, graph: View, log: LogMaker) -> None:
    ana = owner()
    [memory] = log.add(ana, "Ana lives in Quito")
    log.embed(ana, memory, OLD, sequence=1)
    log.embed(ana, memory, NEW, sequence=1)
    async with Fold.of(database, graph) as fold:
        await fold.take(log.records, [2])
        assert await fold.rows(VECTORS) == [("[0,1]", 1)]


async def test_an_erased_owner_keeps_no_vector_and_gets_none_of_before_in_whatever_order_the_topics_are_read(
    database: str, graph: View, log: LogMaker
) -> None:
    ana, ben = owner(), owner()
    [gone] = log.add(ana, "Ana's secret")
    log.embed(ana, gone, OLD, sequence=1)
    log.erase(ana)
    [fresh] = log.add(ana, "said after the erasure")
    log.embed(ana, fresh, NEW, sequence=3)
    log.embed(ana, gone, OLD, sequence=1)  # a slow embedder
    [bens] = log.add(ben, "Ben's")
    log.embed(ben, bens, OLD, sequence=1)
    events = [r for r in log.records if r.topic == log.topics.events]
    vectors = [r for r in log.records if r.topic == log.topics.embeddings]
    for records in (log.records, [*vectors, *events], [*events, *vectors]):
        for one_by_one in (False, True):
            async with Fold.of(database, graph) as fold:
                await fold.take(records, range(1, len(records)) if one_by_one else ())
                rows = await fold.rows("trace_id::text, owner::text FROM {s}.memory_embedding")
                assert sorted(rows) == sorted([(fresh, ana), (bens, ben)])


def test_in_every_order_of_two_topics_the_same_vectors_stay(graph: View, log: LogMaker) -> None:
    assert isinstance(graph, GraphView)
    ana = owner()
    one, two = log.add(ana, "one", "two")
    log.forget(ana, one)
    log.erase(ana)
    [three] = log.add(ana, "three")
    for memory, sequence in ((one, 1), (two, 2), (three, 5)):
        log.embed(ana, memory, NEW, sequence=sequence)
    events = [r for r in log.records if r.topic == log.topics.events]
    vectors = [r for r in log.records if r.topic == log.topics.embeddings]
    for taken in itertools.combinations(range(len(events) + len(vectors)), len(vectors)):
        rest, mine = iter(events), iter(vectors)
        records = [next(mine) if place in taken else next(rest) for place in range(len(events) + len(vectors))]
        found = rows_of(graph, records)
        assert [str(row[0]) for row in found["memory_embedding"]] == [three], taken
        assert not found["waiting_embedding"]


async def test_a_vector_that_cannot_be_opened_is_noted(database: str, graph: View, log: LogMaker) -> None:
    ana = owner()
    [memory] = log.add(ana, "one")
    sealed = MemoryEmbedding(memory, ana, "semantic", "m", 2, Sealed(b"12345678", "a-cipher", "a-key"), 1)
    log.plain(log.topics.embeddings, ana, f"{memory}/semantic/m".encode(), sealed)
    async with Fold.of(database, graph) as fold:
        await fold.take(log.records)
        [(reason,)] = await fold.rows("reason FROM {s}.view_problem")
        assert "has not been opened" in reason


async def test_a_vector_in_float16_is_the_same_row_as_its_numbers_in_float32(database: str, graph: View, log: LogMaker) -> None:
    ana = owner()
    one, two = log.add(ana, "one", "two")
    log.embed(ana, one, [0.6, -0.8], sequence=1, precision="fp16")
    log.embed(ana, two, [0.60009765625, -0.7998046875], sequence=2, precision="fp32")
    async with Fold.of(database, graph) as fold:
        await fold.take(log.records)
        assert await fold.rows("count(*) FROM {s}.view_problem") == [(0,)]
        [(half, one_count), (full, two_count)] = await fold.rows(
            "vec::text, vector_dims(vec) FROM {s}.memory_embedding ORDER BY sequence"
        )
        assert (half, one_count, two_count) == (full, 2, 2)


@pytest.mark.parametrize("data", [b"12", b"123456", b"1234567890", b"\0\x7c\0\0"])
async def test_a_vector_of_another_length_than_its_dimensions_or_not_finite_is_noted(
    database: str, graph: View, log: LogMaker, data: bytes
) -> None:
    ana = owner()
    [memory] = log.add(ana, "one")
    record = MemoryEmbedding(memory, ana, "semantic", "m", 2, Sealed(data), 1)
    log.plain(log.topics.embeddings, ana, f"{memory}/semantic/m".encode(), record)
    async with Fold.of(database, graph) as fold:
        await fold.take(log.records)
        [(reason,)] = await fold.rows("reason FROM {s}.view_problem")
        assert reason.startswith("BrokenRecord: the vector ")
        assert await fold.rows("count(*) FROM {s}.memory_embedding") == [(0,)]


async def test_a_vector_waits_for_its_trace_and_has_its_time_kind_and_tier(database: str, graph: View, log: LogMaker) -> None:
    ana = owner()
    [memory] = log.add(ana, "one")
    log.downshift(ana, memory)
    log.embed(ana, memory, OLD, sequence=1)
    events = [r for r in log.records if r.topic == log.topics.events]
    vectors = [r for r in log.records if r.topic == log.topics.embeddings]
    async with Fold.of(database, graph) as fold:
        await fold.take(vectors)
        assert await fold.rows("count(*) FROM {s}.memory_embedding") == [(0,)]
        assert await fold.rows("trace_id::text, kind FROM {s}.waiting_embedding") == [(memory, "memory")]
        await fold.take(events)
        assert await fold.rows("count(*) FROM {s}.waiting_embedding") == [(0,)]
        [(kind, tier, is_its_time)] = await fold.rows(
            "e.kind, e.tier, e.created_at = t.created_at FROM {s}.memory_embedding e JOIN {s}.memory_trace t ON t.id = trace_id"
        )
        assert (kind, tier, is_its_time) == ("memory", "warm", True)


@pytest.mark.parametrize("late", [False, True])
async def test_a_dropped_head_has_no_vector_until_the_memory_says_something_else(database: str, late: bool) -> None:
    log, ana = GraphLog(), owner()
    memory = log.learn(ana, "one")
    for head in ("entity", "semantic"):
        log.embed_head(ana, memory, head, 1)
    log.cool(ana, memory, "warm", "entity")
    log.embed_head(ana, memory, "situation", 1)
    view = GraphView(ViewSettings(log.topics))
    records = sorted(log.records, key=lambda r: (r.topic == log.topics.embeddings) == late)
    async with Fold.of(database, view) as fold:
        await fold.take(records, [1, 2, 3])
        heads = "head, tier FROM {s}.memory_embedding ORDER BY 1"
        assert await fold.rows(heads) == [("semantic", "warm"), ("situation", "warm")]
        log.reword(ana, memory, "other words")
        log.embed_head(ana, memory, "entity", 3)
        await fold.take(log.records[len(records) :])
        assert await fold.rows(heads) == [("entity", "warm"), ("semantic", "warm"), ("situation", "warm")]


async def test_vectors_are_of_the_precision_that_is_set_and_a_table_that_has_another_takes_them_too(
    database: str, log: LogMaker
) -> None:
    ana, settings = owner(), ViewSettings(log.topics)
    half, full = GraphView(settings), GraphView(replace(settings, embedding_precision="fp32"))
    for memory in log.add(ana, *[f"fact {n}" for n in range(AT_ONCE)]):
        log.embed(ana, memory, [0.1, 0.9])
    for view, type, shown in ((half, "halfvec", "[0.099975586,0.89990234]"), (full, "vector", "[0.1,0.9]")):
        async with Fold.of(database, view) as fold:
            await fold.take(log.records)
            found = await fold.rows("DISTINCT pg_typeof(vec)::text, vec::text, count(*) FROM {s}.memory_embedding GROUP BY 1, 2")
            assert found == [(type, shown, AT_ONCE)]
    async with Fold.of(database, full) as fold:
        # the setting was changed and the tables not rebuilt: many rows by COPY, one by a statement
        await fold.take(log.records[:-1])
        fold.view = half
        await fold.restart()
        await fold.take(log.records[-1:])
        assert await fold.rows("count(*) FROM {s}.memory_embedding") == [(AT_ONCE,)]
    async with Fold.of(database, half) as fold:
        fold.view = full
        await fold.restart()
        await fold.take(log.records)
        assert await fold.rows("count(*) FROM {s}.memory_embedding WHERE pg_typeof(vec)::text = 'halfvec'") == [(AT_ONCE,)]


async def test_a_vector_too_large_for_float16_is_noted(database: str, graph: View, log: LogMaker) -> None:
    ana = owner()
    [memory] = log.add(ana, "one")
    log.embed(ana, memory, [1.0, 70_000.0])
    async with Fold.of(database, graph) as fold:
        await fold.take(log.records)
        [(reason,)] = await fold.rows("reason FROM {s}.view_problem")
        assert "fp16" in reason


async def test_a_database_without_halfvec_has_vector_instead(fresh_database: str, log: LogMaker) -> None:
    view, ana = GraphView(ViewSettings(log.topics, embedding_dim=2)), owner()
    [memory] = log.add(ana, "one")
    log.embed(ana, memory, [0.6, 0.8])
    async with await generation.connect(fresh_database) as conn:
        await conn.execute("ALTER TYPE halfvec RENAME TO not_there")
        await generation.install(fresh_database, [view])
        live = await generation.live(conn, "graph")
        applier = Applier(view, live.schema, conn)
        await applier.claim()
        await applier.apply(log.records)
        rows = await (await conn.execute("SELECT pg_typeof(vec)::text, vec::text FROM memory_embedding")).fetchall()
        assert rows == [("vector", "[0.60009766,0.7998047]")]


async def test_recall_inside_an_owner_never_uses_the_index_of_the_hot_tier(store: Store) -> None:
    """At any price: sequential scans and sorts are switched off, so that the planner takes the index wherever it can."""
    ana = owner()
    [memory] = store.log.add(ana, "one")
    store.log.embed(ana, memory, [1.0] + [0.0] * 767)
    await store.take()
    vector = str([1.0] + [0.0] * 767)
    named = {
        "owner": ana, "text": "one", "k": 5, "limit": 5, "vector": vector, "dimensions": 768, "head": HEAD, "model": MODEL,
    }  # fmt: skip
    async with await generation.connect(store.dsn) as conn:
        await conn.execute("SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off")

        async def plan(query: str) -> str:
            return "\n".join(row[0] for row in await (await conn.execute(b"EXPLAIN " + query.encode(), named)).fetchall())

        hot = "SELECT trace_id FROM memory_embedding WHERE tier = 'hot' AND dimensions = 768 AND created_at >= '2100-01-01' "
        nearest = "ORDER BY vec::halfvec(768) <=> %(vector)s::halfvec(768) LIMIT 5"
        assert "using memory_embedding_hot_768_" in await plan(hot + nearest)
        for query in (recall_sql.SEARCH, recall_sql.NEAREST):
            assert "_hot_" not in await plan(query)
