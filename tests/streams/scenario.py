"""Given / when / then for the decider, and makers of commands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Self

from schemas.fingerprint import fingerprint, owner_key
from schemas.owner import Owner
from schemas.types import Command, Fact, FactsExtracted, Forget, MemoryAdded, MemoryEvent, ThermalPolicy
from streams.decider import EMPTY, OwnerState, decide, fold

OWNER = Owner.parse("default/user/u-1").reference
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = owner_key(b"a local key for tests only, 32 by", OWNER)


def fact(text: str, *messages: str) -> Fact:
    return Fact(text, fingerprint(KEY, text), messages or ("m-1",), 0.5)


def extracted(turn: str, *facts: Fact | str, at: datetime = NOON, offset: int = 0, failed: int = 0) -> FactsExtracted:
    """What an extractor found in ``turn``, which stands at ``offset`` of the conversation."""
    return FactsExtracted(
        turn_id=turn,
        owner=OWNER,
        user_id="u-1",
        agent_id="agent",
        session_id="s-1",
        occurred_at=at,
        source_offset=offset,
        facts=tuple(f if isinstance(f, Fact) else fact(f, f"{turn}-m") for f in facts),
        failed=failed,
        skipped_short=0,
        extractor="mem0",
        model="a-model",
        prompt_version="1",
        prompt_tokens=0,
        completion_tokens=0,
        rules=False,
        policy=ThermalPolicy(),
    )


def forget(*memory_ids: str, end_offset: int = 10, at: datetime = NOON) -> Forget:
    return Forget("c-1", OWNER, memory_ids, end_offset, at)


class Scenario:
    """``given`` commands were decided; ``when`` one more is; ``then`` these events follow."""

    def __init__(self) -> None:
        self.state: OwnerState = EMPTY
        self.log: list[MemoryEvent] = []
        self.events: tuple[MemoryEvent, ...] = ()
        self._cause = -1

    def given(self, *commands: Command) -> Self:
        for command in commands:
            self.when(command)
        return self

    def when(self, command: Command) -> Self:
        self._cause += 1
        self.events = decide(self.state, command, self._cause)
        self.state = fold(self.state, self.events)
        self.log.extend(self.events)
        return self

    def then(self, *kinds: type[MemoryEvent]) -> tuple[MemoryEvent, ...]:
        assert tuple(type(e) for e in self.events) == kinds
        return self.events

    def memory_id(self, content: str) -> str:
        """Id of the newest memory with this content."""
        return next(e.memory_id for e in reversed(self.log) if isinstance(e, MemoryAdded) and e.content == content)


def later(**kw: float) -> datetime:
    return NOON + timedelta(**kw)


__all__ = ["KEY", "NOON", "OWNER", "Scenario", "extracted", "fact", "forget", "later"]
