"""Embedding: the last record of a key is the vector of the newest words, or a tombstone, whatever deciders append late."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest
from aiokafka import ConsumerRecord

from schemas import codec, ids
from schemas.types import MemoryEmbedding, MemoryEvent
from schemas.vectors import Precision, unpack
from streams.agents.vectors import HEAD, embedding_key
from streams.extraction.embedders import WordLlamaEmbedder
from tests.docs.log import Appender, appender
from tests.streams.agents.bench import Bench
from tests.streams.commands import OWNER, erase, forget, remember, revise
from tests.streams.scenario import Scenario

HOME, MOVED, DOG, LAST = "User lives in Lima", "User lives in Cusco", "User has a dog", "User sings tenor"


@pytest.fixture
async def log(bench: Bench) -> AsyncIterator[Appender]:
    async with appender(bench.bootstrap, bench.topics) as made:
        yield made


class Life:
    """An owner's slices: a memory that is revised, one that is forgotten, then the erasure, and one said after all."""

    def __init__(self) -> None:
        scenario = Scenario()
        self.home = scenario.when(remember(HOME)).events
        self.dog = scenario.when(remember(DOG)).events
        self.home_id, self.dog_id = scenario.memory_id(HOME), scenario.memory_id(DOG)
        self.moved = scenario.when(revise(self.home_id, MOVED)).events
        self.dog_gone = scenario.when(forget(self.dog_id)).events
        self.erased = scenario.when(erase()).events
        self.last = scenario.when(remember(LAST)).events
        self.last_id = scenario.memory_id(LAST)


async def _append(log: Appender, *slices: tuple[MemoryEvent, ...]) -> None:
    for events in slices:
        await log.append(events)


async def _embedded_up_to(bench: Bench, memory_id: str) -> dict[bytes, list[ConsumerRecord]]:
    """Records by key, oldest first, once ``memory_id`` is embedded: an owner's events are handled in order."""
    wanted = embedding_key(memory_id, HEAD, bench.embedder.name)
    found = await bench.until(bench.topics.embeddings, OWNER, lambda records: any(r.key == wanted for r in records))
    by_key: dict[bytes, list[ConsumerRecord]] = {}
    for record in found:
        by_key.setdefault(record.key, []).append(record)
    return by_key


def _of(bench: Bench, found: dict[bytes, list[ConsumerRecord]], memory_id: str) -> list[MemoryEmbedding | None]:
    records = found[embedding_key(memory_id, HEAD, bench.embedder.name)]
    return [codec.decode_as(MemoryEmbedding, r.value) if r.value else None for r in records]


def _is_of(record: MemoryEmbedding | None, text: str) -> bool:
    assert record is not None
    (vector,) = WordLlamaEmbedder().embed_sync([text])
    return record.vector.raw == np.asarray(vector, dtype="<f2").tobytes()


@pytest.mark.parametrize(("precision", "size"), [("fp16", 2), ("fp32", 4)])
async def test_a_vector_has_the_precision_that_is_set(bench: Bench, log: Appender, precision: Precision, size: int) -> None:
    life = Life()
    async with bench.worker("embed", precision=precision):
        await _append(log, life.home)
        found = await _embedded_up_to(bench, life.home_id)
    (record,) = _of(bench, found, life.home_id)
    assert record is not None
    (vector,) = WordLlamaEmbedder().embed_sync([HOME])
    assert (record.dimensions, len(record.vector.raw)) == (256, 256 * size)
    error = np.abs(unpack(record.vector.raw, 256) - np.asarray(vector))
    assert (error.max() == 0) == (precision == "fp32")
    assert error.max() < 2**-11


async def test_a_revision_is_embedded_anew_and_a_forgotten_memory_becomes_a_tombstone(bench: Bench, log: Appender) -> None:
    life = Life()
    async with bench.worker("embed"):
        await _append(log, life.home, life.dog, life.moved, life.dog_gone, life.erased, life.last)
        found = await _embedded_up_to(bench, life.last_id)
    first, second = _of(bench, found, life.home_id)
    assert _is_of(first, HOME)
    assert _is_of(second, MOVED)
    assert [r.sequence for r in (first, second) if r] == [1, 3]
    vector, gone = _of(bench, found, life.dog_id)
    assert vector is not None
    assert gone is None
    headers = dict(found[embedding_key(life.home_id, HEAD, bench.embedder.name)][1].headers)
    assert headers["ce_id"].decode() == ids.event_id(OWNER, 3)
    assert headers["ce_subject"].decode() == OWNER


async def test_what_a_decider_repeats_late_puts_no_older_words_in_the_place_of_newer_ones(bench: Bench, log: Appender) -> None:
    life = Life()
    async with bench.worker("embed"):
        await _append(log, life.home, life.dog, life.moved, life.dog_gone, life.home, life.dog, life.erased, life.last)
        found = await _embedded_up_to(bench, life.last_id)
    assert _is_of(_of(bench, found, life.home_id)[-1], MOVED)
    assert _of(bench, found, life.dog_id)[-1] is None


async def test_a_worker_that_comes_later_knows_what_was_embedded_before_it(bench: Bench, log: Appender) -> None:
    life = Life()
    async with bench.worker("embed"):
        await _append(log, life.home, life.dog, life.moved)
        await bench.until_committed("embed", bench.topics.events, OWNER)
    await _append(log, life.home, life.dog_gone, life.erased, life.last)
    async with bench.worker("embed"):
        found = await _embedded_up_to(bench, life.last_id)
    assert _is_of(_of(bench, found, life.home_id)[-1], MOVED)


async def test_a_log_that_is_embedded_again_ends_with_the_newest_words_again(bench: Bench, log: Appender) -> None:
    life = Life()
    await _append(log, life.home, life.dog, life.moved, life.dog_gone, life.erased, life.last)
    for group in ("first", "second"):
        async with bench.worker("embed", group_prefix=group):
            await bench.until_committed("embed", bench.topics.events, OWNER, group_prefix=group)
    found = await _embedded_up_to(bench, life.last_id)
    assert [r and r.sequence for r in _of(bench, found, life.home_id)] == [1, 3, 1, 3]
    assert [r and r.sequence for r in _of(bench, found, life.dog_id)] == [2, None, 2, None]
