"""A real stand-in over real HTTP, and extractors that ask it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from ops.standin.recording import RecordedFact
from streams.extraction.build import ModelConfig, build_extractor
from streams.extraction.embedders import WordLlamaEmbedder
from streams.extraction.extractor import Mem0Extractor
from streams.extraction.ports import Embedder, NearestMemories
from tests.extraction.parts import LIVES, PRIVATE, Make, MemoriesInMemory
from tests.standin.live import CALM, LiveStandin, serving, turn


@pytest.fixture(scope="module")
def served() -> Iterator[LiveStandin]:
    with serving(
        turn("I live in Valparaíso", RecordedFact(LIVES, 0.9, ("msg-1", "made-up"))),
        turn("Fine weather"),
        turn("Old news", "Told in 2023", date="2023-05-08"),
        turn("Old news", "Told in 2024", date="2024-05-08"),
        turn("Bad facts", "a NUL\x00 in a fact", "x" * 9000, "short", "User has a dog named Luna"),
        turn("Twice", LIVES, LIVES, "User thinks <think>aloud</think> in tags"),
        turn(f"I am a {PRIVATE}", f"User is a {PRIVATE}", "User plays at weddings"),
        *(turn(f"I own boat {n}", f"User owns boat {n} of the fleet") for n in range(64)),
    ) as standin:
        yield standin


@pytest.fixture
def standin(served: LiveStandin) -> LiveStandin:
    served.control(**CALM)
    return served


@pytest.fixture
async def make(standin: LiveStandin) -> AsyncIterator[Make]:
    made: list[Mem0Extractor] = []

    def build(
        nearest: NearestMemories | None = None,
        embedder: Embedder | None = None,
        *,
        base_url: str = standin.base_url,
        timeout_s: float = 5.0,
        call_timeout_s: float = 10.0,
    ) -> Mem0Extractor:
        config = ModelConfig(base_url=base_url, model="qwen", timeout_s=timeout_s, call_timeout_s=call_timeout_s)
        made.append(build_extractor(config, embedder or WordLlamaEmbedder(), nearest or MemoriesInMemory()))
        return made[-1]

    yield build
    for extractor in made:
        await extractor.close()
