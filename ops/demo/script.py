"""The sample conversation, moved by whole days so that it ends within the last day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any

import msgspec
import orjson

from schemas.types import InboxTurn

LAST_TURN_BACK = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Question:
    """A question to the memory of ``owner``; the first answer must hold ``expect``."""

    owner: str
    question: str
    expect: str


@dataclass(frozen=True, slots=True)
class Script:
    """What the demo plays. ``repeated`` is said twice, ``to_forget`` once; both are messages' whole texts."""

    turns: tuple[InboxTurn, ...]
    repeated: str
    to_forget: str
    forgotten_question: str
    ask: tuple[Question, ...]

    def turns_saying(self, text: str) -> list[InboxTurn]:
        """Turns in which a message is exactly ``text``."""
        return [turn for turn in self.turns if any(m.content == text for m in turn.messages)]


def load_script(now: datetime) -> Script:
    """The committed conversation with its dates moved; ``now`` is aware."""
    raw: dict[str, Any] = orjson.loads(files("ops.demo").joinpath("conversation.json").read_bytes())
    turns = msgspec.convert(raw["turns"], tuple[InboxTurn, ...])
    last = max(t.occurred_at for t in turns if t.occurred_at)
    shift = timedelta(days=(now - LAST_TURN_BACK - last).days)  # whole days: mornings stay mornings
    return Script(
        turns=tuple(msgspec.structs.replace(t, occurred_at=t.occurred_at + shift if t.occurred_at else None) for t in turns),
        repeated=raw["repeated"],
        to_forget=raw["to_forget"],
        forgotten_question=raw["forgotten_question"],
        ask=tuple(Question(**q) for q in raw["ask"]),
    )
