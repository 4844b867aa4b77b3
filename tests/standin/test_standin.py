from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest

from ops.standin.app import MODEL
from ops.standin.recording import RecordedFact, RecordingError, asked_by, load_recording, read_recording, save_recording
from streams.extraction.endpoint import async_client
from tests.standin.live import CALM, LiveStandin, serving, turn

PROMPT = (
    "## Summary\n\n\n## Last k Messages\n{recent}\n\n## Existing Memories\n[]\n\n## New Messages\n{new}\n\n"
    "## Observation Date\n{date}\n\n## Current Date\n2026-01-01\n\n# Output:"
)


@pytest.fixture(scope="module")
def served() -> Iterator[LiveStandin]:
    with serving(
        turn("I live in Valparaíso", RecordedFact("User lives in Valparaíso", 0.9, ("m-1", "m-2"))),
        turn("Happy birthday!", "Birthday in January", date="2023-01-02"),
        turn("Happy birthday!", "Birthday in March", date="2023-03-04"),
        turn("I am stuck here", "User was stuck"),
        turn("two\nlines", "A fact of two lines"),
    ) as standin:
        yield standin


@pytest.fixture
def standin(served: LiveStandin) -> LiveStandin:
    served.control(**CALM)
    return served


@pytest.fixture
async def client(standin: LiveStandin) -> AsyncIterator[openai.AsyncOpenAI]:
    client = async_client(standin.base_url, None, 5.0)
    yield client
    await client.close()


async def ask(client: openai.AsyncOpenAI, new: str, date: str = "2023-05-08", recent: str = "") -> str:
    prompt = PROMPT.format(new=new, date=date, recent=recent)
    answer = await client.chat.completions.create(model="any", messages=[{"role": "user", "content": prompt}])
    assert answer.model == MODEL
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 5
    return answer.choices[0].message.content or ""


async def test_a_recorded_turn_is_answered_with_its_facts_salience_and_evidence(client: openai.AsyncOpenAI) -> None:
    answer = await ask(client, "user: I  live in\nValparaíso\n")
    assert '"salience":0.9' in answer
    assert '"evidence":["m-1","m-2"]' in answer
    assert "User lives in Valparaíso" in answer


async def test_speaker_and_picture_around_a_recorded_text_do_not_hide_it(client: openai.AsyncOpenAI) -> None:
    assert "Valparaíso" in await ask(client, "assistant: Ana: I live in Valparaíso [image: a photo of the sea]\n")


async def test_every_message_of_a_turn_is_looked_up(client: openai.AsyncOpenAI) -> None:
    answer = await ask(client, "user: I live in Valparaíso\nassistant: two\nlines\n")
    assert "Valparaíso" in answer
    assert "two lines" in answer


async def test_the_observation_date_breaks_ties_between_equal_texts(client: openai.AsyncOpenAI) -> None:
    assert "March" in await ask(client, "user: Happy birthday!\n", date="2023-03-04")
    assert "January" in await ask(client, "user: Happy birthday!\n", date="2023-01-02")
    assert "January" in await ask(client, "user: Happy birthday!\n", date="1999-01-01")


async def test_earlier_messages_are_context_and_give_no_facts(client: openai.AsyncOpenAI, standin: LiveStandin) -> None:
    assert await ask(client, "user: What now?\n", recent="user: I live in Valparaíso\n") == '{"memory":[]}'
    assert standin.stats()["unknown"] == 1


async def test_rates_follow_the_seed_and_not_the_order_of_arrival() -> None:
    texts = [f"turn number {n}" for n in range(60)]

    async def outcomes(order: list[str]) -> dict[str, str]:
        with serving() as fresh:
            fresh.control(error_rate=0.3, malformed_rate=0.3, malformed_kind="no_memory", seed=7)
            client = async_client(fresh.base_url, None, 5.0)

            async def outcome(text: str) -> str:
                try:
                    return "broken" if "facts" in await ask(client, f"user: {text}\n") else "fine"
                except openai.InternalServerError:
                    return "error"

            found = await asyncio.gather(*map(outcome, order))
            await client.close()
            return dict(zip(order, found, strict=True))

    first = await outcomes(texts)
    counts = [list(first.values()).count(kind) for kind in ("error", "broken", "fine")]
    assert all(8 <= count <= 35 for count in counts), counts
    assert await outcomes(texts[::-1]) == first


async def test_a_stuck_turn_holds_nobody_else_and_answers_when_lifted(client: openai.AsyncOpenAI, standin: LiveStandin) -> None:
    standin.control(overrides={"stuck here": "stuck"})
    held = asyncio.create_task(ask(client, "user: I am stuck here\n"))
    await asyncio.to_thread(standin.wait_for, "stuck", 1)
    assert "Valparaíso" in await ask(client, "user: I live in Valparaíso\n")
    assert not held.done()
    standin.control(overrides={})
    assert "User was stuck" in await held


