"""graph: traces, their vectors, and the edges between them; recall finds memories by the vectors.

Its three topics meet in any order. memory.events says which memories and summaries there are, what they tell (``graph_edges``),
and what is gone; conversation.events has the messages (``graph_messages``); memory.embeddings the vectors (``graph_vectors``).
What is gone leaves, and what a slow worker still delivers of it stays out for good.

Compaction keeps the last record of a vector's key. Where a stopped embedder wakes up and writes an older vector behind a newer
one, and compaction then removes the newer, a rebuild finds only the older: ``verify`` says so, and embedding that memory anew
mends it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from uuid import UUID

from projections.folding import FoldingView
from projections.records import Kind, Placed, Source, refuse_nul
from projections.rows import Rows, Wanted, uuid_of
from projections.vector_records import parse_key
from projections.view import Table, ViewSettings
from projections.views import graph_edges as edges
from projections.views import graph_rows as make
from projections.views.graph_edges import EDGE, ENTITY, EVIDENCE, SAID, TELLING, Teller, Telling
from projections.views.graph_messages import Messages
from projections.views.graph_rows import ERASED, FORGOTTEN, GONE, TRACE, WAITING_MESSAGE, Erased, Forgotten, Trace
from projections.views.graph_vectors import Vectors
from schemas.errors import BrokenRecord
from schemas.ids import is_uuid
from schemas.types import (
    ConversationTurn,
    DaySummarised,
    MemoriesLinked,
    MemoriesUnlinked,
    MemoryAdded,
    MemoryDownshifted,
    MemoryEmbedding,
    MemoryForgotten,
    MemoryReheated,
    MemoryRevised,
    MessageEmbedding,
    OwnerErased,
)

_Learnt = MemoryAdded | MemoryReheated | MemoryRevised
_EVENTS = (
    MemoryAdded, MemoryReheated, MemoryRevised, MemoryDownshifted, MemoryForgotten, MemoriesLinked, MemoriesUnlinked,
    DaySummarised,
)  # fmt: skip


class GraphView(FoldingView):
    """Traces, vectors, edges, entities, and what is gone."""

    name = "graph"
    version = 1

    def __init__(self, settings: ViewSettings) -> None:
        self._vectors = Vectors(settings.embedding_precision, settings.embedding_dim, settings.hot_days, settings.index_memory_mb)
        self._messages = Messages(settings.salience_threshold, self._vectors)
        self.tables: tuple[Table, ...] = (
            TRACE, WAITING_MESSAGE, self._vectors.kept, self._vectors.waiting, EDGE, TELLING, ENTITY, FORGOTTEN, GONE, ERASED
        )  # fmt: skip
        topics, count = settings.topics, settings.topics.partitions
        self.sources = (
            Source(topics.events, count, Kind.EVENTS),
            Source(topics.conversation, count, Kind.PLAIN, (ConversationTurn,)),
            Source(topics.embeddings, count, Kind.PLAIN, (MemoryEmbedding, MessageEmbedding), compacted=True),
        )

    def check(self, placed: Placed) -> None:
        """Ids are UUIDs, keys agree with them, texts are texts that PostgreSQL takes, vectors are what they say."""
        match placed.record:
            case None:
                parse_key(placed.key or b"")
            case MemoryEmbedding() | MessageEmbedding() as record:
                self._vectors.check(placed.key, record)
            case ConversationTurn() as turn:
                _must_be_ids([turn.owner, *(message.message_id for message in turn.messages)])
                for value in (*turn.messages, turn.user_id, turn.session_id):
                    refuse_nul(value)
            case event if isinstance(event, _EVENTS):
                refuse_nul(event)
                _must_be_ids(_named_in(event))

    def wants(self, wanted: Wanted, placed: Placed) -> None:
        """The traces that a record is about, and what it tells."""
        match placed.record:
            case None:
                self._vectors.want_key(wanted, parse_key(placed.key or b""))
            case MemoryEmbedding() | MessageEmbedding() as record:
                self._vectors.want_delivery(wanted, record)
            case ConversationTurn() as turn:
                self._messages.want_turn(wanted, turn)
            case MemoryAdded() | MemoryReheated() | MemoryRevised() as event:
                self._want_learnt(wanted, event)
            case MemoryDownshifted() as event:
                self._want_trace(wanted, uuid_of(event.memory_id))
            case MemoriesLinked() | MemoriesUnlinked() as event:
                edges.want(wanted, edges.from_link(event))
            case DaySummarised() as event:
                self._want_day(wanted, event)
            case MemoryForgotten() as event:
                wanted.key(FORGOTTEN, uuid_of(event.memory_id))
                for trace in (event.memory_id, *event.summary_ids):
                    wanted.key(TRACE, uuid_of(trace))
                    wanted.where(TELLING, "told_by", uuid_of(trace))
            case OwnerErased(meta=meta):
                wanted.key(ERASED, uuid_of(meta.owner))
                self._vectors.want_owner(wanted, uuid_of(meta.owner))

    def wants_next(self, wanted: Wanted, rows: Rows, placed: Placed) -> None:
        """What is told until now by those who are about to tell something else, or nothing any more."""
        for teller in _retold(placed.record):
            for telling in rows.where(Telling, TELLING, "told_by", teller):
                edges.want(wanted, telling)
                if telling.how == EVIDENCE:
                    self._messages.want(wanted, telling.dst)

    def fold(self, rows: Rows, placed: Placed) -> None:
        """Make the rows follow."""
        match placed.record:
            case None:
                self._vectors.remove_key(rows, parse_key(placed.key or b""))
            case MemoryEmbedding() | MessageEmbedding() as record:
                self._vectors.deliver(rows, record)
            case ConversationTurn() as turn:
                self._messages.said(rows, placed, turn)
            case MemoryAdded() as event:
                row = make.memory(placed, event)
                self._write(rows, row)
                self._learn(rows, row, event)
            case MemoryReheated() | MemoryRevised() | MemoryDownshifted() as event:
                self._change(rows, event)
            case MemoriesLinked() as event:
                edges.tell(rows, edges.from_link(event))
            case MemoriesUnlinked() as event:
                edges.untell(rows, edges.from_link(event))
            case DaySummarised() as event:
                self._summarise(rows, placed, event)
            case MemoryForgotten() as event:
                self._forget(rows, event)
            case OwnerErased(meta=meta):
                self._erase(rows, uuid_of(meta.owner), meta.sequence)

    def _want_trace(self, wanted: Wanted, trace: UUID) -> None:
        wanted.key(TRACE, trace)
        self._vectors.want(wanted, trace)

    def _want_learnt(self, wanted: Wanted, event: _Learnt) -> None:
        memory, meta = uuid_of(event.memory_id), event.meta
        self._want_trace(wanted, memory)
        teller = Teller(memory, uuid_of(meta.owner), 0.0, meta.occurred_at)
        for telling in edges.from_turn(teller, event.source):
            edges.want(wanted, telling)
            self._messages.want(wanted, telling.dst)
        if not isinstance(event, MemoryReheated):
            for telling in edges.from_words(teller, event.entities, event.triples).edges:
                edges.want(wanted, telling)
        if isinstance(event, MemoryRevised):
            wanted.where(TELLING, "told_by", memory)

    def _want_day(self, wanted: Wanted, event: DaySummarised) -> None:
        summary, owner = uuid_of(event.summary_id), uuid_of(event.meta.owner)
        self._want_trace(wanted, summary)
        wanted.where(TELLING, "told_by", summary)
        for memory in event.memory_ids:
            wanted.key(TRACE, uuid_of(memory))
        for message in event.message_ids:
            wanted.key(GONE, uuid_of(message))
        teller = Teller(summary, owner, 0.0, event.meta.occurred_at)
        made_from = edges.from_day(teller, map(uuid_of, (*event.memory_ids, *event.message_ids)))
        for telling in (*edges.from_words(teller, (), event.triples).edges, *made_from):
            edges.want(wanted, telling)

    def _write(self, rows: Rows, row: Trace) -> None:
        rows.put(TRACE, row)
        self._vectors.keep(rows, row)

    def _learn(self, rows: Rows, row: Trace, event: _Learnt) -> None:
        """What a memory was learnt from, and what its words tell."""
        teller = Teller(row.id, row.owner, row.salience, event.meta.occurred_at)
        for telling in edges.from_turn(teller, event.source):
            if not self._messages.is_gone(rows, telling.dst):
                edges.tell(rows, telling)
                self._messages.settle(rows, telling.dst)
        if not isinstance(event, MemoryReheated):
            told = edges.from_words(teller, event.entities, event.triples)
            for telling in told.edges:
                edges.tell(rows, telling, told.names)

    def _change(self, rows: Rows, event: MemoryReheated | MemoryRevised | MemoryDownshifted) -> None:
        row = rows.get(Trace, TRACE, uuid_of(event.memory_id))
        if row is None:
            return  # forgotten before
        match event:
            case MemoryDownshifted():
                self._write(rows, make.downshifted(row, event))
            case MemoryReheated():
                self._learn(rows, row, event)
            case MemoryRevised():
                self._untell(rows, row.id, SAID)
                self._write(rows, make.revised(row, event))
                self._learn(rows, row, event)

    def _summarise(self, rows: Rows, placed: Placed, event: DaySummarised) -> None:
        found = [rows.get(Trace, TRACE, uuid_of(memory)) for memory in event.memory_ids]
        memories = [row for row in found if row is not None]
        messages = [id for id in map(uuid_of, event.message_ids) if not self._messages.is_gone(rows, id)]
        row = make.summary(placed, event, memories)
        self._untell(rows, row.id)
        self._write(rows, row)
        teller = Teller(row.id, row.owner, row.salience, event.meta.occurred_at)
        told = edges.from_words(teller, (), event.triples)
        for telling in (*told.edges, *edges.from_day(teller, [*(memory.id for memory in memories), *messages])):
            edges.tell(rows, telling, told.names)

    def _forget(self, rows: Rows, event: MemoryForgotten) -> None:
        memory, owner = uuid_of(event.memory_id), uuid_of(event.meta.owner)
        rows.put(FORGOTTEN, Forgotten(memory, event.meta.sequence))
        taught = [telling.dst for telling in _told_by(rows, memory) if telling.how == EVIDENCE]
        for trace in (memory, *map(uuid_of, event.summary_ids)):
            self._untell(rows, trace)
            edges.lead_nowhere(rows, trace)
            rows.remove(TRACE, trace)
            self._vectors.remove(rows, trace)
        for message in taught if event.include_source else ():
            self._messages.forget(rows, message, owner)

    def _untell(self, rows: Rows, teller: UUID, how: Iterable[str] = ()) -> None:
        """It tells nothing any more, or nothing any more in one of these ways."""
        for telling in _told_by(rows, teller):
            if not how or telling.how in how:
                edges.untell(rows, telling)
                if telling.how == EVIDENCE:
                    self._messages.settle(rows, telling.dst)

    def _erase(self, rows: Rows, owner: UUID, sequence: int) -> None:
        rows.put(ERASED, Erased(owner, sequence))
        self._vectors.erase(rows, owner, sequence)
        for table in (TRACE, WAITING_MESSAGE, EDGE, TELLING, ENTITY):
            rows.remove_where(table, "owner", owner)


def _told_by(rows: Rows, teller: UUID) -> list[Telling]:
    return rows.where(Telling, TELLING, "told_by", teller)


def _retold(record: object) -> list[UUID]:
    """Those who tell something else from now on, or nothing any more."""
    match record:
        case MemoryRevised():
            return [uuid_of(record.memory_id)]
        case DaySummarised():
            return [uuid_of(record.summary_id)]
        case MemoryForgotten():
            return [uuid_of(record.memory_id), *map(uuid_of, record.summary_ids)]
        case _:
            return []


def _named_in(event: object) -> Iterator[str]:
    """Ids of the traces that an event names."""
    for name in ("memory_id", "source_id", "target_id", "summary_id"):
        if (id := getattr(event, name, None)) is not None:
            yield id
    for name in ("summary_ids", "memory_ids", "message_ids"):
        yield from getattr(event, name, ())
    source = getattr(event, "source", None)
    if source is not None:
        yield from (message.message_id for message in source.messages)


def _must_be_ids(ids: Iterable[str]) -> None:
    if not all(map(is_uuid, ids)):
        raise BrokenRecord("an id of a memory, message, summary or owner is not a UUID")
