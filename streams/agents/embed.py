"""Embedding of memories: what one says gets a vector on ``memory.embeddings.v1``, anew with each revision, and a tombstone
once it is forgotten.

An owner's events are handled in order, so the last record of a key is that of the newest words. This agent keeps no list of
memories: which ones an erased owner had, it cannot know.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from schemas import codec, envelope, ids
from schemas.errors import ContractError
from schemas.types import MemoryAdded, MemoryEmbedding, MemoryForgotten, MemoryRevised
from streams.agents.vectors import HEAD, SOURCE, Vectors
from streams.failures import Refused
from streams.stage import Work

EMBEDDED = (MemoryAdded, MemoryRevised, MemoryForgotten)
"""Events that ask for something."""


@dataclass(frozen=True, slots=True)
class Embed:
    """Handles one record of memory.events."""

    vectors: Vectors

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

    async def _said(self, event: MemoryAdded | MemoryRevised) -> None:
        made = await self.vectors.of(event.content)
        if made is None:
            return  # forgotten meanwhile: its tombstone follows
        meta, (dimensions, vector) = event.meta, made
        record = MemoryEmbedding(
            memory_id=event.memory_id,
            owner=meta.owner,
            head=HEAD,
            model=self.vectors.model,
            dimensions=dimensions,
            vector=vector,
            sequence=meta.sequence,
        )
        made_from = ids.event_id(meta.owner, meta.sequence)
        headers = envelope.headers_for(record, id=made_from, source=SOURCE, subject=meta.owner, time=meta.occurred_at)
        await self.vectors.send(meta.owner, event.memory_id, codec.encode(record), headers)

    async def _forgotten(self, event: MemoryForgotten) -> None:
        headers = [("ce_subject", event.meta.owner.encode()), ("ce_time", datetime.now(UTC).isoformat().encode())]
        await self.vectors.send(event.meta.owner, event.memory_id, None, headers)
