"""Admission: what untrusted producers send becomes a turn, or is refused with a reason free of content."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import codec
from schemas.owner import Owner
from schemas.types import ConversationTurn, InboxMessage, InboxTurn
from streams.agents.admit import InboxPosition, admit
from streams.stage import Refused

NOW = datetime(2026, 5, 1, tzinfo=UTC)
AT = InboxPosition("conversation.inbox.v1", 2, 41, NOW - timedelta(minutes=1))
GOOD: dict[str, Any] = {
    "id": "turn-1",
    "owner": "default/user/u-1",
    "agent_id": "helper",
    "session_id": "s-1",
    "occurred_at": "2026-04-01T10:00:00+02:00",
    "messages": [{"role": "user", "content": "SECRET words", "id": "m-1"}, {"role": "assistant", "content": "Noted."}],
}


def _admit(**changes: Any) -> ConversationTurn:
    return admit(json.dumps({**GOOD, **changes}).encode(), AT, NOW)


def test_a_good_turn_in_json_is_admitted_with_its_own_time_in_utc() -> None:
    turn = _admit()
    assert turn.owner == Owner.parse("u-1").reference
    assert turn.occurred_at == datetime(2026, 4, 1, 8, tzinfo=UTC)
    assert turn.messages[0].message_id == "m-1"
    assert turn.messages[1].message_id


def test_the_same_turn_in_avro_is_the_same_turn() -> None:
    avro = InboxTurn(
        "default/user/u-1",
        "s-1",
        (InboxMessage("user", "SECRET words", id="m-1"), InboxMessage("assistant", "Noted.")),
        id="turn-1",
        agent_id="helper",
        occurred_at=datetime(2026, 4, 1, 8, tzinfo=UTC),
    )
    assert admit(codec.encode(avro), AT, NOW) == _admit()


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
    ],
)
def test_bad_turns_are_refused_with_the_field_and_without_content(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused) as refused:
        _admit(**changes)
    assert reason in refused.value.reason
    assert "SECRET" not in refused.value.reason
    assert len(refused.value.reason) < 500


@pytest.mark.parametrize(
    "value", [None, b"", b"garbage", b"[]", b"null", b"\xff\xfe", b"\xc3\x01" + b"\0" * 20, b"[" * 100_000, b"x" * 1_000_000]
)
def test_records_that_are_no_turn_are_refused(value: bytes | None) -> None:
    with pytest.raises(Refused):
        admit(value, AT, NOW)


def test_another_record_type_in_avro_is_refused() -> None:
    with pytest.raises(Refused, match="expected a InboxTurn"):
        admit(codec.encode(_admit()), AT, NOW)


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
        admit(value, AT, NOW)
