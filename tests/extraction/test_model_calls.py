"""Calls side by side, bounded, cancelled: nothing leaks from one to another, and nothing stays behind."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from streams.extraction.build import ModelConfig, build_extractor
from streams.extraction.embedders import WordLlamaEmbedder
from streams.extraction.errors import ModelTimeout
from streams.extraction.ports import Message
from tests.extraction.parts import PRIVATE, Make, MemoriesInMemory, said, turn_of
from tests.standin.live import LiveStandin


async def test_a_whole_call_is_bounded_and_leaves_no_thread_waiting(make: Make, standin: LiveStandin) -> None:
    standin.control(overrides={PRIVATE: "stuck"})
    began = time.monotonic()
    with pytest.raises(ModelTimeout, match=r"longer than 0\.4 s"):
        await make(timeout_s=60.0, call_timeout_s=0.4).extract(turn_of(*said(f"I am a {PRIVATE}")))
    assert time.monotonic() - began < 5
    await asyncio.to_thread(standin.wait_for, "left", 1)


async def test_a_cancelled_call_lets_go_of_the_model_at_once(make: Make, standin: LiveStandin) -> None:
    standin.control(overrides={PRIVATE: "stuck"})
    task = asyncio.create_task(make(timeout_s=60.0, call_timeout_s=60.0).extract(turn_of(*said(f"I am a {PRIVATE}"))))
    await asyncio.to_thread(standin.wait_for, "stuck", 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(standin.wait_for, "left", 1)


async def test_sixty_four_owners_run_side_by_side_and_nothing_leaks_between_them(make: Make, standin: LiveStandin) -> None:
    standin.control(latency_s=0.5)
    nearest = MemoriesInMemory(**{f"owner-{n}": [f"User owns boat {n} of the fleet"] for n in range(64)})
    extractor = make(nearest, call_timeout_s=60.0, timeout_s=60.0)
    await extractor.extract(turn_of(*said("Fine weather")))
    began = time.monotonic()
    found = await asyncio.gather(
        *(extractor.extract(turn_of(Message(f"m-{n}", "user", None, f"I own boat {n}"), owner=f"owner-{n}")) for n in range(64))
    )
    took = time.monotonic() - began
    for n, extraction in enumerate(found):
        (fact,) = extraction.facts
        assert (fact.text, fact.evidence) == (f"User owns boat {n} of the fleet", (f"m-{n}",))
        assert fact.vector is not None
        assert np.isclose(np.dot(fact.vector, WordLlamaEmbedder().embed_sync([fact.text])[0]), 1.0)
    assert took < 10, f"64 calls of 0.5 s took {took:.1f} s; one after another is 32 s"
    assert standin.stats()["most_in_flight"] >= 32


def test_an_extraction_leaves_no_thread_behind_when_its_loop_ends(standin: LiveStandin) -> None:
    async def once() -> int:
        config = ModelConfig(base_url=standin.base_url, model="qwen")
        extractor = build_extractor(config, WordLlamaEmbedder(), MemoriesInMemory(), in_flight=4)
        found = await extractor.extract(turn_of(*said("I live in Valparaíso")))
        await extractor.close()
        return len(found.facts)

    before = set(threading.enumerate())
    with asyncio.Runner() as runner:
        assert runner.run(once()) == 1
    assert not [t.name for t in set(threading.enumerate()) - before if t.name.startswith("emberlog")]