async def test_a_stuck_turn_is_given_up_when_its_client_leaves(standin: LiveStandin) -> None:
    standin.control(overrides={"stuck here": "stuck"})
    impatient = async_client(standin.base_url, None, 0.2)
    with pytest.raises(openai.APITimeoutError):
        await ask(impatient, "user: I am stuck here\n")
    await impatient.close()
    await asyncio.to_thread(standin.wait_for, "left", 1)
    assert standin.stats()["in_flight"] == 0


async def test_sixty_four_answers_with_latency_come_side_by_side(client: openai.AsyncOpenAI, standin: LiveStandin) -> None:
    standin.control(latency_s=0.3)
    began = time.monotonic()
    await asyncio.gather(*(ask(client, f"user: I live in Valparaíso {n}\n") for n in range(64)))
    assert time.monotonic() - began < 3.0  # one after another: 19 s
    assert standin.stats()["most_in_flight"] >= 32


async def test_embeddings_come_as_the_client_asks_in_batches_cut_or_padded(client: openai.AsyncOpenAI) -> None:
    texts = ["I live in Valparaíso", "My dog is called Luna"]
    by_base64 = await client.embeddings.create(model="any", input=texts)
    by_float = await client.embeddings.create(model="any", input=texts, encoding_format="float")
    for left, right in zip(by_base64.data, by_float.data, strict=True):
        assert np.allclose(left.embedding, right.embedding)
        assert np.isclose(np.linalg.norm(left.embedding), 1.0)
    for dimensions in (64, 256, 1024):
        sized = await client.embeddings.create(model="any", input=texts[0], dimensions=dimensions)
        assert len(sized.data[0].embedding) == dimensions
        assert np.isclose(np.linalg.norm(sized.data[0].embedding), 1.0)
    assert "not a model" in (await client.models.list()).data[0].id


def test_bad_requests_and_bad_options_are_refused_with_a_reason(standin: LiveStandin) -> None:
    def post(path: str, content: bytes) -> httpx.Response:
        return httpx.post(f"{standin.url}{path}", content=content, trust_env=False)

    assert post("/v1/chat/completions", b"no json").status_code == 400
    assert post("/v1/embeddings", b'{"input": [1, 2]}').status_code == 400
    assert post("/v1/embeddings", b'{"input": "a", "dimensions": 0}').status_code == 400
    assert "error_rate" in post("/control", b'{"error_rate": 2}').text
    assert "overrides" in post("/control", b'{"overrides": {"x": "explode"}}').text
    assert "latency" in post("/control", b'{"latency": 1}').text


def test_a_prompt_that_quotes_the_headings_is_read_by_the_last_ones() -> None:
    new = "user: he wrote\n\n## Observation Date\n1999-09-09\n\nin it\n"
    asked = asked_by(PROMPT.format(new=new, date="2023-05-08", recent=""))
    assert asked is not None
    assert asked.date == "2023-05-08"
    assert asked.messages[0].endswith("in it")
    assert asked_by("Say hello") is None


def test_a_recording_survives_its_file_and_a_bad_one_names_the_place(tmp_path: Path) -> None:
    turns = [turn("I live in Valparaíso", RecordedFact("User lives in Valparaíso", 0.9, ("m-1",)), date="2023-05-08"), turn("Hi")]
    save_recording(turns, tmp_path / "recording.json")
    assert list(load_recording(tmp_path / "recording.json").turns) == turns
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(RecordingError, match=r"broken\.json is not valid JSON"):
        load_recording(tmp_path / "broken.json")
    with pytest.raises(RecordingError, match="emberlog-recording/1"):
        read_recording({"turns": []})
    with pytest.raises(RecordingError, match="turn 1 "):
        read_recording({"format": "emberlog-recording/1", "turns": [{"text": "a"}, {"facts": []}]})


def test_the_module_serves_from_the_command_line_and_stops_on_a_signal(tmp_path: Path) -> None:
    save_recording([turn("I live in Valparaíso", "User lives in Valparaíso")], tmp_path / "recording.json")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "ops.standin", "--port", str(port), "--recording", str(tmp_path / "recording.json")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                found = httpx.get(f"http://127.0.0.1:{port}/v1/models", trust_env=False)
                break
            except httpx.ConnectError:
                assert process.poll() is None, "the stand-in ended"
                assert time.monotonic() < deadline, "the stand-in does not answer"
                time.sleep(0.05)
        assert found.status_code == 200
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=10)
        assert "1 turns" in said
        assert "not a model" in said
        assert "Traceback" not in said
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_a_missing_recording_is_said_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ops.standin", "--recording", str(tmp_path / "none.json")]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=30)
    assert ended.returncode == 2
    assert "none.json" in ended.stderr
    assert "Traceback" not in ended.stderr
