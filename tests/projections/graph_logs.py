"""Logs for the graph: memories that tell something, summaries, turns; and how a replay finds a log whose keys were destroyed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from msgspec.structs import astuple
from msgspec.structs import replace as changed

from projections.rows import Row, Rows
from projections.vectors import Vector
from projections.views.graph import GraphView
from schemas import ids, types
from schemas.codec import decode, encode
from schemas.fingerprint import fingerprint
from schemas.sealed import DESTROYED, Sealed
from schemas.subjects import Subject, sealed_with
from schemas.topics import Topics
from schemas.types import Entity, MessageRef, SourceRef, Triple
from tests.projections.logs import HEAD, KEY, MODEL, POLICY, LogMaker, Rec
from tests.projections.reference import fold_all

GRAPH_TOPICS = Topics(partitions=2, prefix="graph.")
GONE = Sealed(b"", DESTROYED)
Said = tuple[str, str, str]


def triples_of(said: Sequence[Said]) -> tuple[Triple, ...]:
    return tuple(Triple(*map(Sealed.of, parts)) for parts in said)


class GraphLog(LogMaker):
    """A log whose memories and summaries tell something."""

    def __init__(self, topics: Topics = GRAPH_TOPICS) -> None:
        super().__init__(topics)
        self.summaries: dict[str, str] = {}
        """Summaries that were made, with their owners."""

    def learn(
        self,
        owner: str,
        content: str,
        *said: Said,
        messages: Sequence[str] = (),
        salience: float = 0.5,
        entities: Sequence[str] = (),
    ) -> str:
        """A turn whose ``messages`` teach a fact that says ``said``; the memory's id."""
        command = self._command(owner)
        memory = self._added(command, 0, content, "u-1", None, salience=salience)
        [event] = command.events
        assert isinstance(event, types.MemoryAdded)
        command.events[:] = [
            _with(
                event,
                source=self._source(command, messages),
                triples=triples_of(said),
                entities=tuple(Entity(Sealed.of(name), "thing") for name in entities),
            )
        ]
        self.append(owner, command.events)
        return memory

    def reword(self, owner: str, memory: str, content: str, *said: Said, messages: Sequence[str] = ()) -> None:
        """A turn that revises a memory."""
        command = self._command(owner)
        known = command.state.memories[memory]
        known.version += 1
        event = types.MemoryRevised(
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
            source=self._source(command, messages),
            triples=triples_of(said),
        )
        self.append(owner, [event])

    def mention(self, owner: str, memory: str, messages: Sequence[str]) -> None:
        """A turn that says again what is known."""
        command = self._command(owner)
        known = command.state.memories[memory]
        known.count += 1
        temperatures = (known.temperature, known.temperature, command.now)
        source = self._source(command, messages)
        event = types.MemoryReheated(command.meta(), memory, *temperatures, known.count, POLICY, source)
        self.append(owner, [event])

    def cool(self, owner: str, memory: str, tier: str, *heads: str) -> None:
        """A consolidation that moves a memory and drops heads."""
        command = self._command(owner)
        self.append(owner, [types.MemoryDownshifted(command.meta(), memory, "hot", tier, heads)])

    def connect(self, owner: str, one: str, other: str, weight: float | None = 0.5, kind: str = "related") -> None:
        """A link of this weight; None takes it away."""
        command = self._command(owner)
        event = types.MemoriesUnlinked if weight is None else types.MemoriesLinked
        self.append(owner, [event(command.meta(), one, other, kind, weight or 0.5)])

    def summarise(
        self, owner: str, day: date, content: str, *said: Said, memories: Sequence[str] = (), messages: Sequence[str] = ()
    ) -> str:
        """A consolidation of a day; the summary's id."""
        command, summary = self._command(owner), ids.summary_id(owner, day.isoformat())
        made_from = (tuple(memories), tuple(messages), triples_of(said))
        event = types.DaySummarised(command.meta(), summary, day, 1, Sealed.of(content), *made_from, "m", "1")
        self.append(owner, [event])
        self.summaries[summary] = owner
        return summary

    def embed_head(self, owner: str, memory: str, head: str, sequence: int) -> None:
        """A vector of another head."""
        record = types.MemoryEmbedding(memory, owner, head, MODEL, 2, Sealed(b"\0\0\0\x3c"), sequence)
        self.plain(self.topics.embeddings, owner, f"{memory}/{head}/{MODEL}".encode(), record)

    def _source(self, command: Any, messages: Sequence[str]) -> SourceRef | None:
        if not messages:
            return None
        refs = tuple(MessageRef(message, Sealed.of("a producer's id")) for message in messages)
        return SourceRef(command.turn, Sealed.of("s-1"), "agent-1", refs, command.cause, 1, 0)


