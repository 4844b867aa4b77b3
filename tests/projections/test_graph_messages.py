"""Which messages are traces: those that a fact makes salient, in whatever order turn, fact and vector come."""

from __future__ import annotations

import itertools

import pytest

from projections.rows import Rows
from projections.view import ViewSettings
from projections.views.graph import GraphView
from projections.views.graph_rows import GONE, TRACE, WAITING_MESSAGE, Trace
from schemas import ids, types
from schemas.sealed import Sealed
from tests.projections.graph_logs import GRAPH_TOPICS, GraphLog
from tests.projections.harness import Fold, of_view, owner
from tests.projections.logs import T0
from tests.projections.reference import fold_all

VIEW = GraphView(ViewSettings(GRAPH_TOPICS, salience_threshold=0.35))
ANA = owner()
VECTOR = Sealed(b"\0\0\0\x3c")


@pytest.fixture
def log() -> GraphLog:
    return GraphLog()


def standing(rows: Rows, message: str) -> tuple[str, float] | None:
    """The table that a message stands in, and its salience."""
    for table in (TRACE, WAITING_MESSAGE):
        for row in rows.all(table):
            if isinstance(row, Trace) and str(row.id) == message:
                return table.name, row.salience
    return None


@pytest.mark.parametrize(("salience", "table"), [(0.34, "waiting_message"), (0.35, "memory_trace"), (0.9, "memory_trace")])
def test_a_message_is_a_trace_from_the_threshold_on(log: GraphLog, salience: float, table: str) -> None:
    message = log.say(ANA, "m-1")
    log.learn(ANA, "one", messages=[message], salience=0.1)
    log.learn(ANA, "two", messages=[message], salience=salience)
    assert standing(fold_all(VIEW, log.records), message) == (table, salience)


def test_a_message_that_taught_nothing_waits_and_with_a_threshold_of_none_is_a_trace(log: GraphLog) -> None:
    message = log.say(ANA, "m-1")
    assert standing(fold_all(VIEW, log.records), message) == ("waiting_message", 0.0)
    every = GraphView(ViewSettings(GRAPH_TOPICS, salience_threshold=0.0))
    assert standing(fold_all(every, log.records), message) == ("memory_trace", 0.0)


def test_in_every_order_of_turn_fact_and_vector_a_trace_has_its_vector_and_a_waiting_message_keeps_it_back(
    log: GraphLog,
) -> None:
    loud, quiet = ids.message_reference(ANA, "loud"), ids.message_reference(ANA, "quiet")
    log.say(ANA, "loud"), log.say(ANA, "quiet")
    for message in (loud, quiet):
        log.embed_message(ANA, message, VECTOR)
    log.learn(ANA, "one", messages=[loud], salience=0.5)
    log.learn(ANA, "two", messages=[quiet], salience=0.1)
    lanes = [[r for r in log.records if r.topic == t] for t in sorted({r.topic for r in log.records})]
    kept, waiting = VIEW.tables[2], VIEW.tables[3]
    for order in itertools.permutations(lanes):
        rows = fold_all(VIEW, [record for lane in order for record in lane])
        assert standing(rows, loud) == ("memory_trace", 0.5)
        assert standing(rows, quiet) == ("waiting_message", 0.1)
        assert [(str(r.trace_id), r.kind) for r in rows.all(kept)] == [(loud, "message")]  # type: ignore[attr-defined]
        assert [str(r.trace_id) for r in rows.all(waiting)] == [quiet]  # type: ignore[attr-defined]


def test_a_message_whose_salient_memory_is_forgotten_waits_again_and_a_new_fact_brings_it_back(log: GraphLog) -> None:
    message = log.say(ANA, "m-1")
    log.embed_message(ANA, message, VECTOR)
    memory = log.learn(ANA, "one", messages=[message], salience=0.8)
    log.forget(ANA, memory)
    rows = fold_all(VIEW, log.records)
    assert standing(rows, message) == ("waiting_message", 0.0)
    assert not list(rows.all(VIEW.tables[2]))
    assert len(list(rows.all(VIEW.tables[3]))) == 1
    log.mention(ANA, log.learn(ANA, "two", salience=0.6), [message])
    rows = fold_all(VIEW, log.records)
    assert standing(rows, message) == ("memory_trace", 0.6)
    assert len(list(rows.all(VIEW.tables[2]))) == 1
    assert not list(rows.all(VIEW.tables[3]))


