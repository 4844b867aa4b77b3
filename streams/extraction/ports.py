"""The shapes and interfaces of extraction: what goes in, what comes out, what must be wired up.

Everything here is plain data and protocols, so that agents, tests and benchmarks can use extraction
without importing Mem0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Message:
    """One utterance. `role` is "user", "assistant" or "system"; `name` is the speaker's, if known.

    `image_caption` describes a picture that was sent along; extraction reads it as part of the message.
    """

    message_id: str
    role: str
    name: str | None
    content: str
    image_caption: str | None = None


@dataclass(frozen=True, slots=True)
class TurnToExtract:
    """One turn as extraction needs it.

    `occurred_at` must be timezone-aware (UTC) and becomes the prompt's observation date.
    `recent_messages` are up to 10 earlier messages of the session, oldest first: context for the model,
    never a source of facts. `user_id`, `agent_id` and `session_id` scope Mem0's call and stay in process.
    """

    turn_id: str
    owner_ref: str
    user_id: str
    agent_id: str
    session_id: str
    occurred_at: datetime
    messages: tuple[Message, ...]
    recent_messages: tuple[Message, ...] = ()

    def __post_init__(self) -> None:
        if self.occurred_at.tzinfo is None:
            raise ValueError("TurnToExtract.occurred_at needs a timezone; pass an aware UTC datetime")


@dataclass(frozen=True, slots=True)
class KnownMemory:
    """A memory that the owner already has. `score` is a cosine similarity, higher is nearer."""

    memory_id: str
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class CandidateFact:
    """One extracted fact. Whether it is new is for the decider to say.

    `evidence` holds ids of messages of the turn's session; `salience` lies in 0..1; `vector` is the
    text's L2-normalised embedding (length `Embedder.dimensions`), or None where none was made.
    """

    text: str
    evidence: tuple[str, ...]
    salience: float
    vector: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class FactFailure:
    """One item of an answer that could not be used. `reason` is content-free."""

    reason: str


@dataclass(frozen=True, slots=True)
class Extraction:
    """What one turn gave. `rules` is True when no model was asked: then say "rules, not a model".

    `skipped_short` counts facts under 10 characters. Token counts are the endpoint's own `usage`, 0 where
    it sent none. `prompt_version` changes whenever the prompt or the reading of its answer does.
    """

    facts: tuple[CandidateFact, ...]
    failures: tuple[FactFailure, ...]
    skipped_short: int
    extractor: str
    model: str
    prompt_version: str
    prompt_tokens: int
    completion_tokens: int
    rules: bool


@runtime_checkable
class Extractor(Protocol):
    """Turns one conversation turn into candidate facts."""

    @property
    def rules(self) -> bool:
        """True when the facts come from rules and not from a model."""
        ...

    async def extract(self, turn: TurnToExtract) -> Extraction:
        """Extract one turn. Raises `ExtractionError`; calls for different owners may run in parallel."""
        ...

    async def close(self) -> None:
        """Close connections and threads. The extractor cannot be used afterwards."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors: float32 precision, L2-normalised, all zeros for an empty text."""

    @property
    def name(self) -> str:
        """The model's name as it stands beside stored vectors."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of every vector."""
        ...

    @property
    def local(self) -> bool:
        """True when embedding is a computation in this process, False when it is a call to an endpoint."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Embed texts, one vector each, in order. Raises `ExtractionError`."""
        ...

    def embed_sync(self, texts: Sequence[str]) -> list[list[float]]:
        """The same for a thread without an event loop."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...


@runtime_checkable
class NearestMemories(Protocol):
    """Reads an owner's nearest memories from a projection. Wired up by `ops`."""

    async def nearest(self, owner_ref: str, vector: Sequence[float], limit: int) -> Sequence[KnownMemory]:
        """Up to `limit` memories of this owner, nearest first; never another owner's."""
        ...
