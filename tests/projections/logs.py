"""Logs to fold: a small writer of memory events that follows the protocol (and can break it on purpose)."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from schemas import ids, types
from schemas.fingerprint import fingerprint
from schemas.sealed import Sealed, maybe
from schemas.temperature import mentioned, temperature_at
from schemas.topics import Topics
from schemas.types import EventMeta, MemoryEmbedding, MemoryEvent, MessageEmbedding, MessageRef, SourceRef, ThermalPolicy
from schemas.vectors import Precision, pack
from tests.projections.other_events import OTHERS
from tests.projections.record_log import T0, Rec, RecordLog, slice_rows

__all__ = ["HEAD", "MODEL", "POLICY", "T0", "LogMaker", "Rec", "foreign_forget", "slice_rows"]

POLICY = ThermalPolicy()
MODEL, HEAD = "test-model", "semantic"
KEY = b"k" * 32


@dataclass
class _Memory:
    temperature: float
    warmed_at: datetime
    count: int = 1
    version: int = 1
    pinned: bool = False

    def at(self, now: datetime) -> float:
        return temperature_at(self.temperature, self.warmed_at, now, POLICY, self.pinned)

    def mention(self, now: datetime) -> float:
        """Warm it; the temperature before."""
        before = self.at(now)
        self.temperature, self.warmed_at, self.count = mentioned(before, POLICY), now, self.count + 1
        return before


@dataclass
class _OwnerState:
    sequence: int = 0
    memories: dict[str, _Memory] = field(default_factory=dict)


@dataclass
class _Command:
    """A command under way: ``meta()`` is that of its next event."""

    owner: str
    cause: int
    now: datetime
    state: _OwnerState
    events: list[MemoryEvent] = field(default_factory=list)

    @property
    def turn(self) -> str:
        return ids.turn_id(self.owner, str(self.cause))

    def meta(self) -> EventMeta:
        self.state.sequence += 1
        return EventMeta(self.owner, self.state.sequence, self.cause, 1, self.now, self.turn)

    def source(self, session: str, facts: int, failed: int = 0, producer_id: str | None = None) -> SourceRef:
        """The command as a turn of one message."""
        reference = ids.message_id(self.turn, 0) if producer_id is None else ids.message_reference(self.owner, producer_id)
        messages = (MessageRef(reference, maybe(producer_id)),)
        return SourceRef(self.turn, Sealed.of(session), "agent-1", messages, self.cause, facts, failed)


class LogMaker(RecordLog):
    """Writes slices for owners, keeping sequences, causes and offsets as a decider would. Each call is one append."""

    def __init__(self, topics: Topics) -> None:
        super().__init__(topics)
        self._owners: dict[str, _OwnerState] = defaultdict(_OwnerState)
        self._causes = itertools.count(1)

    def add(
        self,
        owner: str,
        *contents: str,
        session: str = "s-1",
        user_id: str = "u-1",
        at: datetime | None = None,
        producer_id: str | None = None,
        salience: float = 0.5,
        source: SourceRef | None = None,
    ) -> list[str]:
        """One turn that adds a memory for each content; their ids."""
        command = self._command(owner, at)
        source = source or command.source(session, len(contents), producer_id=producer_id)
        made = []
        for place, content in enumerate(contents):
            made.append(self._added(command, place, content, user_id, source, salience=salience))
        self.append(owner, command.events)
        return made

    def request(self, owner: str, content: str, *, user_id: str = "u-1", at: datetime | None = None, **details: str) -> str:
        """One request to remember; ``details``: slug, category, extra, tags (comma-separated). The memory's id."""
        command = self._command(owner, at)
        made = self._added(command, 0, content, user_id, None, details=details)
        self.append(owner, command.events)
        return made

    def _added(
        self,
        command: _Command,
        place: int,
        content: str,
        user_id: str,
        source: SourceRef | None,
        *,
        salience: float = 0.5,
        details: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        memory = ids.memory_id(command.owner, command.cause, place)
        command.state.memories[memory] = _Memory(POLICY.initial, command.now)
        command.events.append(
            types.MemoryAdded(
                meta=command.meta(),
                memory_id=memory,
                user_id=Sealed.of(user_id),
                content=Sealed.of(content),
                fingerprint=fingerprint(KEY, content),
                salience=salience,
                temperature=POLICY.initial,
                policy=POLICY,
                source=source,
                extractor="request" if source is None else "mem0",
                model="" if source is None else "recorded",
                rules=False,
                slug=maybe(details.get("slug")),
                category=maybe(details.get("category")),
                extra=maybe(details.get("extra")),
                tags=_tags(details) or (),
            )
        )
        return memory

    def reheat(self, owner: str, *memories: str, at: datetime | None = None, by_request: bool = False) -> None:
        """One turn (or request) that mentions known memories."""
        command = self._command(owner, at)
        source = None if by_request else command.source("s-2", len(memories))
        for memory in memories:
            known = command.state.memories[memory]
            command.events.append(
                types.MemoryReheated(
                    meta=command.meta(),
                    memory_id=memory,
                    temperature_before=known.mention(command.now),
                    temperature=known.temperature,
                    warmed_at=command.now,
                    access_count=known.count,
                    policy=POLICY,
                    source=source,
                )
            )
        self.append(owner, command.events)

    def revise(
        self, owner: str, memory: str, content: str, *, at: datetime | None = None, by_request: bool = True, **details: str
    ) -> None:
        """One request (or turn) that gives a memory other words; ``details`` as of ``request``."""
        command = self._command(owner, at)
        known = command.state.memories[memory]
        known.version += 1
        command.events.append(
            types.MemoryRevised(
                meta=command.meta(),
                memory_id=memory,
                version=known.version,
                content=Sealed.of(content),
                fingerprint=fingerprint(KEY, content),
                temperature_before=known.mention(command.now),
                temperature=known.temperature,
                warmed_at=command.now,
                access_count=known.count,
                policy=POLICY,
                source=None if by_request else command.source("s-4", 1),
                slug=maybe(details.get("slug")),
                category=maybe(details.get("category")),
                extra=maybe(details.get("extra")),
                tags=_tags(details),
            )
        )
        self.append(owner, command.events)

    def pin(self, owner: str, memory: str, *, pinned: bool = True, at: datetime | None = None) -> None:
        """One request that makes a memory sacred, or ends that."""
        command = self._command(owner, at)
        known = command.state.memories[memory]
        known.temperature, known.warmed_at, known.pinned = known.at(command.now), command.now, pinned
        kind = types.MemoryPinned if pinned else types.MemoryUnpinned
        command.events.append(kind(command.meta(), memory, known.temperature, known.warmed_at))
        self.append(owner, command.events)

    def link(self, owner: str, one: str, other: str, *, linked: bool = True) -> None:
        """One request that connects two memories, or takes the link away."""
        command = self._command(owner)
        kind = types.MemoriesLinked if linked else types.MemoriesUnlinked
        command.events.append(kind(command.meta(), one, other, "related", 0.5))
        self.append(owner, command.events)

    def downshift(self, owner: str, memory: str) -> None:
        """A consolidation that moves a memory to a cooler tier."""
        command = self._command(owner)
        command.events.append(types.MemoryDownshifted(command.meta(), memory, "hot", "warm", ("gist",)))
        self.append(owner, command.events)

    def forget(self, owner: str, *memories: str, include_source: bool = False, summaries: tuple[str, ...] = ()) -> None:
        """One command that forgets memories."""
        command = self._command(owner)
        for memory in memories:
            del command.state.memories[memory]
            command.events.append(types.MemoryForgotten(command.meta(), memory, command.cause, include_source, summaries))
        self.append(owner, command.events)

    def erase(self, owner: str) -> None:
        """One command that erases the owner."""
        command = self._command(owner)
        command.events.append(types.OwnerErased(command.meta(), command.cause, len(command.state.memories)))
        command.state.memories.clear()
        self.append(owner, command.events)

    def access(
        self, owner: str, subject: str, *, ended: bool = False, access_id: str = "a-1", at: datetime | None = None
    ) -> None:
        """One command that lets ``subject`` read this owner's memories, or no longer."""
        command = self._command(owner, at)
        kind = types.AccessEnded if ended else types.AccessBegan
        command.events.append(kind(command.meta(), access_id, subject, "session", Sealed.of("s-1")))
        self.append(owner, command.events)

    def note(self, owner: str, failed: int = 0, with_source: bool = True) -> None:
        """One turn that changed nothing."""
        command = self._command(owner)
        source = command.source("s-3", 0, failed) if with_source else None
        command.events.append(types.CommandNoted(command.meta(), "FactsExtracted", "no facts", source))
        self.append(owner, command.events)

    def other(self, owner: str, kind: type[MemoryEvent]) -> None:
        """One event that is about no single memory."""
        command = self._command(owner)
        command.events.append(OTHERS[kind](command.meta()))
        self.append(owner, command.events)

    def embed(
        self,
        owner: str,
        memory: str,
        vector: Sequence[float],
        model: str = MODEL,
        sequence: int | None = None,
        precision: Precision = "fp32",
    ) -> Rec:
        """The vector of a memory, made from the owner's event ``sequence`` (the newest, if None)."""
        made_from = self.sequence(owner) if sequence is None else sequence
        record = MemoryEmbedding(memory, owner, HEAD, model, len(vector), Sealed(pack(vector, precision)), made_from)
        return self.plain(self.topics.embeddings, owner, f"{memory}/{HEAD}/{model}".encode(), record)

    def embed_message(self, owner: str, message: str, vector: Sealed) -> Rec:
        """The vector of a message, of two numbers."""
        record = MessageEmbedding(message, owner, HEAD, MODEL, 2, vector)
        return self.plain(self.topics.embeddings, owner, f"{message}/{HEAD}/{MODEL}".encode(), record)

    def say(self, owner: str, producer_id: str, content: str | None = None) -> str:
        """A turn of one message, which its producer gave an id; our reference of it."""
        message, turn = ids.message_reference(owner, producer_id), ids.turn_id(owner, f"turn of {producer_id}")
        said = types.Message(message, "user", Sealed.of(content or f"{producer_id} was said"), maybe(producer_id))
        record = types.ConversationTurn(turn, owner, Sealed.of("u-1"), "agent-1", Sealed.of("s-1"), self.now(), (said,))
        self.plain(self.topics.conversation, owner, owner.encode(), record)
        return message

    def unembed(self, owner: str, memory: str, model: str = MODEL) -> Rec:
        """The tombstone of a memory's vector."""
        return self.plain(self.topics.embeddings, owner, f"{memory}/{HEAD}/{model}".encode(), None)

    def live(self, owner: str) -> list[str]:
        """Ids of the owner's memories, oldest first."""
        return list(self._owners[owner].memories)

    def sequence(self, owner: str) -> int:
        return self._owners[owner].sequence

    def _command(self, owner: str, at: datetime | None = None) -> _Command:
        return _Command(owner, next(self._causes), self.now(at), self._owners[owner])


def _tags(details: Mapping[str, str]) -> tuple[Sealed, ...] | None:
    return tuple(map(Sealed.of, details["tags"].split(","))) if "tags" in details else None


def foreign_forget(owner: str, sequence: int, cause: int, memory: str) -> types.MemoryForgotten:
    """An event that no LogMaker counts, as a zombie may write it."""
    return types.MemoryForgotten(EventMeta(owner, sequence, cause, 1, T0, "no-command"), memory, 0, False, ())