def test_a_message_forgotten_with_its_memory_is_gone_with_its_vector_however_late_they_come(log: GraphLog) -> None:
    message = ids.message_reference(ANA, "m-1")
    memory = log.learn(ANA, "one", messages=[message], salience=0.8)
    log.mention(ANA, memory, [ids.message_reference(ANA, "m-2")])
    log.say(ANA, "m-2")
    log.forget(ANA, memory, include_source=True)
    log.say(ANA, "m-1")
    log.embed_message(ANA, message, VECTOR)
    rows = fold_all(VIEW, log.records)
    assert len(list(rows.all(GONE))) == 2
    left = [table.name for table in VIEW.tables if table is not GONE and list(rows.all(table))]
    assert left == ["forgotten_memory"]


def test_of_an_erased_owner_no_message_stays_or_comes(log: GraphLog) -> None:
    ben = owner()
    for who in (ANA, ben):
        log.learn(who, "one", messages=[log.say(who, "m-1")])
        log.embed_message(who, ids.message_reference(who, "m-1"), VECTOR)
    log.erase(ANA)
    log.say(ANA, "m-2")
    log.embed_message(ANA, ids.message_reference(ANA, "m-2"), VECTOR)
    rows = fold_all(VIEW, log.records)
    owners = {str(getattr(row, "owner", "")) for table in VIEW.tables[:7] for row in rows.all(table)}
    assert owners == {ben}


async def test_a_trace_says_who_said_it_when_and_where(database: str, log: GraphLog) -> None:
    message = types.Message(
        ids.message_reference(ANA, "m-1"), "assistant", Sealed.of("Lima, you said"), Sealed.of("m-1"), Sealed.of("Bot"), None, T0
    )
    turn = types.ConversationTurn("turn-1", ANA, Sealed.of("ana"), "agent-1", Sealed.of("s-1"), log.now(), (message,))
    place = log.plain(GRAPH_TOPICS.conversation, ANA, ANA.encode(), turn)
    memory = log.learn(ANA, "Ana lives in Lima", messages=[message.message_id])
    async with Fold.of(database, VIEW) as fold:
        await fold.take(of_view(VIEW, log.records), [1])
        shown = (
            "user_id, content, role, created_at, salience, source, meta, kind, tier, sequence FROM {s}.memory_trace ORDER BY kind"
        )
        of_memory, of_message = await fold.rows(shown)
        where = {"topic": place.topic, "partition": place.partition, "offset": 0, "turn_id": "turn-1"}
        assert of_message == (
            "ana", "Lima, you said", "assistant", T0, 0.5, {**where, "session_id": "s-1", "agent_id": "agent-1"},
            {"name": "Bot", "producer_id": "m-1"}, "message", "hot", None,
        )  # fmt: skip
        assert (of_memory[0:3], of_memory[6:]) == (("u-1", "Ana lives in Lima", "memory"), ({"tags": []}, "memory", "hot", 1))
        assert await fold.rows("id::text FROM {s}.memory_trace WHERE role = 'memory'") == [(memory,)]


async def test_a_turn_that_postgres_cannot_hold_or_that_names_no_message_is_noted(database: str, log: GraphLog) -> None:
    for reference, text in ((ids.message_reference(ANA, "m-1"), "a\0b"), ("no reference", "text")):
        said = types.Message(reference, "user", Sealed.of(text))
        turn = types.ConversationTurn("turn", ANA, Sealed.of("ana"), "agent-1", Sealed.of("s-1"), T0, (said,))
        log.plain(GRAPH_TOPICS.conversation, ANA, ANA.encode(), turn)
    async with Fold.of(database, VIEW) as fold:
        await fold.take(log.records)
        assert await fold.rows('reason FROM {s}.view_problem ORDER BY "offset"') == [
            ("BrokenRecord: a text of a Message holds a NUL byte",),
            ("BrokenRecord: an id of a memory, message, summary or owner is not a UUID",),
        ]
