"""capture: what users said and what was answered, one row per utterance, as a voice assistant's capture log keeps it.

Within a session an answer belongs to the last utterance before it, in the same turn or in an earlier one. An utterance that
nobody answered stays with a null response; several messages of an answer are joined line by line; an answer before any utterance
belongs to nobody and is left out, as are the messages of systems and tools. A message counts once, however often it comes.

It forgets as the key store does. A memory that is forgotten with its source takes the messages with it that it was learnt from:
with the utterance goes the row, with a message of the answer the answer, with a turn its tool calls and model messages. Roles and
ids stay readable on the log, so who answered whom is the same on a replay that cannot read the words any more. Of an erased owner
nothing comes back: the reference is nobody's from then on, and no key is made for it again.
"""

from __future__ import annotations

import math
from uuid import UUID

from projections.folding import FoldingView
from projections.records import Kind, Placed, Source, refuse_nul
from projections.rows import Rows, Wanted, uuid_of
from projections.view import ViewSettings
from projections.views import capture_rows as make
from projections.views.capture_rows import (
    ERASED,
    EVIDENCE,
    GONE,
    INTERACTION,
    SEEN,
    SESSION,
    Erased,
    Evidence,
    Gone,
    Interaction,
    Seen,
    Session,
)
from schemas.errors import BrokenRecord
from schemas.ids import is_uuid
from schemas.sealed import left_of
from schemas.types import (
    ConversationTurn,
    MemoryAdded,
    MemoryForgotten,
    MemoryReheated,
    MemoryRevised,
    Message,
    OwnerErased,
)

UTTERANCE, ANSWER = "user", "assistant"


class CaptureView(FoldingView):
    """One row per utterance."""

    name = "capture"
    version = 1
    tables = (INTERACTION, SEEN, SESSION, EVIDENCE, GONE, ERASED)

    def __init__(self, settings: ViewSettings) -> None:
        topics = settings.topics
        self.sources = (
            Source(topics.conversation, topics.partitions, Kind.PLAIN, (ConversationTurn,)),
            Source(topics.events, topics.partitions, Kind.EVENTS),
        )

    def check(self, placed: Placed) -> None:
        """Owners and memories are named by UUIDs, texts are texts that PostgreSQL takes, latencies are numbers."""
        match placed.record:
            case ConversationTurn() as turn:
                refuse_nul(turn)
                if not is_uuid(turn.owner):
                    raise BrokenRecord("owner is not a UUID")
                if any("\0" in name or not math.isfinite(value) for name, value in turn.latency_ms.items()):
                    raise BrokenRecord("a latency that is no number, or its name holds a NUL byte")
            case MemoryAdded() | MemoryReheated() | MemoryRevised() | MemoryForgotten() as event:
                if not is_uuid(event.memory_id):
                    raise BrokenRecord("memory_id is not a UUID")
                source = None if isinstance(event, MemoryForgotten) else event.source
                if source is not None and "\0" in source.turn_id + "".join(m.message_id for m in source.messages):
                    raise BrokenRecord("an id holds a NUL byte")

    def wants(self, wanted: Wanted, placed: Placed) -> None:
        """A turn's session and messages; of a memory that goes with its source, what its owner said."""
        match placed.record:
            case ConversationTurn() as turn:
                _want_turn(wanted, turn)
            case MemoryAdded() | MemoryReheated() | MemoryRevised() as event if event.source is not None:
                owner = uuid_of(event.meta.owner)
                wanted.key(ERASED, owner)
                wanted.key(GONE, owner, event.source.turn_id)
                for message in event.source.messages:
                    wanted.key(EVIDENCE, uuid_of(event.memory_id), message.message_id)
                    wanted.key(GONE, owner, message.message_id)
            case MemoryForgotten(include_source=True) as event:
                wanted.where(EVIDENCE, "memory_id", uuid_of(event.memory_id))
                wanted.where(INTERACTION, "owner", uuid_of(event.meta.owner))
            case OwnerErased(meta=meta):
                wanted.key(ERASED, uuid_of(meta.owner))

    def wants_next(self, wanted: Wanted, rows: Rows, placed: Placed) -> None:
        """The last utterance of a turn's session; what evidence of a forgotten memory is gone."""
        match placed.record:
            case ConversationTurn(owner=owner, session_id=session_id):
                session = rows.get(Session, SESSION, uuid_of(owner), left_of(session_id))
                if session is not None:
                    wanted.key(INTERACTION, session.owner, session.message_id)
            case MemoryForgotten(include_source=True) as event:
                for row in rows.where(Evidence, EVIDENCE, "memory_id", uuid_of(event.memory_id)):
                    for id in (row.message_id, row.turn_id):
                        wanted.key(GONE, row.owner, id)

    def fold(self, rows: Rows, placed: Placed) -> None:
        """Pair, note evidence, forget."""
        match placed.record:
            case ConversationTurn() as turn:
                _take(rows, placed, turn)
            case MemoryAdded() | MemoryReheated() | MemoryRevised() as event if event.source is not None:
                owner = uuid_of(event.meta.owner)
                if rows.get(Erased, ERASED, owner) is None:
                    for row in make.evidence(uuid_of(event.memory_id), owner, event.source):
                        rows.put(EVIDENCE, row)
            case MemoryForgotten() as event:
                _forget(rows, event)
            case OwnerErased(meta=meta):
                rows.put(ERASED, Erased(uuid_of(meta.owner)))
                for table in (INTERACTION, SEEN, SESSION, EVIDENCE, GONE):
                    rows.remove_where(table, "owner", uuid_of(meta.owner))


