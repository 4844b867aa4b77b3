"""Real Mem0 against the real stand-in over real HTTP."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime

import numpy as np
import pytest

from ops.standin.app import MODEL
from ops.standin.recording import RecordedFact
from streams.extraction.build import ModelConfig, build_extractor
from streams.extraction.call import Call
from streams.extraction.embedders import OpenAIEmbedder, WordLlamaEmbedder
from streams.extraction.errors import ExtractionError, MalformedAnswer, ModelFailure, ModelTimeout, ModelUnavailable
from streams.extraction.extractor import Mem0Extractor
from streams.extraction.memory import with_observation_date
from streams.extraction.ports import Embedder, Message, NearestMemories
from tests.extraction.parts import MemoriesInMemory, said, turn_of
from tests.standin.live import CALM, LiveStandin, serving, turn

LIVES = "User lives in Valparaíso"
PRIVATE = "Xylophonist"  # stands in every turn that fails: must never leave in a reason or a log line


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


Make = Callable[..., Mem0Extractor]


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


async def test_a_turn_becomes_candidate_facts_with_vector_salience_and_evidence(make: Make) -> None:
    found = await make().extract(turn_of(*said("I live in Valparaíso", "Fine weather")))
    (fact,) = found.facts
    assert (fact.text, fact.salience, fact.evidence) == (LIVES, 0.9, ("msg-1",))
    assert fact.vector == tuple(WordLlamaEmbedder().embed_sync([LIVES])[0])
    assert (found.extractor, found.model, found.rules) == ("mem0", MODEL, False)
    assert found.prompt_version.startswith("mem0-2.2.1-")
    assert found.prompt_tokens > 3000
    assert found.completion_tokens > 0


async def test_evidence_is_the_whole_turn_where_the_answer_names_none(make: Make) -> None:
    (fact,) = (await make().extract(turn_of(*said("Old news", "Fine weather")))).facts
    assert fact.evidence == ("msg-1", "msg-2")


async def test_no_facts_is_an_extraction_and_not_an_error(make: Make) -> None:
    found = await make().extract(turn_of(*said("Fine weather")))
    assert (found.facts, found.failures, found.skipped_short) == ((), (), 0)


async def test_a_turn_without_text_asks_no_model(make: Make, standin: LiveStandin) -> None:
    tool = Message("msg-1", "tool", None, "result: 17")
    for messages in ((), said("   "), (tool,)):
        assert (await make().extract(turn_of(*messages))).facts == ()
    assert standin.stats()["chat_requests"] == 0


async def test_the_observation_date_is_the_turns_own_and_not_today(make: Make) -> None:
    for year in (2023, 2024):
        found = await make().extract(turn_of(*said("Old news"), at=datetime(year, 5, 8, tzinfo=UTC)))
        assert [f.text for f in found.facts] == [f"Told in {year}"]


def test_only_mem0s_own_heading_gets_the_date() -> None:
    quoted = "a\n\n## Observation Date\n1999-09-09\n\nb\n\n## Observation Date\n2030-01-01\n\n## Current Date\n2030-01-01"
    assert with_observation_date(quoted, "2023-05-08") == quoted.replace("Date\n2030", "Date\n2023-05-08x", 1).replace(
        "2023-05-08x-01-01", "2023-05-08", 1
    )
    assert with_observation_date("no heading", "2023-05-08") == "no heading"


async def test_a_fact_that_is_known_already_is_found_again_so_that_it_can_be_reheated(make: Make) -> None:
    nearest = MemoriesInMemory(**{"owner-1": [LIVES]})
    found = await make(nearest).extract(turn_of(*said("I live in Valparaíso")))
    assert [f.text for f in found.facts] == [LIVES]
    assert nearest.asked == [("owner-1", 10)]


async def test_known_memories_and_recent_messages_reach_the_prompt_and_nothing_else_does(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = make(MemoriesInMemory(**{"owner-1": ["User sings tenor"], "owner-2": ["User sings bass"]}))
    prompts: list[str] = []
    generate = extractor._generate

    def listening(call: Call, messages: list[dict[str, str]], response_format: dict[str, str] | None) -> str | None:
        prompts.append(str(messages))
        return generate(call, messages, response_format)

    monkeypatch.setattr(extractor, "_generate", listening)
    recent = said(*(f"earlier words {n}" for n in range(12)), start=100)
    picture = Message("msg-1", "user", "Ana", "Look at this", image_caption="a photo of a boat")
    await extractor.extract(turn_of(picture, recent=recent))
    await extractor.extract(turn_of(*said("Fine weather")))
    first, second = prompts
    assert "User sings tenor" in first
    assert "User sings bass" not in first
    assert "earlier words 11" in first
    assert "earlier words 1\\n" not in first, "at most 10 messages are context"
    assert "Ana: Look at this [image: a photo of a boat]" in first
    assert "ana maría" not in first + second, "ids stay out of prompts"
    assert "Look at this" not in second, "nothing of a call may be kept for the next one"
    assert "earlier words" not in second


async def test_bad_items_are_failures_short_ones_are_counted_and_the_rest_survives(make: Make) -> None:
    found = await make().extract(turn_of(*said("Bad facts")))
    assert [f.text for f in found.facts] == ["User has a dog named Luna"]
    assert [f.reason for f in found.failures] == [
        "the fact's text holds a NUL character",
        "the fact's text is longer than 8000 characters",
    ]
    assert found.skipped_short == 1


async def test_the_same_fact_twice_in_one_answer_is_one_and_tags_in_it_survive(make: Make) -> None:
    found = await make().extract(turn_of(*said("Twice")))
    assert [f.text for f in found.facts] == [LIVES, "User thinks <think>aloud</think> in tags"]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("malformed:truncated", MalformedAnswer),
        ("malformed:prose", MalformedAnswer),
        ("malformed:empty", MalformedAnswer),
        ("malformed:strings", MalformedAnswer),
        ("malformed:wrong_types", MalformedAnswer),
        ("malformed:no_memory", MalformedAnswer),
        ("error", ModelFailure),
        ("error:400", ModelFailure),
        ("error:401", ModelFailure),
        ("error:429", ModelUnavailable),
        ("error:502", ModelUnavailable),
        ("error:503", ModelUnavailable),
        ("error:504", ModelUnavailable),
        ("disconnect", ModelUnavailable),
        ("stuck", ModelTimeout),
    ],
)
async def test_every_failure_has_its_error_and_says_nothing_of_the_conversation(
    make: Make, standin: LiveStandin, fault: str, expected: type[ExtractionError], capfd: pytest.CaptureFixture[str]
) -> None:
    standin.control(overrides={PRIVATE: fault})
    logging.getLogger("mem0.memory.main").error("checked: reaches nobody")
    with pytest.raises(expected) as caught:
        await make(timeout_s=0.5).extract(turn_of(*said(f"I am a {PRIVATE}")))
    assert type(caught.value) is expected
    assert PRIVATE not in caught.value.reason
    assert (caught.value.__cause__, caught.value.__suppress_context__) == (None, True)
    assert capfd.readouterr() == ("", "")
    assert standin.stats()["chat_requests"] == 1, "retrying belongs to the caller"
    standin.control(overrides={})
    assert len((await make().extract(turn_of(*said(f"I am a {PRIVATE}")))).facts) == 2


async def test_one_bad_item_among_good_ones_counts_and_the_others_survive(make: Make, standin: LiveStandin) -> None:
    standin.control(overrides={PRIVATE: "malformed:one_bad_item"})
    found = await make().extract(turn_of(*said(f"I am a {PRIVATE}")))
    assert (len(found.facts), len(found.failures)) == (2, 2)


async def test_an_endpoint_that_is_not_there_is_an_outage(make: Make) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(ModelUnavailable):
        await make(base_url=f"http://127.0.0.1:{port}/v1").extract(turn_of(*said("Fine weather")))


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


@pytest.mark.parametrize("fault", ["error", "error:503", "stuck"])
@pytest.mark.parametrize("where", ["User plays at weddings", f"user: I am a {PRIVATE}"])
async def test_a_failed_embedding_is_raised_and_no_fact_vanishes(
    make: Make, standin: LiveStandin, fault: str, where: str
) -> None:
    standin.control(embedding_overrides={where: fault})
    embedder = OpenAIEmbedder(standin.base_url, "any", 256, timeout_s=0.5)
    expected = {"error": ModelFailure, "error:503": ModelUnavailable, "stuck": ModelTimeout}[fault]
    with pytest.raises(expected) as caught:
        await make(embedder=embedder).extract(turn_of(*said(f"I am a {PRIVATE}")))
    assert "embedding endpoint" in caught.value.reason
    assert standin.stats()["embedding_requests"] <= 2, "Mem0's one-by-one fallback must not hammer the endpoint"
    await embedder.close()


async def test_a_vector_of_the_wrong_size_is_raised_and_no_fact_vanishes(make: Make, standin: LiveStandin) -> None:
    embedder = OpenAIEmbedder(standin.base_url, "any", 1024)
    with pytest.raises(ModelFailure, match="set EMBEDDING_DIM"):
        await make(embedder=embedder).extract(turn_of(*said("I live in Valparaíso")))
    await embedder.close()


async def test_an_error_of_the_projection_reaches_the_caller_unchanged(make: Make, standin: LiveStandin) -> None:
    nearest = MemoriesInMemory()
    nearest.error = ConnectionResetError("the database is away")
    with pytest.raises(ConnectionResetError, match="the database is away"):
        await make(nearest).extract(turn_of(*said("I live in Valparaíso")))
    assert standin.stats()["chat_requests"] == 0


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


async def test_openrouter_and_openai_variables_redirect_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("VLLM_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert len((await make().extract(turn_of(*said("I live in Valparaíso")))).facts) == 1


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


def test_a_configuration_shows_no_key() -> None:
    config = ModelConfig(base_url="http://model/v1", model="qwen", api_key="sk-secret")
    assert "secret" not in f"{config!r} {config}"
