"""Utterances and their answers: who answered whom, each message once, and what is gone stays gone, live and on a replay."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from projections import generation
from projections.rebuild import rebuild
from projections.runner import RunnerConfig
from projections.view import View, ViewSettings
from projections.views.capture import CaptureView
from schemas.codec import decode, encode
from schemas.sealed import Sealed, maybe
from schemas.topics import Topics
from schemas.types import ConversationTurn, MemoryForgotten, OwnerErased, ToolCall
from tests.projections.harness import Broker, Fold, ends, of_view, owner, running
from tests.projections.interleaving import interleaved, rows_of
from tests.projections.logs import T0, LogMaker, Rec
from tests.projections.test_splits import TOPICS, write
from tests.projections.turns import DESTROYED, learn, publish, say, turn_of

PAIRS = "user_transcript, assistant_response FROM {s}.interactions ORDER BY conversation_offset, place"
STEPS = (
    "talk", "talk", "talk", "teach", "teach", "forget with source", "forget with source", "forget", "erase", "reheat",
    "revise by a turn",
)  # fmt: skip

steps = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 1), st.integers(0, 9)), min_size=4, max_size=30)
choices = st.lists(st.integers(0, 3), min_size=1, max_size=40)


@pytest.fixture
def view(views: dict[str, View]) -> View:
    return views["capture"]


def pair(utterance: str, *answer: str) -> tuple[str, str | None]:
    """The texts of a row, by the names of its messages."""
    return f"what {utterance} says", "\n".join(f"what {name} says" for name in answer) or None


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(
    ("turns", "pairs"),
    [
        ([["u1", "a1"], ["u2", "a2"]], [pair("u1", "a1"), pair("u2", "a2")]),
        ([["u1"], ["a1"], ["u2"]], [pair("u1", "a1"), pair("u2")]),
        ([["u1", "u2", "a1"]], [pair("u1"), pair("u2", "a1")]),
        ([["u1"], ["u2"], ["a1", "u3"]], [pair("u1"), pair("u2", "a1"), pair("u3")]),
        ([["a1"], ["u1"]], [pair("u1")]),
        ([["u1", "a1"], ["a2"]], [pair("u1", "a1", "a2")]),
        ([["s1", "u1", "t1", "a1", "t2"]], [pair("u1", "a1")]),
        ([["u1"], ["u1", "a1"], ["u1", "a1", "u2", "a2"]], [pair("u1", "a1"), pair("u2", "a2")]),
        ([["u1", "u1"], ["u2"], ["u1"], ["a2"]], [pair("u1"), pair("u2", "a2")]),
    ],
    ids=range(9),
)
async def test_an_answer_belongs_to_the_last_utterance_before_it_and_a_message_counts_once(
    database: str, view: View, log: LogMaker, turns: list[list[str]], pairs: list[tuple[str, str | None]], cut: bool
) -> None:
    ana = owner()
    for place, names in enumerate(turns):
        say(log, ana, *names, turn=f"t-{place}")
    async with Fold.of(database, view) as fold:
        await fold.take(log.records, range(1, len(log.records)) if cut else ())
        assert await fold.rows(PAIRS) == pairs
        assert await fold.rows("count(*) FROM {s}.view_problem") == [(0,)]


async def test_sessions_and_owners_are_apart(database: str, view: View, log: LogMaker) -> None:
    ana, ben = owner(), owner()
    say(log, ana, "u1", session="s-1")
    say(log, ana, "a1", session="s-2")
    say(log, ben, "u1", session="s-1")
    say(log, ben, "a2", session="s-1")
    async with Fold.of(database, view) as fold:
        await fold.take(log.records)
        rows = await fold.rows("owner::text, user_transcript, assistant_response FROM {s}.interactions")
        assert sorted(rows, key=str) == sorted([(ana, *pair("u1")), (ben, *pair("u1", "a2"))], key=str)


async def test_an_interaction_has_what_a_capture_log_records(database: str, view: View, log: LogMaker) -> None:
    ana = owner()
    calls = (ToolCall("lights", maybe('{"room": "hall"}'), maybe("on")), ToolCall("stop"))
    asked = say(log, ana, "u1", at=T0, tool_calls=calls[:1], latency_ms={"stt": 80.5, "llm": 1.0})
    said = '[{"role": "user", "content": "what u1 says"}]'
    say(log, ana, "a1", tool_calls=calls[1:], model_messages=maybe(said), skill="home", latency_ms={"llm": 400.0})
    unsaid = turn_of(ana, ["u2"], at=T0)
    [message] = unsaid.messages
    publish(log, replace(unsaid, messages=(replace(message, sent_at=T0 + timedelta(hours=1)),), model_messages=maybe("no JSON")))
    columns = "session_id, timestamp, user_transcript, llm_messages, tool_calls, assistant_response, skill_used, latency_ms"
    async with Fold.of(database, view) as fold:
        await fold.take(log.records, [1])
        first, second = await fold.rows(columns + ", user_id, turn_ids FROM {s}.interactions ORDER BY timestamp")
    heard = [{"role": "user", "content": "what u1 says"}]
    tools = [{"name": "lights", "args": {"room": "hall"}, "result": "on"}, {"name": "stop", "args": None, "result": None}]
    latency = {"stt": 80.5, "llm": 400.0}
    turns = [asked.turn_id, turn_of(ana, ["a1"], at=T0).turn_id]
    assert first == ("s-1", T0, *pair("u1")[:1], heard, tools, "what a1 says", "home", latency, "u-1", turns)
    assert second[:8] == ("s-1", T0 + timedelta(hours=1), "what u2 says", "no JSON", [], None, None, {})


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("told", "pairs"),
    [
        (["u2"], [pair("u1", "a1"), pair("u3", "a3")]),
        (["a2"], [pair("u1", "a1"), ("what u2 says", None), pair("u3", "a3")]),
        (["u1", "a3"], [("what u2 says", "what a2 says"), ("what u3 says", None)]),
    ],
    ids=range(3),
)
async def test_a_memory_that_is_forgotten_with_its_source_takes_its_messages_along_late_ones_too(
    database: str, view: View, log: LogMaker, told: list[str], pairs: list[tuple[str, str | None]], late: bool
) -> None:
    ana = owner()
    turns = [
        say(log, ana, f"u{n}", f"a{n}", tool_calls=(ToolCall("x", maybe("1")),), model_messages=maybe("[1]")) for n in (1, 2, 3)
    ]
    memory = learn(log, turns[1], *told)
    log.forget(ana, memory, include_source=True)
    records = sorted(log.records, key=lambda r: r.topic == log.topics.conversation) if late else log.records
    async with Fold.of(database, view) as fold:
        await fold.take(records, [len(records) // 2])
        assert await fold.rows(PAIRS) == pairs
        details = await fold.rows("user_transcript, details_gone, tool_calls = '[]', llm_messages = '[]' FROM {s}.interactions")
        gone = {text: flags for text, *flags in details}
        assert gone.pop("what u2 says", [True] * 3) == [True] * 3
        assert all(flags == [False] * 3 for flags in gone.values())
        assert await fold.rows("count(*) FROM {s}.capture_evidence") == [(0,)]


@pytest.mark.parametrize("late", [False, True])
async def test_an_answer_that_lost_a_part_and_details_that_lost_a_turn_stay_lost(
    database: str, view: View, log: LogMaker, late: bool
) -> None:
    ana = owner()
    calls: dict[str, Any] = {"tool_calls": (ToolCall("x", maybe("1")),), "model_messages": maybe("[1]")}
    say(log, ana, "u1", **calls)
    memory = learn(log, say(log, ana, "a1", **calls))
    log.forget(ana, memory, include_source=True)
    say(log, ana, "a2", **calls)
    records = sorted(log.records, key=lambda r: r.topic == log.topics.conversation) if late else log.records
    for taken in (records, _as_replayed(records, log.topics)):
        async with Fold.of(database, view) as fold:
            await fold.take(taken)
            assert await fold.rows("user_transcript, assistant_response FROM {s}.interactions") == [("what u1 says", None)]
            columns = "details_gone, tool_calls, llm_messages, cardinality(turn_ids)"
            assert await fold.rows(columns + " FROM {s}.interactions") == [(True, [], [], 3)]


async def test_a_memory_that_is_forgotten_without_its_source_leaves_what_was_said(
    database: str, view: View, log: LogMaker
) -> None:
    ana = owner()
    memory = learn(log, say(log, ana, "u1", "a1"))
    log.forget(ana, memory)
    async with Fold.of(database, view) as fold:
        await fold.take(log.records)
        assert await fold.rows(PAIRS) == [pair("u1", "a1")]


async def test_messages_that_a_mention_or_a_revision_named_go_too(database: str, view: View, log: LogMaker) -> None:
    ana = owner()
    memory = learn(log, say(log, ana, "u1"))
    other = learn(log, say(log, ana, "u2"))
    for forgotten in (False, True):
        log.revise(ana, memory, "other words", by_request=forgotten)
    [revision] = [r for r in map(_event, log.records[-2:]) if r.source is not None]
    mine = turn_of(ana, ["u3"], at=T0)
    spoken = replace(mine.messages[0], message_id=revision.source.messages[0].message_id)
    publish(log, replace(mine, messages=(spoken,)))
    log.forget(ana, memory, include_source=True)
    async with Fold.of(database, view) as fold:
        await fold.take(log.records)
        assert await fold.rows(PAIRS) == [pair("u2")]
        assert await fold.rows("memory_id::text FROM {s}.capture_evidence") == [(other,)]


async def test_an_erased_owner_leaves_nothing_and_nothing_comes_back(database: str, view: View, log: LogMaker) -> None:
    ana, ben = owner(), owner()
    for who in (ana, ben):
        learn(log, say(log, who, "u1", "a1"))
    log.erase(ana)
    say(log, ana, "u2")
    async with Fold.of(database, view) as fold:
        await fold.take(log.records)
        assert await fold.rows("owner::text FROM {s}.interactions") == [(ben,)]
        for table in ("capture_message", "capture_session", "capture_evidence", "capture_gone"):
            assert await fold.rows(f"count(*) FROM {{s}}.{table} WHERE owner = '{ana}'") == [(0,)]


async def test_a_turn_that_cannot_be_opened_or_has_no_numbers_is_noted_and_the_rest_goes_on(
    database: str, view: View, log: LogMaker
) -> None:
    ana = owner()
    broken = turn_of(ana, ["u1"], at=T0)
    publish(log, replace(broken, messages=(replace(broken.messages[0], content=Sealed(b"1", "a-cipher", "a-key")),)))
    publish(log, replace(broken, messages=(replace(broken.messages[0], content=Sealed(b"\0")),)))
    publish(log, replace(broken, latency_ms={"llm": float("nan")}))
    say(log, ana, "u2")
    async with Fold.of(database, view) as fold:
        await fold.take(log.records)
        assert await fold.rows(PAIRS) == [pair("u2")]
        reasons = [reason.partition(":")[0] for (reason,) in await fold.rows("reason FROM {s}.view_problem ORDER BY 1")]
        assert reasons == ["BrokenRecord", "BrokenRecord", "SealedValue"]


async def test_a_kept_generation_that_may_not_know_what_to_forget_is_dropped(
    broker: Broker, config: RunnerConfig, view: View, log: LogMaker
) -> None:
    ana, ben = owner(), owner()
    said = say(log, ana, "u1", "a1")
    say(log, ben, "u1")
    await _follow(view, config, broker, log)
    await rebuild(view, config)
    # the kept generation never hears that this was learnt from the message that it holds
    memory, other = learn(log, said), learn(log, said)
    await _follow(view, config, broker, log)
    async with await generation.connect(config.dsn) as conn:
        query = "SELECT generation, state FROM emberlog_view_generation WHERE view = 'capture' ORDER BY 1"
        log.forget(ana, other)
        await _follow(view, config, broker, log)
        assert await (await conn.execute(query)).fetchall() == [(1, "kept"), (2, "live")]
        log.forget(ana, memory, include_source=True)
        await _follow(view, config, broker, log)
        assert await (await conn.execute(query)).fetchall() == [(2, "live")]
        schemas = await (await conn.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'capture%'")).fetchall()
        assert schemas == [("capture_g2",)]
        left = await (await conn.execute("SELECT owner::text FROM interactions")).fetchall()
        assert left == [(ben,)]


async def _follow(view: View, config: RunnerConfig, broker: Broker, log: LogMaker) -> None:
    at = await ends(config, view)
    await broker.send([r for r in of_view(view, log.records) if r.offset >= at[r.topic, r.partition]])
    async with running(view, config) as runner:
        await runner.catch_up_to(log.ends(*{s.topic for s in view.sources}), 30)


@given(plan=steps, order=choices)
@settings(max_examples=150, deadline=None)
def test_live_or_replayed_in_whatever_order_the_topics_are_read_the_rows_are_the_same_in_the_end(
    plan: list[tuple[str, int, int]], order: list[int]
) -> None:
    log, made = LogMaker(TOPICS), CaptureView(ViewSettings(TOPICS))
    write(log, plan)
    records = of_view(made, log.records)
    live = rows_of(made, records)
    assert {(str(row.owner), row.message_id): (row.user_transcript, row.assistant_response) for row in live["interactions"]} == (
        _expected(records)
    )
    assert rows_of(made, interleaved(records, order)) == live
    replayed = _as_replayed(records)
    assert rows_of(made, replayed) == live
    assert rows_of(made, interleaved(replayed, order)) == live


@given(plan=steps, order=choices, cuts=st.lists(st.integers(0, 60), max_size=9))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_in_the_database_too(database: str, plan: list[tuple[str, int, int]], order: list[int], cuts: list[int]) -> None:
    log, made = LogMaker(TOPICS), CaptureView(ViewSettings(TOPICS))
    write(log, plan)
    records = of_view(made, log.records)
    replayed = interleaved(_as_replayed(records), order)
    async with Fold.of(database, made) as live, Fold.of(database, made) as rebuilt:
        await live.take(records, [c for c in cuts if c < len(records)])
        await rebuilt.take(replayed, [c for c in cuts if c < len(records)])
        assert (await live.digest()).differing(await rebuilt.digest()) == []


def _event(record: Rec) -> Any:
    assert record.value is not None
    return decode(record.value)


def _gone(records: Sequence[Rec], topics: Topics = TOPICS) -> tuple[set[tuple[str, str]], set[str]]:
    """(owner, id) of messages and turns whose keys are destroyed once all is carried out, and the owners that are erased."""
    told: dict[str, set[str]] = {}
    gone, erased = set(), set()
    for event in (_event(r) for r in records if r.topic == topics.events):
        source = getattr(event, "source", None)
        if source is not None and hasattr(event, "memory_id"):
            told.setdefault(event.memory_id, set()).update([source.turn_id, *(m.message_id for m in source.messages)])
        if isinstance(event, MemoryForgotten) and event.include_source:
            gone |= {(event.meta.owner, id) for id in told.get(event.memory_id, ())}
        if isinstance(event, OwnerErased):
            erased.add(event.meta.owner)
    return gone, erased


def _expected(records: Sequence[Rec]) -> dict[tuple[str, str], tuple[str, str | None]]:
    """Utterance and answer by owner and message, the plain way: pair everything, then take away what is gone."""
    gone, erased = _gone(records)
    texts: dict[tuple[str, str], str] = {}
    last: dict[tuple[str, str], tuple[str, str]] = {}
    answers: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for turn in (_event(r) for r in records if r.topic == TOPICS.conversation):
        for message in turn.messages:
            key, session = (turn.owner, message.message_id), (turn.owner, turn.session_id.text)
            if key in texts:
                continue
            texts[key] = message.content.text
            if message.role == "user":
                last[session] = key
                answers[key] = []
            elif session in last:
                answers[last[session]].append(key)
    return {
        key: (texts[key], None if not said or gone & set(said) else "\n".join(texts[each] for each in said))
        for key, said in answers.items()
        if key not in gone and key[0] not in erased
    }


def _as_replayed(records: Sequence[Rec], topics: Topics = TOPICS) -> list[Rec]:
    """The log as it opens once the keys of all that is forgotten are destroyed."""
    gone, erased = _gone(records, topics)
    return [_opened(r, gone, erased) if r.topic == topics.conversation else r for r in records]


def _opened(record: Rec, gone: set[tuple[str, str]], erased: set[str]) -> Rec:
    turn = _event(record)
    assert isinstance(turn, ConversationTurn)
    everything = turn.owner in erased
    messages = tuple(
        replace(m, content=DESTROYED) if everything or (turn.owner, m.message_id) in gone else m for m in turn.messages
    )
    turn = replace(turn, messages=messages)
    if everything:
        turn = replace(turn, session_id=DESTROYED, user_id=DESTROYED)
    if everything or (turn.owner, turn.turn_id) in gone:
        calls = tuple(
            replace(call, arguments=call.arguments and DESTROYED, result=call.result and DESTROYED) for call in turn.tool_calls
        )
        turn = replace(turn, tool_calls=calls, model_messages=turn.model_messages and DESTROYED)
    return dataclasses.replace(record, value=encode(turn))
