"""Embedding: what a memory says gets a vector on ``memory.embeddings.v1``, anew with each revision; a forgotten one a tombstone.

An owner's events are handled in order, so the last record of a key is that of the newest words. This agent keeps no list of
memories: which ones an erased owner had, it cannot know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from aiokafka import AIOKafkaProducer

from schemas import codec, envelope, ids
from schemas.errors import ContractError, KeyLost
from schemas.sealed import Sealed
from schemas.sealing import ItemKey
from schemas.types import MemoryAdded, MemoryEmbedding, MemoryForgotten, MemoryRevised
from streams import kafka
from streams.config import WorkerConfig
from streams.extraction.errors import ExtractionError, ModelUnavailable
from streams.extraction.ports import Embedder
from streams.failures import Away, Failed, Refused
from streams.stage import Work

SOURCE = "emberlog/embed"
HEAD = "semantic"
EMBEDDED = (MemoryAdded, MemoryRevised, MemoryForgotten)
"""Events that ask for something."""
MAX_BATCH = 64


def embedding_key(memory_id: str, head: str, model: str) -> bytes:
    """Key of the compacted topic: the newest record of one memory, head and model is the one that counts."""
    return f"{memory_id}/{head}/{model}".encode()


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
class Embed:
    """Handles one record of memory.events."""

    config: WorkerConfig
    producer: AIOKafkaProducer
    embedder: BatchingEmbedder

    async def __call__(self, work: Work) -> None:
        """Publish the vector or tombstone that the event asks for. Raises Refused, Failed or Away."""
        try:
            event = codec.decode(work.value or b"")
            if isinstance(event, MemoryAdded | MemoryRevised):
                await self._said(event)
            elif isinstance(event, MemoryForgotten):
                await self._forgotten(event)
        except ContractError as error:
            raise Refused(str(error)) from None

    @property
    def _model(self) -> str:
        return self.config.embedder.name

    async def _said(self, event: MemoryAdded | MemoryRevised) -> None:
        key = await self._key(event.content)
        if event.content.is_destroyed or (key is None and event.content.key_id is not None):
            return  # forgotten meanwhile: its tombstone follows
        text = event.content.text if key is None else key.open(event.content).decode()
        try:
            vector = await self.embedder.embed(text)
        except ModelUnavailable as error:
            raise Away(error.reason) from None
        except ExtractionError as error:
            raise Failed(error.reason) from None
        meta, data = event.meta, np.asarray(vector, dtype="<f4").tobytes()
        record = MemoryEmbedding(
            memory_id=event.memory_id,
            owner=meta.owner,
            head=HEAD,
            model=self._model,
            dimensions=len(vector),
            vector=Sealed(data) if key is None else key.seal(data),
            sequence=meta.sequence,
        )
        made_from = ids.event_id(meta.owner, meta.sequence)
        headers = envelope.headers_for(record, id=made_from, source=SOURCE, subject=meta.owner, time=meta.occurred_at)
        await self._send(meta.owner, event.memory_id, codec.encode(record), headers)

    async def _key(self, content: Sealed) -> ItemKey | None:
        """The key of the words, under which their vector is sealed too: they are destroyed together. None for words in plain."""
        if content.key_id is None:
            return None
        try:
            return (await self.config.keys.for_opening([content.key_id]))[content.key_id]
        except KeyLost as error:
            raise Refused(str(error)) from None

    async def _forgotten(self, event: MemoryForgotten) -> None:
        headers = [("ce_subject", event.meta.owner.encode()), ("ce_time", datetime.now(UTC).isoformat().encode())]
        await self._send(event.meta.owner, event.memory_id, None, headers)

    async def _send(self, owner: str, memory_id: str, value: bytes | None, headers: envelope.Headers) -> None:
        topics, key = self.config.topics, embedding_key(memory_id, HEAD, self._model)
        await kafka.send_to_owner(self.producer, topics.embeddings, topics.partitions, owner, value, headers, key=key)
