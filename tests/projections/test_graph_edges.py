"""Edges and entities: there as long as somebody tells of them, as heavy as the heaviest telling, as new as the newest."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from projections.rows import Rows
from projections.view import ViewSettings
from projections.views.graph import GraphView
from projections.views.graph_edges import EDGE, ENTITY, TELLING, Edge, Named, entity_id
from projections.views.graph_rows import TRACE, Trace
from schemas import ids
from tests.projections.graph_logs import GRAPH_TOPICS, GraphLog
from tests.projections.harness import owner
from tests.projections.reference import fold_all

VIEW = GraphView(ViewSettings(GRAPH_TOPICS))
ANA = owner()


@pytest.fixture
def log() -> GraphLog:
    return GraphLog()


def folded(log: GraphLog) -> Rows:
    return fold_all(VIEW, log.records)


def edges(rows: Rows) -> dict[tuple[str, str, str], float]:
    """Weights by source, type and target; entities by name, traces by id."""
    names = {row.id: row.name for row in rows.all(ENTITY) if isinstance(row, Named)}
    found = {}
    for row in rows.all(EDGE):
        assert isinstance(row, Edge)
        found[str(names.get(row.src, row.src)), row.type, str(names.get(row.dst, row.dst))] = row.weight
    return found


def names(rows: Rows) -> dict[str, int]:
    return {row.name: row.tellers for row in rows.all(ENTITY) if isinstance(row, Named)}


def test_a_memory_tells_of_its_evidence_its_entities_and_its_triples(log: GraphLog) -> None:
    message = log.say(ANA, "m-1")
    memory = log.learn(ANA, "Ana lives in Lima", ("Ana", "lives in", "Lima"), messages=[message], salience=0.7, entities=["Peru"])
    assert edges(folded(log)) == {
        (memory, "evidence", message): 0.7,
        ("ana", "lives in", "lima"): 0.7,
        (memory, "mentions", "ana"): 0.7,
        (memory, "mentions", "lima"): 0.7,
        (memory, "mentions", "peru"): 0.7,
    }


def test_an_entity_goes_by_its_owner_and_normalised_name(log: GraphLog) -> None:
    ben = owner()
    log.learn(ANA, "one", (" ANA ", "knows", "Ben."))
    log.learn(ANA, "two", ("ana", "knows", "Cy"))
    log.learn(ben, "three", ("Ana", "knows", "Ben"))
    rows = folded(log)
    mine = {row.id: row.name for row in rows.all(ENTITY) if isinstance(row, Named) and str(row.owner) == ANA}
    assert sorted(mine.values()) == ["ana", "ben", "cy"]
    assert all(entity_id(row.owner, row.name) == row.id for row in rows.all(ENTITY) if isinstance(row, Named))
    assert len({row.id for row in rows.all(ENTITY) if isinstance(row, Named)}) == 5


def test_an_edge_stays_while_anybody_tells_of_it_with_their_highest_weight_and_newest_time(log: GraphLog) -> None:
    tea = ("Ana", "likes", "tea")
    first = log.learn(ANA, "one", tea, salience=0.9)
    second = log.learn(ANA, "two", tea, salience=0.4)
    day = log.summarise(ANA, date(2024, 3, 1), "a day of tea", tea, memories=[second])

    def of_tea() -> Any:
        rows = folded(log)
        found = [row for row in rows.all(EDGE) if isinstance(row, Edge) and row.type == "likes"]
        return found[0] if found else None, names(rows).get("tea")

    heavy, tellers = of_tea()
    assert (heavy.weight, tellers) == (0.9, 3)
    log.forget(ANA, first)
    light, tellers = of_tea()
    assert (light.weight, light.ts, tellers) == (0.4, heavy.ts, 2)
    log.forget(ANA, second, summaries=(day,))
    assert of_tea() == (None, None)
    rows = folded(log)
    assert not list(rows.all(EDGE))
    assert not list(rows.all(TELLING))
    assert not list(rows.all(ENTITY))


def test_a_revision_tells_what_its_words_say_and_nothing_of_before_but_evidence_and_links_stay(log: GraphLog) -> None:
    one, two = log.say(ANA, "m-1"), log.say(ANA, "m-2")
    other = log.learn(ANA, "other")
    memory = log.learn(ANA, "Ana lives in Lima", ("Ana", "lives in", "Lima"), messages=[one])
    log.connect(ANA, memory, other, 0.3)
    log.reword(ANA, memory, "Ana lives in Quito", ("Ana", "lives in", "Quito"), messages=[two])
    rows = folded(log)
    assert edges(rows) == {
        (memory, "evidence", one): 0.5,
        (memory, "evidence", two): 0.5,
        (memory, "related", other): 0.3,
        ("ana", "lives in", "quito"): 0.5,
        (memory, "mentions", "ana"): 0.5,
        (memory, "mentions", "quito"): 0.5,
    }
    assert names(rows) == {"ana": 1, "quito": 1}


def test_a_link_has_its_newest_weight_until_it_is_taken_away_or_either_end_is_forgotten(log: GraphLog) -> None:
    one, two, three = (log.learn(ANA, text) for text in ("one", "two", "three"))
    log.connect(ANA, one, two, 0.9)
    log.connect(ANA, one, two, 0.2)
    log.connect(ANA, two, three, 0.5)
    log.connect(ANA, three, one, 0.5)
    assert edges(folded(log)) == {(one, "related", two): 0.2, (two, "related", three): 0.5, (three, "related", one): 0.5}
    log.connect(ANA, three, one, None)
    log.forget(ANA, two)
    assert edges(folded(log)) == {}


def test_a_summary_is_a_trace_with_what_it_was_made_from_and_goes_with_a_memory_of_it(log: GraphLog) -> None:
    message = log.say(ANA, "m-1")
    memory, other = log.learn(ANA, "one", salience=0.8), log.learn(ANA, "two", salience=0.6)
    made = {"memories": [memory, other], "messages": [message]}
    day = log.summarise(ANA, date(2024, 3, 1), "a day", ("Ana", "likes", "tea"), **made)
    log.summarise(ANA, date(2024, 3, 1), "the same day anew", memories=[memory])
    rows = folded(log)
    [summary] = [row for row in rows.all(TRACE) if isinstance(row, Trace) and row.kind == "summary"]
    assert (str(summary.id), summary.content, summary.role, summary.user_id, summary.salience) == (
        day, "the same day anew", "summary", "u-1", 0.8,
    )  # fmt: skip
    assert summary.meta["day"] == "2024-03-01"
    assert edges(rows) == {(day, "summarises", memory): 0.8}
    log.forget(ANA, memory, summaries=(day,))
    rows = folded(log)
    assert [str(row.id) for row in rows.all(TRACE) if isinstance(row, Trace)] == [other]
    assert edges(rows) == {}


def test_a_forgotten_message_has_no_edges_and_gets_none(log: GraphLog) -> None:
    message = ids.message_reference(ANA, "m-1")
    memory, other = log.learn(ANA, "one", messages=[message]), log.learn(ANA, "two", messages=[message])
    log.forget(ANA, memory, include_source=True)
    log.mention(ANA, other, [message])
    log.summarise(ANA, date(2024, 3, 1), "a day", memories=[other], messages=[message])
    assert all(type != "evidence" and dst != message for _, type, dst in edges(folded(log)))
