"""Vectors: the newest of each memory, none of what is gone, in whatever order the two topics are read."""

from __future__ import annotations

import itertools

import pytest

from projections.intake import Reader
from projections.view import View
from schemas import ids
from schemas.sealed import Sealed
from schemas.types import MemoryEmbedding
from tests.projections.harness import Fold, owner
from tests.projections.logs import LogMaker

VECTORS = "vec::text, sequence FROM {s}.memory_embedding ORDER BY sequence"
OLD, NEW = [1.0, 0.0], [0.0, 1.0]


@pytest.fixture
def embeddings(views: dict[str, View]) -> View:
    return views["embeddings"]


async def test_a_vector_that_comes_after_its_memory_was_forgotten_stays_out(
    database: str, views: dict[str, View], log: LogMaker
) -> None:
    ana = owner()
    [memory] = log.add(ana, "Ana's secret")
    log.forget(ana, memory)
    log.unembed(ana, memory)
    log.embed(ana, memory, [1.0, 0.0])
    async with Fold.of(database, views["embeddings"]) as fold:
        await fold.take(log.records, [len(log.records) - 1])
        assert await fold.rows("count(*) FROM {s}.memory_embedding") == [(0,)]


async def test_what_compaction_left_of_the_embeddings_gives_the_same_rows(
    database: str, views: dict[str, View], log: LogMaker
) -> None:
    ana, view = owner(), views["embeddings"]
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
    database: str, embeddings: View, log: LogMaker, cut: list[int]
) -> None:
    ana = owner()
    [memory] = log.add(ana, "Ana lives in Quito")
    log.embed(ana, memory, OLD, sequence=1)
    log.revise(ana, memory, "Ana lives in Lima")
    log.embed(ana, memory, NEW, sequence=2)
    log.embed(ana, memory, OLD, sequence=1)  # an embedder that was stopped and wakes up
    async with Fold.of(database, embeddings) as fold:
        await fold.take(log.records, cut)
        assert await fold.rows(VECTORS) == [("[0,1]", 2)]


async def test_of_two_vectors_of_one_event_the_last_counts(database: str, embeddings: View, log: LogMaker) -> None:
    ana = owner()
    [memory] = log.add(ana, "Ana lives in Quito")
    log.embed(ana, memory, OLD, sequence=1)
    log.embed(ana, memory, NEW, sequence=1)
    async with Fold.of(database, embeddings) as fold:
        await fold.take(log.records, [2])
        assert await fold.rows(VECTORS) == [("[0,1]", 1)]


async def test_an_erased_owner_keeps_no_vector_and_gets_none_of_before_in_whatever_order_the_topics_are_read(
    database: str, embeddings: View, log: LogMaker
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
            async with Fold.of(database, embeddings) as fold:
                await fold.take(records, range(1, len(records)) if one_by_one else ())
                rows = await fold.rows("memory_id::text, owner::text FROM {s}.memory_embedding")
                assert sorted(rows) == sorted([(fresh, ana), (bens, ben)])


async def test_in_every_order_of_two_topics_the_same_vectors_stay(database: str, embeddings: View, log: LogMaker) -> None:
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
        async with Fold.of(database, embeddings) as fold:
            await fold.take(records, [len(records) // 2])
            assert await fold.rows("memory_id::text FROM {s}.memory_embedding") == [(three,)], taken


async def test_a_vector_that_cannot_be_opened_is_noted(database: str, embeddings: View, log: LogMaker) -> None:
    ana = owner()
    [memory] = log.add(ana, "one")
    sealed = MemoryEmbedding(memory, ana, "semantic", "m", 2, Sealed(b"12345678", "a-cipher", "a-key"), 1)
    log.plain(log.topics.embeddings, ana, f"{memory}/semantic/m".encode(), sealed)
    async with Fold.of(database, embeddings) as fold:
        await fold.take(log.records)
        [(reason,)] = await fold.rows("reason FROM {s}.view_problem")
        assert "has not been opened" in reason


async def test_a_vector_in_float16_is_the_same_row_as_its_numbers_in_float32(
    database: str, embeddings: View, log: LogMaker
) -> None:
    ana = owner()
    one, two = log.add(ana, "one", "two")
    log.embed(ana, one, [0.6, -0.8], sequence=1, precision="fp16")
    log.embed(ana, two, [0.60009765625, -0.7998046875], sequence=2, precision="fp32")
    async with Fold.of(database, embeddings) as fold:
        await fold.take(log.records)
        assert await fold.rows("count(*) FROM {s}.view_problem") == [(0,)]
        [(half, one_count), (full, two_count)] = await fold.rows(
            "vec::text, vector_dims(vec) FROM {s}.memory_embedding ORDER BY sequence"
        )
        assert (half, one_count, two_count) == (full, 2, 2)


@pytest.mark.parametrize("data", [b"12", b"123456", b"1234567890", b"\0\x7c\0\0"])
async def test_a_vector_of_another_length_than_its_dimensions_or_not_finite_is_noted(
    database: str, embeddings: View, log: LogMaker, data: bytes
) -> None:
    ana = owner()
    [memory] = log.add(ana, "one")
    record = MemoryEmbedding(memory, ana, "semantic", "m", 2, Sealed(data), 1)
    log.plain(log.topics.embeddings, ana, f"{memory}/semantic/m".encode(), record)
    async with Fold.of(database, embeddings) as fold:
        await fold.take(log.records)
        [(reason,)] = await fold.rows("reason FROM {s}.view_problem")
        assert reason.startswith("BrokenRecord: the vector ")
        assert await fold.rows("count(*) FROM {s}.memory_embedding") == [(0,)]


async def test_vectors_of_messages_are_passed_over_unopened_and_change_nothing(
    database: str, embeddings: View, log: LogMaker
) -> None:
    ana = owner()
    [memory] = log.add(ana, "one")
    log.embed(ana, memory, OLD)
    for place, vector in enumerate((Sealed(b"\0\0\0\x3c"), Sealed(b"closed", "a-cipher", "a-key"), Sealed(b"", "destroyed"))):
        log.embed_message(ana, ids.message_reference(ana, f"m-{place}"), vector)
    without, of_messages = log.records[:2], log.records[2:]
    assert Reader(embeddings.sources).take(of_messages).candidates == [], "nothing to open"
    async with Fold.of(database, embeddings) as with_them, Fold.of(database, embeddings) as plain:
        await with_them.take(log.records, range(1, len(log.records)))
        await plain.take(without)
        assert await with_them.rows("count(*) FROM {s}.view_problem") == [(0,)]
        assert await with_them.digest() == await plain.digest()
        [position] = [at for (topic, _), at in with_them.applier.positions.items() if topic == log.topics.embeddings and at]
        assert position == 4
