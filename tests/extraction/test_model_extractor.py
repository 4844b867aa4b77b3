"""What real Mem0 makes of a turn, with the real stand-in over real HTTP."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ops.standin.app import MODEL
from streams.extraction.build import ModelConfig
from streams.extraction.call import Call
from streams.extraction.embedders import WordLlamaEmbedder
from streams.extraction.memory import with_observation_date
from streams.extraction.ports import Message
from tests.extraction.parts import LIVES, Make, MemoriesInMemory, said, turn_of
from tests.standin.live import LiveStandin


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


async def test_the_same_fact_twice_in_one_answer_is_one_and_tags_in_it_survive(make: Make) -> None:
    found = await make().extract(turn_of(*said("Twice")))
    assert [f.text for f in found.facts] == [LIVES, "User thinks <think>aloud</think> in tags"]


async def test_openrouter_and_openai_variables_redirect_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("VLLM_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert len((await make().extract(turn_of(*said("I live in Valparaíso")))).facts) == 1


def test_a_configuration_shows_no_key() -> None:
    config = ModelConfig(base_url="http://model/v1", model="qwen", api_key="sk-secret")
    assert "secret" not in f"{config!r} {config}"
