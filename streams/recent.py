"""What extraction must know before any projection does: the facts of the turns before, and the session's last messages.

The owner's next turn sees the facts of the turn before even if no projection has them yet: facts that were sent to the decider
are laid over the projection's answer until the projection has applied the command that carried them. After a restart both are
read back from the topics, so neither is state of its own.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

import schemas.types
from schemas.sealed import Sealed, left_of, text_of
from schemas.types import ConversationTurn, FactsExtracted
from streams.extraction.ports import Embedder, KnownMemory, Message

MAX_OWNERS = 20_000
FACTS_PER_OWNER = 60
MAX_SESSIONS = 20_000
MESSAGES_PER_SESSION = 10


class ProjectedMemories(Protocol):
    """The projection's side: an owner's nearest memories, and the offset of the owner's last command that it has applied."""

    async def nearest(self, owner_ref: str, vector: Sequence[float], limit: int) -> tuple[Sequence[KnownMemory], int]:
        """Memories, nearest first, and the owner's last applied cause (-1 before the first)."""
        ...

    async def lag(self, partition: int) -> int:
        """Events of the partition of memory.events that the projection has not applied."""
        ...


@dataclass(frozen=True, slots=True)
class _RecentFact:
    cause: int
    text: str
    vector: tuple[float, ...] | None


class RecentFacts:
    """A ``NearestMemories`` for the extractor: the projection's answer with the facts on their way laid over it."""

    def __init__(self, projected: ProjectedMemories, embedder: Embedder) -> None:
        self.projected = projected
        self._embedder = embedder
        self._facts: OrderedDict[str, deque[_RecentFact]] = OrderedDict()

    def remember(self, command: FactsExtracted, cause: int, vectors: Sequence[tuple[float, ...] | None] | None = None) -> None:
        """Facts of ``command``, which stands at offset ``cause``; ``vectors`` in the same order, where they are known."""
        if not command.facts:
            return
        owner = command.meta.owner
        facts = self._facts.setdefault(owner, deque(maxlen=FACTS_PER_OWNER))
        self._facts.move_to_end(owner)
        known = {f.cause for f in facts}
        if cause not in known:
            given = vectors if vectors is not None else [None] * len(command.facts)
            said = zip(command.facts, given, strict=True)
            facts.extend(_RecentFact(cause, f.text.text, v) for f, v in said if not f.text.is_destroyed)
        while len(self._facts) > MAX_OWNERS:
            self._facts.popitem(last=False)

    async def nearest(self, owner_ref: str, vector: Sequence[float], limit: int) -> Sequence[KnownMemory]:
        """Up to ``limit`` memories of the owner, nearest first, those on their way included."""
        memories, applied = await self.projected.nearest(owner_ref, vector, limit)
        waiting = self._still_waiting(owner_ref, applied)
        if not waiting:
            return memories
        missing = [f.text for f in waiting if f.vector is None]
        made = dict(zip(missing, await self._embedder.embed(missing), strict=True)) if missing else {}
        merged = {m.text: m for m in memories}
        for fact in waiting:
            score = sum(a * b for a, b in zip(fact.vector or made[fact.text], vector, strict=True))
            merged.setdefault(fact.text, KnownMemory(f"recent-{fact.cause}", fact.text, float(score)))
        return sorted(merged.values(), key=lambda m: -m.score)[:limit]

    def _still_waiting(self, owner: str, applied: int) -> list[_RecentFact]:
        facts = self._facts.get(owner)
        if facts is None:
            return []
        while facts and facts[0].cause <= applied:
            facts.popleft()
        if not facts:
            del self._facts[owner]
        return list(facts)


def label(message: schemas.types.Message) -> str:
    """What a message is called before a model: by its producer's id where it has one, else by our reference."""
    return text_of(message.producer_id) or message.message_id


def as_said(message: schemas.types.Message) -> Message:
    """A message of the contract as extraction takes it: opened. Raises SealedValue."""
    return Message(label(message), message.role, text_of(message.name), message.content.text, text_of(message.image_caption))


def what_is_left(turn: ConversationTurn) -> ConversationTurn:
    """An opened turn without the messages that were destroyed."""
    return replace(turn, messages=tuple(m for m in turn.messages if not m.content.is_destroyed))


class RecentMessages:
    """The last messages of each session, oldest first: context for the model, never a source of facts."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[tuple[str, str], deque[schemas.types.Message]] = OrderedDict()

    def of(self, owner: str, session: Sealed) -> tuple[schemas.types.Message, ...]:
        """Up to ten messages that came before. Raises SealedValue for a session that has not been opened."""
        return tuple(self._sessions.get((owner, left_of(session)), ()))

    def add(self, turn: ConversationTurn) -> None:
        """The messages of a turn that was extracted; those known by their id are not taken twice. Raises SealedValue."""
        place = turn.owner, left_of(turn.session_id)
        kept = self._sessions.setdefault(place, deque(maxlen=MESSAGES_PER_SESSION))
        self._sessions.move_to_end(place)
        known = {m.message_id for m in kept}
        kept.extend(m for m in turn.messages if m.message_id not in known)
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
