"""Turns and an in-memory projection for the tests of extraction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np

from streams.extraction.embedders import WordLlamaEmbedder
from streams.extraction.extractor import Mem0Extractor
from streams.extraction.ports import KnownMemory, Message, TurnToExtract

LIVES = "User lives in Valparaíso"
PRIVATE = "Xylophonist"
"""Stands in every turn that fails: must never leave in a reason or a log line."""
Make = Callable[..., Mem0Extractor]
MAY_8 = datetime(2023, 5, 8, 13, 56, tzinfo=UTC)


class MemoriesInMemory:
    """The NearestMemories port over a dict, by exact cosine similarity."""

    def __init__(self, **by_owner: Sequence[str]) -> None:
        self._by_owner = by_owner
        self._embedder = WordLlamaEmbedder()
        self.asked: list[tuple[str, int]] = []
        self.error: Exception | None = None

    async def nearest(self, owner_ref: str, vector: Sequence[float], limit: int) -> Sequence[KnownMemory]:
        self.asked.append((owner_ref, limit))
        if self.error is not None:
            raise self.error
        texts = list(self._by_owner.get(owner_ref, ()))
        scores = [float(np.dot(vector[:256], v)) for v in await self._embedder.embed(texts)]
        known = [KnownMemory(f"m-{at}", text, score) for at, (text, score) in enumerate(zip(texts, scores, strict=True))]
        return sorted(known, key=lambda m: -m.score)[:limit]


def said(*contents: str, role: str = "user", name: str | None = None, start: int = 1) -> tuple[Message, ...]:
    """Messages msg-1, msg-2, … of one speaker."""
    return tuple(Message(f"msg-{start + at}", role, name, content) for at, content in enumerate(contents))


def turn_of(
    *messages: Message, owner: str = "owner-1", at: datetime = MAY_8, recent: tuple[Message, ...] = (), agent: str = "helper"
) -> TurnToExtract:
    """A turn of these messages."""
    return TurnToExtract(
        turn_id=f"turn-{messages[0].message_id if messages else 'none'}",
        owner_ref=owner,
        user_id="ana maría",
        agent_id=agent,
        session_id="session-1",
        occurred_at=at,
        messages=messages,
        recent_messages=recent,
    )