def _with(event: types.MemoryAdded, **changes: Any) -> types.MemoryAdded:
    return changed(event, **changes)


def rows_of(view: GraphView, records: Sequence[Rec]) -> dict[str, Counter[Any]]:
    """The rows after ``records`` by table, made by the reference fold."""
    made: Rows = fold_all(view, records)
    return {table.name: Counter(map(_plain, made.all(table))) for table in view.tables}


def _plain(row: Row) -> tuple[Any, ...]:
    """Values that can be compared, counted and read."""
    return tuple(_shown(value) for value in astuple(row))


def _shown(value: Any) -> Any:
    if isinstance(value, Vector):
        return value.data
    return repr(sorted(value.items())) if isinstance(value, dict) else value


def replayed(records: Sequence[Rec]) -> list[Rec]:
    """The log as a replay finds it, once the keys of all that was forgotten are destroyed."""
    memories, messages, erased = _forgotten(records)
    last_summary = _last_forgotten_summaries(records)

    def left(place: int, rec: Rec) -> Rec:
        record = None if rec.value is None else _decoded(rec.value)
        if record is None:
            return rec
        owner = record.meta.owner if hasattr(record, "meta") else getattr(record, "owner", "")

        def change(value: Sealed, subject: Subject) -> Sealed:
            is_message = subject.kind == "message"
            of_turn = isinstance(record, types.ConversationTurn | types.MessageEmbedding)
            gone = (
                (is_message and (subject.name in messages or (of_turn and owner in erased)))
                or place < erased.get(owner, (-1, 0))[0]
                or (isinstance(record, types.MemoryEmbedding) and record.sequence <= erased.get(owner, (0, -1))[1])
                or (not is_message and getattr(record, "memory_id", None) in memories)
                or (isinstance(record, types.DaySummarised) and place < last_summary.get(record.summary_id, -1))
            )
            return GONE if gone else value

        closed = sealed_with(record, change)
        if isinstance(closed, types.MemoryAdded) and place > erased.get(owner, (-1, 0))[0]:
            closed = changed(closed, user_id=record.user_id)  # it goes with the owner
        return replace(rec, value=encode(closed))

    return [left(place, rec) for place, rec in enumerate(records)]


def _decoded(value: bytes) -> Any:
    try:
        return decode(value)
    except Exception:
        return None


def _forgotten(records: Sequence[Rec]) -> tuple[set[str], set[str], dict[str, tuple[int, int]]]:
    """Memories, messages, and owners with the place and sequence of their erasure."""
    taught: dict[str, set[str]] = {}
    memories: set[str] = set()
    messages: set[str] = set()
    erased: dict[str, tuple[int, int]] = {}
    for place, rec in enumerate(records):
        record = None if rec.value is None else _decoded(rec.value)
        if isinstance(record, types.MemoryAdded | types.MemoryReheated | types.MemoryRevised) and record.source is not None:
            taught.setdefault(record.memory_id, set()).update(m.message_id for m in record.source.messages)
        if isinstance(record, types.MemoryForgotten):
            memories.add(record.memory_id)
            messages |= taught.get(record.memory_id, set()) if record.include_source else set()
        if isinstance(record, types.OwnerErased):
            erased[record.meta.owner] = (place, record.meta.sequence)
    return memories, messages, erased


def _last_forgotten_summaries(records: Sequence[Rec]) -> dict[str, int]:
    """Summaries that went, with the place of the last time."""
    found = {}
    for place, rec in enumerate(records):
        record = None if rec.value is None else _decoded(rec.value)
        if isinstance(record, types.MemoryForgotten):
            found.update(dict.fromkeys(record.summary_ids, place))
    return found


__all__ = ["GRAPH_TOPICS", "HEAD", "GraphLog", "replayed", "rows_of", "triples_of"]
