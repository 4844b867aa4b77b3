"""Turns of conversations on a log, and memories that were learnt from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas import ids
from schemas.sealed import Sealed, maybe
from schemas.types import ConversationTurn, Message, MessageRef, SourceRef, ToolCall
from tests.projections.logs import LogMaker

DESTROYED = Sealed(b"", "destroyed")
ROLES = {"u": "user", "a": "assistant", "s": "system", "t": "tool"}


def message_id(owner: str, name: str) -> str:
    """Reference of the message that tests call ``name``."""
    return ids.message_reference(owner, name)


def turn_of(
    owner: str, names: Sequence[str], *, turn: str | None = None, session: str = "s-1", **details: Any
) -> ConversationTurn:
    """A turn of messages like ``u1`` or ``a2``: their first letter is the role, "what <name> says" what they say."""
    messages = tuple(Message(message_id(owner, name), ROLES[name[0]], Sealed.of(f"what {name} says")) for name in names)
    at = details.pop("at")
    turn_id = ids.turn_id(owner, turn or "-".join(names))
    return ConversationTurn(turn_id, owner, Sealed.of("u-1"), "agent-1", Sealed.of(session), at, messages, **details)


def say(log: LogMaker, owner: str, *names: str, **details: Any) -> ConversationTurn:
    """A turn on the log; ``details`` are for ``turn_of``."""
    made = turn_of(owner, names, at=log.now(details.pop("at", None)), **details)
    publish(log, made)
    return made


def publish(log: LogMaker, turn: ConversationTurn) -> None:
    """A turn as it is on the log."""
    log.plain(log.topics.conversation, turn.owner, turn.owner.encode(), turn)


def learn(log: LogMaker, turn: ConversationTurn, *names: str, content: str = "a fact") -> str:
    """A memory that was learnt from a turn's messages of these names (its first, if none); its id."""
    told = [message_id(turn.owner, name) for name in names] or [turn.messages[0].message_id]
    messages = tuple(MessageRef(message) for message in told)
    source = SourceRef(turn.turn_id, turn.session_id, turn.agent_id, messages, 0, 1, 0)
    [memory] = log.add(turn.owner, content, source=source)
    return memory


def details(which: int) -> dict[str, Any]:
    """What a turn may say beside its messages."""
    calls = (ToolCall("search", maybe('{"q": [1.5, null]}'), maybe("no JSON")), ToolCall("stop"))
    said = maybe('[{"role": "user"}]') if which % 3 else None
    return {"tool_calls": calls[: which % 3], "model_messages": said, "skill": "weather", "latency_ms": {"llm": which * 1.5}}
