"""Embedders: texts to L2-normalised vectors in float32 precision.

`WordLlamaEmbedder` is the embedded default: static 256-dimensional word vectors from a wheel (MIT; its
table derives from LLaMA 2), no network, about 40,000 short texts a second on one core.
`OpenAIEmbedder` asks any OpenAI-compatible endpoint. An empty text gives a vector of zeros, never NaN.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openai
from numpy.typing import NDArray

from streams.extraction.endpoint import async_client, sync_client
from streams.extraction.errors import ModelFailure, from_client_error
from streams.extraction.ports import Embedder

LONGEST_TEXT = 32_000
"""Characters of one text that are embedded; what is beyond it adds nothing to an averaged vector."""

IN_LOOP_CHARACTERS = 20_000
"""Up to this much text is embedded right in the event loop: under 5 ms, and cheaper than a thread."""


def normalise(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """L2-normalise rows of shape (n, d). Rows of zeros stay zeros."""
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.where(norms > 0.0, norms, 1.0)).astype(np.float32)


class WordLlamaEmbedder:
    """Static word vectors, averaged. The table is loaded once per process and shared.

    A text's vector does not depend on what it is batched with: averaging is done per text, because padded
    batches differ in the last bits.
    """

    name = "wordllama-l2_supercat-256"
    dimensions = 256
    local = True

    _lock = threading.Lock()
    _model: Any = None

    def __init__(self) -> None:
        with self._lock:
            if WordLlamaEmbedder._model is None:
                WordLlamaEmbedder._model = _load_wordllama()
        self._table: NDArray[np.float32] = self._model.embedding
        self._tokenizer = self._model.tokenizer

    def embed_sync(self, texts: Sequence[str]) -> list[list[float]]:
        """Embed texts; returns one list of 256 floats each."""
        if not texts:
            return []
        encoded = self._tokenizer.encode_batch([_encodable(text) for text in texts], add_special_tokens=False)
        rows = np.zeros((len(encoded), self.dimensions), dtype=np.float32)
        for row, encoding in zip(rows, encoded, strict=True):
            ids = np.asarray(encoding.ids, dtype=np.int64)
            if ids.size:
                np.clip(ids, 0, self._table.shape[0] - 1, out=ids)
                row[:] = self._table[ids].mean(axis=0, dtype=np.float64)
        result: list[list[float]] = normalise(rows).tolist()
        return result

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """The same, in a thread where there is so much text that the event loop would feel it."""
        if sum(map(len, texts)) <= IN_LOOP_CHARACTERS:
            return self.embed_sync(texts)
        return await asyncio.to_thread(self.embed_sync, texts)

    async def close(self) -> None:
        """Nothing to close: the table belongs to the process."""


def _encodable(text: str) -> str:
    # The tokenizer is native code and refuses lone surrogates.
    return text[:LONGEST_TEXT].encode("utf-8", "replace").decode("utf-8")


def _load_wordllama() -> Any:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        # Importing wordllama calls logging.basicConfig(level=INFO): the process's own set-up comes back.
        import wordllama
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    model.tokenizer.no_padding()
    return model


class OpenAIEmbedder:
    """Vectors from an OpenAI-compatible `/embeddings` endpoint, in batches, without retries of its own.

    Longer vectors than `dimensions` are cut and normalised again (Matryoshka models keep their meaning);
    shorter ones are refused with `ModelFailure`. Raises also `ModelTimeout` and `ModelUnavailable`.
    """

    local = False

    def __init__(
        self,
        base_url: str,
        model: str,
        dimensions: int,
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        batch_size: int = 64,
    ) -> None:
        if dimensions < 1:
            raise ValueError("dimensions must be 1 or more; set EMBEDDING_DIM to the model's vector length")
        self.name = model
        self.dimensions = dimensions
        self._batch_size = batch_size
        self._async = async_client(base_url, api_key, timeout_s)
        self._sync = sync_client(base_url, api_key, timeout_s)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Embed texts, `batch_size` per request."""
        vectors: list[list[float]] = []
        for batch, wanted in self._batches(texts):
            try:
                answer = await self._async.embeddings.create(model=self.name, input=wanted) if wanted else None
            except Exception as error:
                raise from_client_error(error, "embedding endpoint") from None
            vectors += self._read(batch, answer)
        return vectors

    def embed_sync(self, texts: Sequence[str]) -> list[list[float]]:
        """The same for a thread without an event loop."""
        vectors: list[list[float]] = []
        for batch, wanted in self._batches(texts):
            try:
                answer = self._sync.embeddings.create(model=self.name, input=wanted) if wanted else None
            except Exception as error:
                raise from_client_error(error, "embedding endpoint") from None
            vectors += self._read(batch, answer)
        return vectors

    async def close(self) -> None:
        """Close both clients' connections."""
        await self._async.close()
        self._sync.close()

    def _batches(self, texts: Sequence[str]) -> list[tuple[list[str], list[str]]]:
        """Batches of texts, each with those of it that are asked for: endpoints refuse empty inputs."""
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        batches = [clean[at : at + self._batch_size] for at in range(0, len(clean), self._batch_size)]
        return [(batch, [text for text in batch if text.strip()]) for batch in batches]

    def _read(self, batch: list[str], answer: openai.types.CreateEmbeddingResponse | None) -> list[list[float]]:
        asked = [at for at, text in enumerate(batch) if text.strip()]
        data = sorted(answer.data or [], key=lambda item: item.index) if answer is not None else []
        if len(data) != len(asked):
            raise ModelFailure(f"the embedding endpoint sent {len(data)} vectors for {len(asked)} texts")
        rows = np.zeros((len(batch), self.dimensions), dtype=np.float32)
        for at, item in zip(asked, data, strict=True):
            if len(item.embedding) < self.dimensions:
                raise ModelFailure(
                    f"the embedding endpoint sends {len(item.embedding)} dimensions, {self.dimensions} are "
                    "configured; set EMBEDDING_DIM to at most the model's own"
                )
            rows[at] = item.embedding[: self.dimensions]
        if not np.isfinite(rows).all():
            raise ModelFailure("the embedding endpoint sent a vector that is not finite")
        result: list[list[float]] = normalise(rows).tolist()
        return result


def build_embedder(
    base_url: str | None = None,
    model: str | None = None,
    dimensions: int | None = None,
    *,
    api_key: str | None = None,
    timeout_s: float = 30.0,
) -> Embedder:
    """The embedder that the settings ask for: an endpoint where `base_url` is given, else the embedded one.

    Raises ValueError where an endpoint is named without a model or a dimension.
    """
    if not base_url:
        return WordLlamaEmbedder()
    if not model or dimensions is None:
        raise ValueError("EMBEDDING_BASE_URL needs EMBEDDING_MODEL and EMBEDDING_DIM beside it")
    return OpenAIEmbedder(base_url, model, dimensions, api_key=api_key, timeout_s=timeout_s)
