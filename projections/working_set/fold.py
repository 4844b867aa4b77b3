"""What each record makes of an owner's working set. It follows from the records alone, whatever order two topics meet in.

Conversation and memory events are two topics: a memory may be forgotten together with a message that has not been read yet. Such
a message is noted as gone until its turn comes by, and which messages a memory was learnt from is known as long as one of them
is held, or is still to come.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from projections.working_set.entries import FOCUS, MEMORIES, MESSAGES, Focused, HeldMemory, HeldMessage, Named
from schemas.sealed import Sealed, left_of
from schemas.types import (
    ConversationTurn,
    MemoryAdded,
    MemoryForgotten,
    MemoryPinned,
    MemoryReheated,
    MemoryRevised,
    MemoryUnpinned,
    SourceRef,
)

MARKER, MESSAGE, MEMORY, EVIDENCE, GONE, UNTIL = b"held", b"message:", b"memory:", b"evidence:", b"gone:", b"focus_until"
"""Fields of an owner's hash. The marker says that the hash is whole, also where it holds nothing else."""
Fields = dict[bytes, bytes]

_encode = msgspec.json.encode
_message, _memory = msgspec.json.Decoder(HeldMessage), msgspec.json.Decoder(HeldMemory)
_evidence = msgspec.json.Decoder(list[Named])


