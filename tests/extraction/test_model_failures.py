"""What goes wrong between Mem0, model, embedder and projection: each failure has its error, and no fact vanishes."""

from __future__ import annotations

import logging
import socket

import pytest

from streams.extraction.embedders import OpenAIEmbedder
from streams.extraction.errors import ExtractionError, MalformedAnswer, ModelFailure, ModelTimeout, ModelUnavailable
from tests.extraction.parts import PRIVATE, Make, MemoriesInMemory, said, turn_of
from tests.standin.live import LiveStandin


async def test_bad_items_are_failures_short_ones_are_counted_and_the_rest_survives(make: Make) -> None:
    found = await make().extract(turn_of(*said("Bad facts")))
    assert [f.text for f in found.facts] == ["User has a dog named Luna"]
    assert [f.reason for f in found.failures] == [
        "the fact's text holds a NUL character",
        "the fact's text is longer than 8000 characters",
    ]
    assert found.skipped_short == 1


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
