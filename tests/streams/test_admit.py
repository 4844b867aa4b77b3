"""Admission: what untrusted producers send becomes a turn, or is refused with a reason free of content."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.owners import fixed_reference
from schemas import codec, ids
from schemas.sealed import Sealed, maybe, text_of
from schemas.types import ConversationTurn, InboxMessage, InboxToolCall, InboxTurn, ToolCall
from streams.agents.admit import InboxPosition, admit
from streams.agents.inbox_form import read_form
from streams.failures import Refused

NOW = datetime(2026, 5, 1, tzinfo=UTC)
AT = InboxPosition("conversation.inbox.v1", 2, 41, NOW - timedelta(minutes=1))
GOOD: dict[str, Any] = {
    "id": "turn-1",
    "owner": "default/user/u-1",
    "agent_id": "helper",
    "session_id": "s-1",
    "occurred_at": "2026-04-01T10:00:00+02:00",
    "messages": [{"role": "user", "content": "SECRET words", "id": "m-1"}, {"role": "assistant", "content": "Noted."}],
    "tool_calls": [{"name": "weather", "arguments": {"place": "Lima", "days": [1, 2.5]}, "result": "sunny"}],
    "model_messages": [{"role": "system", "content": "Be kind."}],
    "skill": "small-talk",
    "latency_ms": {"model": 812, "tools": 3.5},
}


def _admit(**changes: Any) -> ConversationTurn:
    return _turn(json.dumps({**GOOD, **changes}).encode())


def _turn(value: bytes | None) -> ConversationTurn:
    admitted = admit(value, AT, NOW)
    return admitted.turn(fixed_reference(admitted.owner))


def test_a_good_turn_in_json_is_admitted_with_its_own_time_in_utc() -> None:
    turn = _admit()
    assert turn.owner == fixed_reference("u-1")
    assert turn.occurred_at == datetime(2026, 4, 1, 8, tzinfo=UTC)
    assert [text_of(m.name) for m in turn.messages] == [None, None]
    assert (turn.user_id.text, turn.session_id.text, turn.skill) == ("u-1", "s-1", "small-talk")
    assert turn.latency_ms == {"model": 812.0, "tools": 3.5}


def test_a_message_is_known_by_a_reference_under_its_owner_and_keeps_its_producers_id_sealed() -> None:
    first, second = _admit().messages
    assert first.message_id == ids.message_reference(fixed_reference("u-1"), "m-1")
    assert first.producer_id == Sealed.of("m-1")
    assert second.message_id == ids.message_id(_admit().turn_id, 1)
    assert second.producer_id is None
    assert _admit(id="turn-2").messages[0].message_id == first.message_id
    assert _admit(owner="u-2").messages[0].message_id != first.message_id


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({"place": "Valparaíso", "days": [1, None, True]}, '{"place":"Valparaíso","days":[1,null,true]}'),
        ('{"place": "Lima"}', '{"place": "Lima"}'),
        ("sunny", '"sunny"'),
        ("a\0b", '"a\\u0000b"'),
        ("NaN", '"NaN"'),
        (17, "17"),
        (None, None),
    ],
)
def test_whatever_a_tool_was_given_and_gave_is_kept_as_json_text(sent: Any, kept: str | None) -> None:
    turn = _admit(tool_calls=[{"name": "weather", "arguments": sent, "result": sent}], model_messages=sent)
    assert turn.tool_calls == (ToolCall("weather", maybe(kept), maybe(kept)),)
    assert turn.model_messages == maybe(kept)
    assert kept is None or json.loads(kept) == (json.loads(sent) if sent == '{"place": "Lima"}' else sent)


def test_what_a_producer_leaves_out_is_empty_and_null_says_the_same() -> None:
    extras = ("tool_calls", "model_messages", "skill", "latency_ms")
    left_out = _turn(json.dumps({k: v for k, v in GOOD.items() if k not in extras}).encode())
    assert (left_out.tool_calls, left_out.model_messages, left_out.skill, left_out.latency_ms) == ((), None, None, {})
    assert _admit(**dict.fromkeys(extras)) == left_out


def test_the_same_turn_in_avro_is_the_same_turn() -> None:
    avro = InboxTurn(
        "default/user/u-1",
        "s-1",
        (InboxMessage("user", "SECRET words", id="m-1"), InboxMessage("assistant", "Noted.")),
        id="turn-1",
        agent_id="helper",
        occurred_at=datetime(2026, 4, 1, 8, tzinfo=UTC),
        tool_calls=(InboxToolCall("weather", '{"place":"Lima","days":[1,2.5]}', "sunny"),),
        model_messages='[{"role":"system","content":"Be kind."}]',
        skill="small-talk",
        latency_ms={"model": 812.0, "tools": 3.5},
    )
    assert _turn(codec.encode(avro)) == _admit()


def test_the_form_in_json_can_be_sent_on_in_avro() -> None:
    avro = read_form(json.dumps(GOOD).encode()).turn()
    assert _turn(codec.encode(avro)) == _admit()


def test_a_turn_sent_twice_under_one_id_is_one_turn_and_without_id_its_position_names_it() -> None:
    assert _admit().turn_id == _admit(session_id="another").turn_id
    anonymous = _admit(id=None)
    assert anonymous.turn_id == _admit(id=None).turn_id
    assert anonymous.turn_id != _admit().turn_id


def test_a_turn_without_a_time_takes_its_records() -> None:
    assert _admit(occurred_at=None).occurred_at == AT.timestamp


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"owner": ""}, "owner"),
        ({"owner": "default/robot/x"}, "kind"),
        ({"owner": "default/user/"}, "id is empty"),
        ({"owner": 5}, "owner"),
        ({"session_id": None}, "session_id"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "user", "content": ""}]}, "content"),
        ({"messages": [{"role": "boss", "content": "SECRET"}]}, "role"),
        ({"messages": [{"role": "user", "content": "SECRET\0"}]}, "NUL"),
        ({"messages": [{"role": "user", "content": "x" * 100_001}]}, "too long"),
        ({"messages": [{"role": "user", "content": "a", "id": "1"}, {"role": "user", "content": "b", "id": "1"}]}, "same id"),
        ({"occurred_at": "2031-01-01T00:00:00Z"}, "future"),
        ({"occurred_at": "1931-01-01T00:00:00Z"}, "1970"),
        ({"occurred_at": "2026-01-01T00:00:00"}, "timezone"),
        ({"occurred_at": "SECRET"}, "occurred_at"),
        ({"id": "x" * 300}, "id"),
        ({"tool_calls": {"name": "weather"}}, "tool_calls: list type"),
        ({"tool_calls": [{"arguments": "SECRET"}]}, "tool_calls.0.name: missing"),
        ({"tool_calls": [{"name": ""}]}, "tool_calls.0.name: too short"),
        ({"tool_calls": [{"name": "a"}] * 201}, "tool_calls: too long"),
        ({"tool_calls": [{"name": "a", "arguments": ["SECRET" * 20_000]}]}, "tool_calls.0.arguments: too long"),
        ({"tool_calls": [{"name": "a", "result": [1e15] * 6_000}]}, "tool_calls.0.result: too long"),
        (
            {"tool_calls": [{"name": "a", "result": float("nan")}]},
            "tool_calls.0.result: holds a value that JSON text cannot hold",
        ),
        ({"model_messages": ["SECRET" * 100_000]}, "model_messages: too long"),
        ({"model_messages": {"SECRET": float("inf")}}, "model_messages: holds a value that JSON text cannot hold"),
        ({"skill": ["SECRET"]}, "skill: string type"),
        ({"skill": "x" * 257}, "skill: too long"),
        ({"latency_ms": [812]}, "latency_ms: dict type"),
        ({"latency_ms": {"SECRET": "812"}}, "latency_ms: float type"),
        ({"latency_ms": {"SECRET": -1}}, "latency_ms: greater than equal"),
        ({"latency_ms": {"SECRET": float("nan")}}, "latency_ms: finite number"),
        ({"latency_ms": {"SECRET\0": 1}}, "latency_ms: holds a NUL byte"),
        ({"latency_ms": {str(i): 1 for i in range(65)}}, "latency_ms: too long"),
    ],
)
def test_bad_turns_are_refused_with_the_field_and_without_content(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused) as refused:
        _admit(**changes)
    assert reason in refused.value.reason
    assert "SECRET" not in refused.value.reason
    assert len(refused.value.reason) < 500


HALF = "SECRET \ud83d"
HALVES: list[dict[str, Any]] = [
    {"owner": HALF},
    {"session_id": HALF},
    {"id": HALF},
    {"agent_id": HALF},
    {"skill": HALF},
    {"model_messages": HALF},
    {"model_messages": {HALF: 1}},
    {"latency_ms": {HALF: 1}},
    *({"messages": [{"role": "user", "content": "a", field: HALF}]} for field in ("content", "id", "name", "image_caption")),
    *({"tool_calls": [{"name": "a", field: HALF}]} for field in ("name", "arguments", "result")),
]


@pytest.mark.parametrize("changes", HALVES)
def test_half_of_a_surrogate_pair_in_any_text_is_refused_and_crashes_nothing(changes: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        _admit(**changes)
    assert "SECRET" not in refused.value.reason


def test_half_of_a_surrogate_pair_in_avro_is_refused_too() -> None:
    good = codec.encode(InboxTurn("u-1", "s-1", (InboxMessage("user", "SECRET ???"),)))
    assert _turn(good)
    with pytest.raises(Refused, match="broken Avro"):
        _turn(good.replace(b"???", HALF[-1].encode(errors="surrogatepass")))


@pytest.mark.parametrize(
    "value", [None, b"", b"garbage", b"[]", b"null", b"\xff\xfe", b"\xc3\x01" + b"\0" * 20, b"[" * 100_000, b"x" * 1_000_000]
)
def test_records_that_are_no_turn_are_refused(value: bytes | None) -> None:
    with pytest.raises(Refused):
        _turn(value)


def test_another_record_type_in_avro_is_refused() -> None:
    with pytest.raises(Refused, match="expected a InboxTurn"):
        _turn(codec.encode(_admit()))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(GOOD)), JSON)
def test_any_value_in_any_field_is_admitted_or_refused_and_never_raises_anything_else(field: str, value: Any) -> None:
    try:
        turn = _admit(**{field: value})
    except Refused:
        return
    assert codec.decode(codec.encode(turn)) == turn


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_admitted_or_refused(value: bytes) -> None:
    with pytest.raises(Refused):
        _turn(value)
