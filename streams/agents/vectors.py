"""What embedding memories and messages shares: texts in batches, and vectors sealed under the keys of their words."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer

from schemas.envelope import Headers
from schemas.errors import KeyLost
from schemas.sealed import Sealed
from schemas.sealing import ItemKey
from schemas.vectors import pack
from streams import kafka
from streams.config import WorkerConfig
from streams.extraction.errors import ExtractionError, ModelUnavailable
from streams.extraction.ports import Embedder
from streams.failures import Away, Failed, Refused

SOURCE = "emberlog/embed"
HEAD = "semantic"
MAX_BATCH = 64


def embedding_key(item_id: str, head: str, model: str) -> bytes:
    """Key of the compacted topic: the newest record of one memory or message, head and model is the one that counts."""
    return f"{item_id}/{head}/{model}".encode()


class BatchingEmbedder:
    """Gathers texts that are asked for at the same time into calls of up to 64, one call at a time."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._waiting: list[tuple[str, asyncio.Future[list[float]]]] = []
        self._task: asyncio.Task[None] | None = None

    async def embed(self, text: str) -> list[float]:
        """The vector of ``text``. Raises ExtractionError."""
        future: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()
        self._waiting.append((text, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            await self._call(batch)

    async def _call(self, batch: Sequence[tuple[str, asyncio.Future[list[float]]]]) -> None:
        try:
            vectors = await self._embedder.embed([text for text, _ in batch])
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, ModelUnavailable):
                # one text may be what the endpoint refuses: the others need not share its fate
                for one in batch:
                    await self._call([one])
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), vector in zip(batch, vectors, strict=True):
            if not future.done():
                future.set_result(vector)


@dataclass(frozen=True, slots=True)
class Vectors:
    """Makes vectors of words, and sends them to their owner's partition."""

    config: WorkerConfig
    producer: AIOKafkaProducer
    embedder: BatchingEmbedder

    @property
    def model(self) -> str:
        return self.config.embedder.name

    async def of(self, words: Sealed, *, even_empty: bool = True) -> tuple[int, Sealed] | None:
        """Dimensions and vector of ``words``, sealed as they are: they are destroyed together.

        None for words that are gone, and without ``even_empty`` for white space. Raises Refused, Failed or Away, and SealedValue
        for words that were tampered with.
        """
        key = await self._key(words)
        if words.is_destroyed or (key is None and words.key_id is not None):
            return None
        text = words.text if key is None else key.open(words).decode()
        if not even_empty and not text.strip():
            return None
        try:
            vector = await self.embedder.embed(text)
        except ModelUnavailable as error:
            raise Away(error.reason) from None
        except ExtractionError as error:
            raise Failed(error.reason) from None
        try:
            data = pack(vector, self.config.precision)
        except ValueError as error:
            raise Failed(str(error)) from None
        return len(vector), Sealed(data) if key is None else key.seal(data)

    async def _key(self, words: Sealed) -> ItemKey | None:
        """The key of the words. None for words in plain, and where it was destroyed."""
        if words.key_id is None:
            return None
        try:
            return (await self.config.keys.for_opening([words.key_id]))[words.key_id]
        except KeyLost as error:
            raise Refused(str(error)) from None

    async def send(self, owner: str, item_id: str, value: bytes | None, headers: Headers) -> None:
        """Publish the record of a vector, or its tombstone. Raises Away or Refused."""
        topics, key = self.config.topics, embedding_key(item_id, HEAD, self.model)
        await kafka.send_to_owner(self.producer, topics.embeddings, topics.partitions, owner, value, headers, key=key)