class Windows:
    """One owner's windows, in memory."""

    def __init__(self) -> None:
        self.messages: dict[str, HeldMessage] = {}
        self.memories: dict[str, HeldMemory] = {}
        self._evidence: dict[str, list[Named]] = {}
        self._gone: dict[str, int] = {}

    @classmethod
    def read(cls, fields: Mapping[bytes, bytes]) -> Windows:
        """The windows that a hash holds."""
        made = cls()
        for field, value in fields.items():
            kind, _, id = field.partition(b":")
            match kind + b":":
                case b"message:":
                    made.messages[id.decode()] = _message.decode(value)
                case b"memory:":
                    made.memories[id.decode()] = _memory.decode(value)
                case b"evidence:":
                    made._evidence[id.decode()] = _evidence.decode(value)
                case b"gone:":
                    made._gone[id.decode()] = int(value)
        return made

    def fields(self, ttl_s: int) -> Fields:
        """The hash of these windows."""
        found = {MARKER: b"1"}
        found |= {MESSAGE + id.encode(): _encode(message) for id, message in self.messages.items()}
        found |= {MEMORY + id.encode(): _encode(memory) for id, memory in self.memories.items()}
        found |= {EVIDENCE + id.encode(): _encode(named) for id, named in self._evidence.items()}
        found |= {GONE + id.encode(): str(offset).encode() for id, offset in self._gone.items()}
        if focus := self.focus(ttl_s):
            found[UNTIL] = str(expires(focus, ttl_s)).encode()
        return found

    def focus(self, ttl_s: int) -> list[Focused]:
        """What was touched last, newest first, as far back from the newest as the buffer lives."""
        touched = [Focused("message", m.message_id, m.at) for m in self.messages.values() if m.text is not None]
        touched += [Focused("memory", m.memory_id, m.touched_at) for m in self.memories.values()]
        touched.sort(key=lambda it: (it.at, it.kind, it.id), reverse=True)
        if not touched:
            return []
        begin = touched[0].at - timedelta(seconds=ttl_s)
        return [it for it in touched[:FOCUS] if it.at > begin]

    def say(self, turn: ConversationTurn, offset: int) -> None:
        """Take the messages of a turn. Raises SealedValue where one was not opened; nothing is taken then."""
        said = [
            HeldMessage(m.message_id, turn.turn_id, m.role, _text(m.content), m.sent_at or turn.occurred_at, offset, place)
            for place, m in enumerate(turn.messages)
        ]
        for message in said:
            if message.message_id not in self.messages:  # else the turn was published twice
                gone = self._gone.pop(message.message_id, None) is not None
                self.messages[message.message_id] = replace(message, text=None) if gone else message
        while len(self.messages) > MESSAGES:
            del self.messages[min(self.messages.values(), key=_by_time).message_id]

    def change(self, event: Any) -> None:
        """Take a memory event; most change nothing here. Raises SealedValue where a text was not opened."""
        match event:
            case MemoryAdded() | MemoryRevised():
                self._tell(event)
                self._name(event.memory_id, event.source)
            case MemoryReheated():
                self._touch(event)
                self._name(event.memory_id, event.source)
            case MemoryPinned() | MemoryUnpinned():
                self._pin(event)
            case MemoryForgotten():
                self._forget(event)
        while len(self.memories) > MEMORIES:
            del self.memories[min(self.memories.values(), key=lambda memory: (memory.sacred, memory.sequence)).memory_id]

    def settle(self, next_offset: int) -> None:
        """Let go of what is known of messages that are not held and were read: below ``next_offset`` of the conversation."""
        for id, named in list(self._evidence.items()):
            kept = [it for it in named if it.message_id in self.messages or it.offset >= next_offset]
            if kept:
                self._evidence[id] = kept
            else:
                del self._evidence[id]
        self._gone = {id: offset for id, offset in self._gone.items() if offset >= next_offset}

    def _tell(self, event: MemoryAdded | MemoryRevised) -> None:
        meta, known = event.meta, self.memories.get(event.memory_id)
        new = isinstance(event, MemoryAdded)
        self.memories[event.memory_id] = HeldMemory(
            memory_id=event.memory_id,
            text=left_of(event.content),
            temperature=event.temperature,
            warmed_at=meta.occurred_at if isinstance(event, MemoryAdded) else event.warmed_at,
            access_count=1 if isinstance(event, MemoryAdded) else event.access_count,
            version=1 if isinstance(event, MemoryAdded) else event.version,
            sacred=False if new or known is None else known.sacred,
            policy=event.policy,
            salience=event.salience if isinstance(event, MemoryAdded) else None if known is None else known.salience,
            touched_at=meta.occurred_at,
            sequence=meta.sequence,
        )

    def _touch(self, event: MemoryReheated) -> None:
        known = self.memories.get(event.memory_id)
        self.memories[event.memory_id] = HeldMemory(
            memory_id=event.memory_id,
            text=None if known is None else known.text,
            temperature=event.temperature,
            warmed_at=event.warmed_at,
            access_count=event.access_count,
            version=None if known is None else known.version,
            sacred=known is not None and known.sacred,
            policy=event.policy,
            salience=None if known is None else known.salience,
            touched_at=event.meta.occurred_at,
            sequence=event.meta.sequence,
        )

    def _pin(self, event: MemoryPinned | MemoryUnpinned) -> None:
        if (known := self.memories.get(event.memory_id)) is None:
            return
        self.memories[event.memory_id] = replace(
            known,
            temperature=event.temperature,
            warmed_at=event.warmed_at,
            sacred=isinstance(event, MemoryPinned),
            touched_at=event.meta.occurred_at,
            sequence=event.meta.sequence,
        )

    def _name(self, memory_id: str, source: SourceRef | None) -> None:
        if source is not None:
            named = [*self._evidence.get(memory_id, ()), *(Named(m.message_id, source.source_offset) for m in source.messages)]
            self._evidence[memory_id] = list({it.message_id: it for it in named}.values())

    def _forget(self, event: MemoryForgotten) -> None:
        self.memories.pop(event.memory_id, None)
        for named in self._evidence.pop(event.memory_id, ()):
            if not event.include_source:
                continue
            held = self.messages.get(named.message_id)
            if held is None:
                self._gone[named.message_id] = named.offset
            else:
                self.messages[named.message_id] = replace(held, text=None)


def expires(focus: list[Focused], ttl_s: int) -> int:
    """When the buffer expires, in whole seconds since the epoch: ``ttl_s`` after the last event in it."""
    return int(focus[0].at.timestamp()) + ttl_s


def _by_time(message: HeldMessage) -> tuple[datetime, int, int]:
    return (message.at, message.offset, message.place)


def _text(value: Sealed) -> str | None:
    return None if value.is_destroyed else value.text
