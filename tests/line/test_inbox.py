"""Records that no turn can be made of are parked alone, each with its reason, and hold nobody back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas import codec
from schemas.types import InboxMessage, InboxTurn
from tests.line.support.line import Line
from tests.line.support.speaker import Speaker
from tests.line.support.waiting import until


def _json(**changes: Any) -> bytes:
    turn: dict[str, Any] = {"owner": "u-9", "session_id": "s", "messages": [{"role": "user", "content": "hello there"}]}
    return json.dumps({k: v for k, v in (turn | changes).items() if v is not None}).encode()


def _said(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


AVRO = codec.encode(InboxTurn("u-9", "s", (InboxMessage("user", "hello there"),)))
TO_COME = (datetime.now(UTC) + timedelta(days=3)).isoformat()
BROKEN: list[tuple[bytes | None, str]] = [
    (None, "the record is empty"),
    (b"", "the record is empty"),
    (b"not JSON at all", "record: json invalid"),
    (b'{"owner": "u-9", "session_id": "s", "messages"', "record: json invalid"),
    (b"\xff\xfe\x00garbage", "record: json invalid"),
    (b"[" * 100_000, "json"),
    (b'"a string"', "record"),
    (AVRO[:-3], "broken Avro"),
    (AVRO[:2] + b"\0" * 8 + AVRO[10:], "broken Avro"),
    (AVRO + b"more", "broken Avro"),
    (_json(owner=7), "owner: string type"),
    (_json(owner=None), "owner: missing"),
    (_json(owner="default/robot/r2"), "an owner's kind is one of"),
    (_json(owner="default/user/"), "an owner's id is empty"),
    (_json(session_id=""), "session_id: too short"),
    (_json(messages="hello"), "messages: list type"),
    (_json(messages=[]), "messages: too short"),
    (_json(messages=[{"role": "robot", "content": "hello there"}]), "messages.0.role: literal error"),
    (_json(messages=[{"role": "user", "content": None}]), "messages.0.content: string type"),
    (_json(messages=_said("")), "messages.0.content: too short"),
    (_json(messages=_said("a\0b")), "messages.0.content: holds a NUL byte"),
    (b'{"owner":"u-9","session_id":"s","messages":[{"role":"user","content":"\\ud800"}]}', "json invalid"),
    (_json(messages=_said("x" * 100_001)), "messages.0.content: too long"),
    (_json(messages=_said("x" * 910_000)), "the record exceeds"),
    (_json(messages=_said("hello there") * 201), "messages: too long"),
    (_json(occurred_at=TO_COME), "more than a day in the future"),
    (_json(occurred_at="1950-01-01T00:00:00Z"), "before 1970"),
    (_json(occurred_at="2026-01-01T00:00:00"), "occurred_at: timezone aware"),
    (_json(occurred_at="yesterday"), "occurred_at"),
    (_json(messages=[{**_said("hello there")[0], "id": "m"}] * 2), "two messages of the turn have the same id"),
]


async def test_broken_records_are_parked_alone_with_their_reason_and_hold_nobody_back(line: Line) -> None:
    before, after = Speaker(line, "default/user/before"), Speaker(line, "default/user/after")
    first, last = before.turn("What came before the broken records"), after.turn("What came behind the broken records")
    await line.know([before.owner, after.owner])
    key = str(after.owner).encode()
    places = await line.publish_raw(
        # one key: all stand in one partition of the inbox, between good turns
        [(key, codec.encode(first)), *((key, value) for value, _ in BROKEN), (key, codec.encode(last))]
    )
    await line.settled([before.id_of(first), after.id_of(last)])

    await until(lambda: _parked(line, len(BROKEN)), "all broken records are parked")
    listed = await line.parked()
    lot = {(e["partition"], e["offset"]): e for e in listed}
    assert {e["stage"] for e in listed} == {"admit"}
    for (_, reason), place in zip(BROKEN, places[1:-1], strict=True):
        entry = lot.pop(place)
        assert reason in entry["reason"], f"{entry['reason']} instead of {reason}"
        assert entry["owner"] is None
        assert entry["behind"] is None
    assert lot == {}
    assert await before.contents() == ["What came before the broken records"]
    assert await after.contents() == ["What came behind the broken records"]

    shown = await line.cli("parked", "show", listed[0]["parked_id"])
    assert "admit" in shown.out
    dropped = await line.cli("parked", "drop", "--all", "--yes", "--json")
    assert dropped.code == 0, dropped.err
    await until(lambda: _parked(line, 0, at_most=True), "the dropped records left the lot")


async def _parked(line: Line, size: int, *, at_most: bool = False) -> bool:
    (count,) = (await line.rows("SELECT count(*) FROM parked_work"))[0]
    return bool(count <= size if at_most else count >= size)
