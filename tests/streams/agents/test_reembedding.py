"""Another embedder's vectors beside the live ones: from the log alone, resumable, and the old ones dropped afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from schemas import codec
from schemas.types import MemoryEmbedding
from schemas.vectors import pack
from streams.agents.vectors import HEAD, embedding_key
from streams.config import WorkerConfig
from streams.extraction.embedders import WordLlamaEmbedder
from streams.extraction.errors import ModelFailure
from streams.reembedding import Counts, apart_of, drop, embed_again, vectors_by_model
from tests.docs.log import Appender, appender
from tests.streams.agents.bench import Bench
from tests.streams.agents.test_embed import HOME, LAST, MOVED, Life
from tests.streams.agents.test_embed import _append as append
from tests.streams.commands import OWNER, forget, remember
from tests.streams.scenario import Scenario

OTHER = "another/model"


class OtherEmbedder(WordLlamaEmbedder):
    """The same numbers the other way round, under another name; ``texts`` are those it was asked for."""

    name = OTHER

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.stuck_at: str | None = None
        self.is_stuck = asyncio.Event()

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        if self.stuck_at in texts:
            self.is_stuck.set()
            await asyncio.Event().wait()
        self.texts += texts
        return [vector[::-1] for vector in self.embed_sync(texts)]


@pytest.fixture
async def log(bench: Bench) -> AsyncIterator[Appender]:
    async with appender(bench.bootstrap, bench.topics) as made:
        yield made


def beside(bench: Bench, embedder: OtherEmbedder) -> WorkerConfig:
    return replace(bench.config("embed"), embedder=embedder, apart=apart_of(embedder.name))


async def newest(bench: Bench, memory_id: str, model: str) -> MemoryEmbedding | None:
    key = embedding_key(memory_id, HEAD, model)
    values = [r.value for r in await bench.records(bench.topics.embeddings, OWNER) if r.key == key]
    return codec.decode_as(MemoryEmbedding, values[-1]) if values and values[-1] else None


async def test_another_models_vectors_stand_beside_those_that_are_there(bench: Bench, log: Appender) -> None:
    life = Life()
    await append(log, life.home, life.dog, life.moved, life.dog_gone)
    async with bench.worker("embed"):
        await bench.until_committed("embed", bench.topics.events, OWNER)
    before = await newest(bench, life.home_id, bench.embedder.name)
    seen: list[tuple[int, int]] = []
    assert await embed_again(beside(bench, OtherEmbedder()), lambda done, total: seen.append((done, total))) == 4
    assert seen[-1] == (4, 4)
    assert before == await newest(bench, life.home_id, bench.embedder.name)
    other = await newest(bench, life.home_id, OTHER)
    assert other is not None
    [expected] = await OtherEmbedder().embed([MOVED])
    assert other.sequence == 3
    assert (other.model, other.dimensions) == (OTHER, 256)
    assert other.vector.raw == pack(expected, "fp16")
    assert await newest(bench, life.dog_id, OTHER) is None, "it is forgotten"
    found = await vectors_by_model(bench.bootstrap, bench.topics)
    assert found == {OTHER: Counts(memories=1), bench.embedder.name: Counts(memories=1)}


@pytest.mark.slow
async def test_what_came_since_is_all_that_the_next_call_embeds(bench: Bench, log: Appender) -> None:
    scenario, embedder = Scenario(), OtherEmbedder()
    await append(log, scenario.when(remember(HOME)).events)
    assert await embed_again(beside(bench, embedder)) == 1
    assert await embed_again(beside(bench, embedder)) == 0
    await append(log, scenario.when(remember(LAST)).events)
    assert await embed_again(beside(bench, embedder)) == 1
    assert embedder.texts == [HOME, LAST]


async def test_what_was_cut_off_goes_on_and_leaves_nothing_out(bench: Bench, log: Appender) -> None:
    scenario, embedder = Scenario(), OtherEmbedder()
    texts = [f"User likes number {i}" for i in range(30)]
    for text in texts:
        await append(log, scenario.when(remember(text)).events)
    embedder.stuck_at = texts[20]
    running = asyncio.create_task(embed_again(beside(bench, embedder)))
    async with asyncio.timeout(60):
        await embedder.is_stuck.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert texts[20] not in embedder.texts
    embedder.stuck_at = None
    await embed_again(beside(bench, embedder))
    assert set(embedder.texts) == set(texts)
    assert (await vectors_by_model(bench.bootstrap, bench.topics))[OTHER].memories == 30


@pytest.mark.slow
async def test_dropping_a_model_takes_its_vectors_and_no_others(bench: Bench, log: Appender) -> None:
    scenario = Scenario()
    await append(log, scenario.when(remember(HOME)).events, scenario.when(remember(LAST)).events)
    async with bench.worker("embed"):
        await bench.until_committed("embed", bench.topics.events, OWNER)
    await embed_again(beside(bench, OtherEmbedder()))
    assert await drop(bench.bootstrap, bench.topics, bench.embedder.name) == 2
    assert await vectors_by_model(bench.bootstrap, bench.topics) == {OTHER: Counts(memories=2)}
    assert await drop(bench.bootstrap, bench.topics, bench.embedder.name) == 0
    gone = next(r for r in await bench.records(bench.topics.embeddings, OWNER) if r.value is None)
    assert dict(gone.headers)["ce_subject"] == OWNER.encode()


async def test_a_text_that_the_other_model_refuses_is_parked_apart_and_holds_no_live_vector_back(
    bench: Bench, log: Appender
) -> None:
    scenario, memory = Scenario(), "User is refused"

    class Refusing(OtherEmbedder):
        async def embed(self, texts: Sequence[str]) -> list[list[float]]:
            if memory in texts:
                raise ModelFailure("no")
            return await super().embed(texts)

    await append(log, scenario.when(remember(memory)).events)
    config = replace(beside(bench, Refusing()), attempts=1)
    await embed_again(config)
    await append(log, scenario.when(forget(scenario.memory_id(memory))).events, scenario.when(remember(LAST)).events)
    async with bench.worker("embed"):
        await bench.until_committed("embed", bench.topics.events, OWNER)
    assert await newest(bench, scenario.memory_id(LAST), bench.embedder.name) is not None