def _want_turn(wanted: Wanted, turn: ConversationTurn) -> None:
    owner = uuid_of(turn.owner)
    wanted.key(ERASED, owner)
    wanted.key(SESSION, owner, left_of(turn.session_id))
    wanted.key(GONE, owner, turn.turn_id)
    for message in turn.messages:
        for table in (SEEN, GONE, INTERACTION):
            wanted.key(table, owner, message.message_id)


def _take(rows: Rows, placed: Placed, turn: ConversationTurn) -> None:
    owner = uuid_of(turn.owner)
    if turn.session_id.is_destroyed or rows.get(Erased, ERASED, owner) is not None:
        return
    session = left_of(turn.session_id)
    before = rows.get(Session, SESSION, owner, session)
    last, fresh = None if before is None else before.message_id, False
    for place, message in enumerate(turn.messages):
        if rows.get(Seen, SEEN, owner, message.message_id) is not None:
            continue
        fresh = True
        rows.put(SEEN, Seen(owner, message.message_id))
        gone = _is_gone(rows, owner, message)
        if message.role == UTTERANCE:
            last = message.message_id
            if not gone:
                rows.put(INTERACTION, make.asked(placed, turn, place, message))
        elif message.role == ANSWER and last is not None:
            row = rows.get(Interaction, INTERACTION, owner, last)
            if row is not None:
                rows.put(INTERACTION, make.answered(row, message, gone))
    if fresh and last is not None:
        rows.put(SESSION, Session(owner, session, last))
        _detail(rows, owner, last, turn)


def _is_gone(rows: Rows, owner: UUID, message: Message) -> bool:
    return message.content.is_destroyed or rows.get(Gone, GONE, owner, message.message_id) is not None


def _detail(rows: Rows, owner: UUID, last: str, turn: ConversationTurn) -> None:
    row = rows.get(Interaction, INTERACTION, owner, last)
    if row is not None and turn.turn_id not in row.turn_ids:
        gone = make.details_destroyed(turn) or rows.get(Gone, GONE, owner, turn.turn_id) is not None
        rows.put(INTERACTION, make.with_details(row, turn, gone))


def _forget(rows: Rows, event: MemoryForgotten) -> None:
    memory, owner = uuid_of(event.memory_id), uuid_of(event.meta.owner)
    if event.include_source:
        gone = {id for row in rows.where(Evidence, EVIDENCE, "memory_id", memory) for id in (row.message_id, row.turn_id)}
        for id in gone:
            rows.put(GONE, Gone(owner, id))
        for row in rows.where(Interaction, INTERACTION, "owner", owner):
            if row.message_id in gone:
                rows.remove(INTERACTION, owner, row.message_id)
            else:
                rows.put(INTERACTION, make.without(row, gone))
    rows.remove_where(EVIDENCE, "memory_id", memory)
