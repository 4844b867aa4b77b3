"""Facts on their way, laid over what the projection answers."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.sealed import Sealed, maybe
from schemas.types import ConversationTurn, Message
from streams.extraction.ports import KnownMemory
from streams.recent import RecentFacts, RecentMessages, as_said
from tests.streams.commands import NOON, OWNER, extracted

TEA = "User drinks green tea"


class Projection:
    """An in-memory projection: what it has applied, up to which command."""

    def __init__(self) -> None:
        self.memories: list[KnownMemory] = []
        self.applied = -1

    async def nearest(self, owner_ref: str, vector: Sequence[float], limit: int) -> tuple[Sequence[KnownMemory], int]:
        return self.memories[:limit], self.applied

    async def lag(self, partition: int) -> int:
        return 0


class OneHot:
    """An embedder that tells tea from everything else."""

    name, dimensions, local = "one-hot", 2, True

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return self.embed_sync(texts)

    def embed_sync(self, texts: Sequence[str]) -> list[list[float]]:
        return [[1.0, 0.0] if "tea" in t else [0.0, 1.0] for t in texts]

    async def close(self) -> None:
        return None


async def test_a_fact_of_the_turn_before_is_seen_before_any_projection_has_it() -> None:
    recent = RecentFacts(Projection(), OneHot())
    recent.remember(extracted("t1", TEA), cause=4)
    found = await recent.nearest(OWNER, [1.0, 0.0], 5)
    assert [(m.text, m.score) for m in found] == [(TEA, 1.0)]


async def test_a_fact_counts_once_while_both_have_it_and_is_dropped_once_it_is_projected() -> None:
    projection = Projection()
    recent = RecentFacts(projection, OneHot())
    recent.remember(extracted("t1", TEA), cause=4, vectors=[(1.0, 0.0)])
    projection.memories = [KnownMemory("m", TEA, 0.9)]
    assert [m.memory_id for m in await recent.nearest(OWNER, [1.0, 0.0], 5)] == ["m"]
    projection.memories, projection.applied = [], 4  # applied, and forgotten since
    assert list(await recent.nearest(OWNER, [1.0, 0.0], 5)) == []


async def test_another_owner_sees_none_of_it() -> None:
    recent = RecentFacts(Projection(), OneHot())
    recent.remember(extracted("t1", TEA), cause=4)
    assert list(await recent.nearest("another-owner", [1.0, 0.0], 5)) == []


def _said(*contents: str, session: str = "s") -> ConversationTurn:
    messages = tuple(Message(f"m{c}", "user", Sealed.of(c)) for c in contents)
    return ConversationTurn("t", OWNER, Sealed.of("u-1"), "agent", Sealed.of(session), NOON, messages)


def test_a_session_remembers_its_last_ten_messages_once_each() -> None:
    messages = RecentMessages()
    for i in range(12):
        messages.add(_said(str(i)))
    messages.add(_said("11"))
    assert [m.message_id for m in messages.of(OWNER, Sealed.of("s"))] == [f"m{i}" for i in range(2, 12)]
    assert messages.of(OWNER, Sealed.of("another")) == ()


def test_a_message_is_shown_under_its_producers_id_where_it_has_one_and_else_under_our_reference() -> None:
    shown = [as_said(Message("reference", "user", Sealed.of("hello"), producer_id=maybe(p))) for p in ("m-1", None)]
    assert [m.message_id for m in shown] == ["m-1", "reference"]
    assert shown[0].content == "hello"
