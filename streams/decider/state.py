"""What the decider knows of one owner: the fold of the owner's accepted events and nothing else.

The state is a set of keyed entries in a persistent map (``immutables.Map``): a changed state shares all that did not change with
the one before, and a decision that is thrown away costs nothing. An entry is found by what a command names (an id, a fingerprint,
a message), so a command needs only the entries that it touches (``touched``), however many memories its owner has.

| key | entry | what it says |
|---|---|---|
| ``m:`` memory id | MemoryState or Gone | a live memory, or one that was forgotten |
| ``f:`` fingerprint | Statement | the memories that say it, that said it once, and until where a forget holds it back |
| ``e:`` message reference | tuple of ids | memories that the message was evidence for, and (with ``y:``) summaries of it |
| ``s:`` slug's fingerprint | memory id | the memory of that slug |
| ``l:`` source, target, kind | weight | a link |
| ``y:`` summary id | SummaryState | a day's summary |
| ``d:`` command id | cause, or FORGOT | a command that was decided; an extraction's is its turn |
| ``a:`` access id | AccessState | who may read |
| ``n:`` alias's fingerprint | 1 | an alias |
| ``p:`` policy, ``t:`` setting | Versioned | its newest value |
| ``q:`` request id | ApprovalState | an approval |
"""

from __future__ import annotations

from datetime import datetime
from typing import cast

from immutables import Map, MapMutation

from schemas.types import AccessKind, Sealed, ThermalPolicy
from schemas.value import Value

DONE = "d:"
FORGOT = "forgot"
"""Entry of a decided command that forgot something: only such a one is confirmed and receipted."""
SUMMARY = "y:"
HOT = "hot"
TIERS = (HOT, "warm", "cold")


class MemoryState(Value, frozen=True):
    """A live memory: ``temperature`` is that at ``warmed_at``."""

    fingerprint: str
    temperature: float
    warmed_at: datetime
    access_count: int
    policy: ThermalPolicy
    version: int = 1
    pinned: bool = False
    tier: str = HOT
    slug_fingerprint: str | None = None
    details_fingerprint: str | None = None
    summaries: tuple[str, ...] = ()


class Gone(Value, frozen=True):
    """A forgotten memory; turns at or above ``cut`` may teach its fact anew."""

    cut: int


class Statement(Value, frozen=True):
    """A statement by its fingerprint: live memories, oldest first, and the conversation offset below which it is held back.

    ``former`` are memories that said it before they were revised: forgotten, they hold it back as well.
    """

    memory_ids: tuple[str, ...] = ()
    held_below: int = 0
    former: tuple[str, ...] = ()


class SummaryState(Value, frozen=True):
    """A day's summary; ``live`` is false after a memory that it was made from was forgotten."""

    revision: int
    live: bool


class AccessState(Value, frozen=True):
    """An access; ``session`` is only carried from its beginning to its end."""

    subject: str
    kind: AccessKind
    open: bool
    session: Sealed | None = None


class Versioned(Value, frozen=True):
    """A policy's value or a setting's fingerprint."""

    value: str
    version: int


class ApprovalState(Value, frozen=True):
    """An approval: ``status`` is open, granted, denied or expired."""

    operation: str
    operation_id: str
    requested_by: str
    requester_may_decide: bool
    expires_at: datetime
    status: str = "open"


Entry = (
    MemoryState | Gone | Statement | SummaryState | AccessState | Versioned | ApprovalState | tuple[str, ...] | str | float | int
)
NOTHING_SAID = Statement()
_NO_ENTRIES: Map[str, Entry] = Map()


class Known:
    """Reading entries, of a state or of one that is being changed."""

    __slots__ = ()
    entries: Map[str, Entry] | MapMutation[str, Entry]

    def memory(self, memory_id: str) -> MemoryState | None:
        """The memory, where it is live."""
        found = self.entries.get("m:" + memory_id)
        return found if type(found) is MemoryState else None

    def is_gone(self, memory_id: str) -> bool:
        """Whether the memory was forgotten."""
        return type(self.entries.get("m:" + memory_id)) is Gone

    def statement(self, fingerprint: str) -> Statement:
        """What is known of a statement."""
        return cast(Statement, self.entries.get("f:" + fingerprint, NOTHING_SAID))

    def holds_statement(self, said: Statement, offset: int) -> bool:
        """Whether a forget holds the statement back where it was said at ``offset`` of the conversation."""
        if offset < said.held_below:
            return True
        return any(type(gone := self.entries.get("m:" + m)) is Gone and offset < gone.cut for m in said.former)

    def holds_message(self, message_id: str) -> bool:
        """Whether the message is a source of a forgotten memory."""
        known = self.entries.get("e:" + message_id)
        return known is not None and any(map(self.is_gone, cast("tuple[str, ...]", known)))

    def of_slug(self, fingerprint: str) -> str | None:
        """Id of the memory of a slug."""
        return cast("str | None", self.entries.get("s:" + fingerprint))

    def was_decided(self, command_id: str) -> bool:
        """Whether a command of this id was decided."""
        return DONE + command_id in self.entries

    def did_forget(self, command_id: str) -> bool:
        """Whether a command of this id forgot something."""
        return self.entries.get(DONE + command_id) == FORGOT

    def link(self, source: str, target: str, kind: str) -> float | None:
        """Weight of a link."""
        return cast("float | None", self.entries.get(link_key(source, target, kind)))

    def summary(self, summary_id: str) -> SummaryState | None:
        """A day's summary."""
        return cast("SummaryState | None", self.entries.get("y:" + summary_id))

    def access(self, access_id: str) -> AccessState | None:
        """An access."""
        return cast("AccessState | None", self.entries.get("a:" + access_id))

    def approval(self, request_id: str) -> ApprovalState | None:
        """An approval."""
        return cast("ApprovalState | None", self.entries.get("q:" + request_id))

    def versioned(self, key: str) -> Versioned | None:
        """A policy (``p:`` name) or setting (``t:`` name)."""
        return cast("Versioned | None", self.entries.get(key))


class OwnerState(Known, Value, frozen=True):
    """One owner. ``last_sequence`` and ``last_cause`` are those of the last accepted event (0 and -1 before the first)."""

    last_sequence: int = 0
    last_cause: int = -1
    live: int = 0
    """Live memories."""
    erased_below: int = 0
    """Conversation offset below which turns add nothing, after an erasure."""
    erased_cause: int = -1
    """Cause of the last erasure: entries from before it are void, but for the commands that were decided."""
    forgot_below: int = 0
    """Highest conversation offset that any forget reached: an erasure reaches no less far."""
    entries: Map[str, Entry] = _NO_ENTRIES


def link_key(source: str, target: str, kind: str) -> str:
    """Key of a link."""
    return f"l:{source}|{target}|{kind}"


EMPTY = OwnerState()
