from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest

from streams.extraction.embedders import OpenAIEmbedder, WordLlamaEmbedder, build_embedder
from streams.extraction.errors import ModelFailure, ModelTimeout, ModelUnavailable
from streams.extraction.ports import Embedder
from tests.standin.live import CALM, LiveStandin, serving

TEXTS = ["I live in Valparaíso", "", "User has a dog named Luna", " \n", "Vive en Chile"]


@pytest.fixture(scope="module")
def served() -> Iterator[LiveStandin]:
    with serving() as standin:
        yield standin


@pytest.fixture
async def remote(served: LiveStandin) -> AsyncIterator[OpenAIEmbedder]:
    served.control(**CALM)
    embedder = OpenAIEmbedder(served.base_url, "any", 128, timeout_s=2.0, batch_size=3)
    yield embedder
    await embedder.close()


@pytest.mark.parametrize("kind", ["local", "remote"])
async def test_every_embedder_gives_one_normalised_float32_vector_per_text(kind: str, remote: OpenAIEmbedder) -> None:
    embedder: Embedder = WordLlamaEmbedder() if kind == "local" else remote
    vectors = np.asarray(await embedder.embed(TEXTS))
    assert vectors.shape == (5, embedder.dimensions)
    norms = np.linalg.norm(vectors, axis=1)
    assert np.allclose(norms[[0, 2, 4]], 1.0, atol=1e-6)
    assert norms[1] == 0.0
    assert norms[3] == 0.0 or np.isclose(norms[3], 1.0), "blanks are tokens for one and nothing for another"
    assert np.array_equal(vectors, vectors.astype(np.float32))
    assert np.array_equal(np.asarray(embedder.embed_sync(TEXTS)), vectors)
    assert await embedder.embed([]) == []


async def test_an_empty_text_is_a_zero_vector_and_never_nan() -> None:
    (empty,) = await WordLlamaEmbedder().embed([""])
    assert empty == [0.0] * 256


async def test_a_vector_does_not_depend_on_what_it_is_batched_with() -> None:
    embedder = WordLlamaEmbedder()
    (alone,) = embedder.embed_sync([TEXTS[0]])
    assert embedder.embed_sync([TEXTS[0], "a much longer text " * 400])[0] == alone
    assert (await embedder.embed(["a much longer text " * 2000, TEXTS[0]]))[1] == alone


def test_broken_unicode_and_endless_text_are_embedded_without_a_crash() -> None:
    vectors = np.asarray(WordLlamaEmbedder().embed_sync(["half a pair \ud83d", "x" * 2_000_000, "\x00"]))
    assert np.isfinite(vectors).all()


def test_related_texts_are_nearer_than_unrelated_ones() -> None:
    question, near, far = np.asarray(
        WordLlamaEmbedder().embed_sync(["Where does the user live?", "User lives in Valparaíso", "The invoice is due in March"])
    )
    assert question @ near > question @ far + 0.1


def test_short_texts_are_embedded_by_the_ten_thousand_a_second() -> None:
    embedder, texts = WordLlamaEmbedder(), [f"User has visited {n} cities in Chile" for n in range(5000)]
    began = time.perf_counter()
    embedder.embed_sync(texts)
    assert time.perf_counter() - began < 2.0  # 0.2 s on an idle core


async def test_a_longer_vector_is_cut_and_normalised_again(remote: OpenAIEmbedder) -> None:
    (vector,) = await remote.embed([TEXTS[0]])
    native = np.asarray(WordLlamaEmbedder().embed_sync([TEXTS[0]])[0][:128])
    assert np.allclose(vector, native / np.linalg.norm(native), atol=1e-6)


async def test_a_shorter_vector_is_refused_with_what_to_set(served: LiveStandin) -> None:
    served.control(**CALM)
    embedder = OpenAIEmbedder(served.base_url, "any", 1024)
    with pytest.raises(ModelFailure, match=r"sends 256 dimensions, 1024 are configured; set EMBEDDING_DIM"):
        await embedder.embed([TEXTS[0]])
    await embedder.close()


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("error", ModelFailure),
        ("error:400", ModelFailure),
        ("error:401", ModelFailure),
        ("error:429", ModelUnavailable),
        ("error:502", ModelUnavailable),
        ("error:503", ModelUnavailable),
        ("error:504", ModelUnavailable),
        ("error:408", ModelTimeout),
        ("stuck", ModelTimeout),
    ],
)
async def test_every_failure_of_the_endpoint_has_its_error(
    remote: OpenAIEmbedder, served: LiveStandin, fault: str, expected: type[Exception]
) -> None:
    served.control(embedding_overrides={"Valparaíso": fault})
    hasty = OpenAIEmbedder(served.base_url, "any", 128, timeout_s=0.3)
    with pytest.raises(expected) as caught:
        await hasty.embed([TEXTS[0]])
    assert "Valpara" not in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(expected):
        hasty.embed_sync([TEXTS[0]])
    assert served.stats()["embedding_requests"] == 2, "an embedder must not retry by itself"
    await hasty.close()


async def test_an_endpoint_that_is_not_there_is_an_outage() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    embedder = OpenAIEmbedder(f"http://127.0.0.1:{port}/v1", "any", 128)
    with pytest.raises(ModelUnavailable):
        await embedder.embed(["some text"])
    with pytest.raises(ModelUnavailable):
        embedder.embed_sync(["some text"])
    await embedder.close()


async def test_proxy_variables_lead_no_request_elsewhere(served: LiveStandin, monkeypatch: pytest.MonkeyPatch) -> None:
    served.control(**CALM)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    embedder = OpenAIEmbedder(served.base_url, "any", 256)
    assert len(await embedder.embed(["some text"])) == 1
    await embedder.close()


def test_settings_choose_the_embedder_and_say_what_is_missing() -> None:
    assert build_embedder().name == "wordllama-l2_supercat-256"
    with pytest.raises(ValueError, match="EMBEDDING_MODEL and EMBEDDING_DIM"):
        build_embedder("http://localhost:1/v1", "bge")
    with pytest.raises(ValueError, match="1 or more"):
        build_embedder("http://localhost:1/v1", "bge", 0)
