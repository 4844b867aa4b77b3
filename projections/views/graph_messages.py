"""Messages of the graph: which of them are traces.

A message is as salient as the most salient memory that it is evidence for. At the threshold or above it is a trace, below it
waits in a table of its own, with its vectors. Where it stands follows from what is known, in whatever order that came.

Of an erased owner there are no messages, from whenever they are: nothing of that reference can be sealed or opened any more.
"""

from __future__ import annotations

from uuid import UUID

from msgspec.structs import replace

from projections.records import Placed
from projections.rows import Rows, Wanted, uuid_of
from projections.views import graph_edges as edges
from projections.views import graph_rows as make
from projections.views.graph_edges import EVIDENCE, TELLING, Telling
from projections.views.graph_rows import ERASED, GONE, TRACE, WAITING_MESSAGE, Erased, Gone, Trace
from projections.views.graph_vectors import Vectors
from schemas.types import ConversationTurn


class Messages:
    """Moves messages between traces and those that wait. ``threshold`` is a salience, 0 to 1."""

    def __init__(self, threshold: float, vectors: Vectors) -> None:
        self._threshold = threshold
        self._vectors = vectors

    def want(self, wanted: Wanted, message: UUID) -> None:
        """What any change around a message looks at."""
        wanted.where(TELLING, "dst", message)
        for table in (TRACE, WAITING_MESSAGE, GONE):
            wanted.key(table, message)
        self._vectors.want(wanted, message)

    def want_turn(self, wanted: Wanted, turn: ConversationTurn) -> None:
        """What ``said`` looks at."""
        wanted.key(ERASED, uuid_of(turn.owner))
        for message in turn.messages:
            self.want(wanted, uuid_of(message.message_id))

    def said(self, rows: Rows, placed: Placed, turn: ConversationTurn) -> None:
        """Take in what is neither forgotten nor here already."""
        if rows.get(Erased, ERASED, uuid_of(turn.owner)) is not None:
            return
        for message in turn.messages:
            id = uuid_of(message.message_id)
            if message.content.is_destroyed or rows.get(Gone, GONE, id) is not None or _find(rows, id) is not None:
                continue
            rows.put(WAITING_MESSAGE, make.message(placed, turn, message))
            self.settle(rows, id)

    def is_gone(self, rows: Rows, message: UUID) -> bool:
        """Whether the message was forgotten."""
        return rows.get(Gone, GONE, message) is not None

    def settle(self, rows: Rows, message: UUID) -> None:
        """Put a message, if it is here, where its evidence says."""
        row = _find(rows, message)
        if row is None:
            return
        told = rows.where(Telling, TELLING, "dst", message)
        salience = max((telling.weight for telling in told if telling.how == EVIDENCE), default=0.0)
        row = replace(row, salience=salience)
        if salience >= self._threshold:
            rows.remove(WAITING_MESSAGE, message)
            rows.put(TRACE, row)
            self._vectors.keep(rows, row)
        else:
            rows.remove(TRACE, message)
            rows.put(WAITING_MESSAGE, row)
            self._vectors.hold(rows, message)

    def forget(self, rows: Rows, message: UUID, owner: UUID) -> None:
        """The message goes for good, with all that leads to it."""
        rows.put(GONE, Gone(message, owner))
        for table in (TRACE, WAITING_MESSAGE):
            rows.remove(table, message)
        self._vectors.remove(rows, message)
        edges.lead_nowhere(rows, message)


def _find(rows: Rows, message: UUID) -> Trace | None:
    return rows.get(Trace, TRACE, message) or rows.get(Trace, WAITING_MESSAGE, message)
