"""Every type of record is told on one line and as JSON, with its values sealed or plain."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from msgspec.structs import fields, replace

from ops.cli.show import Shown, as_json, as_line, owner_of, shown
from schemas import codec, types
from schemas.golden.sample import sample_bytes
from schemas.sealed import Sealed
from schemas.types import COMMANDS, EVENTS, RECORDS, EventMeta, Record
from schemas.value import Value
from schemas.versions import FILES
from tests.projections.record_log import T0

WORD = "marzipan"
META = EventMeta("6b1f7c1e-7d0b-5c51-9a9e-5f0f4a1f2d3c", 7, 3, 1, T0, "a-command")


def sealed(kind: type[Record]) -> Record:
    """A record of the type with every field filled; its values about a person cannot be opened."""
    name = kind.__name__
    return codec.decode(sample_bytes(FILES.parsed(name), FILES.fingerprint(name)))


def opened(value: Any) -> Any:
    """The same with values that say ``WORD`` in plain."""
    if isinstance(value, Sealed):
        return Sealed.of(WORD)
    if isinstance(value, tuple):
        return tuple(map(opened, value))
    if isinstance(value, dict):
        return {name: opened(v) for name, v in value.items()}
    if isinstance(value, Value):
        return replace(value, **{f.name: opened(getattr(value, f.name)) for f in fields(value)})
    return value


def item(record: Record | None, value: bytes | None = None) -> Shown:
    raw = value if record is None else codec.encode(record)
    return shown(SimpleNamespace(topic="t", partition=2, offset=41, timestamp=0, key=b"k", value=raw, headers=[("h", None)]))


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_every_type_is_told_on_one_line_and_as_json_sealed_or_plain(kind: type[Record]) -> None:
    closed = sealed(kind)
    for record in (closed, opened(closed)):
        if isinstance(record, types.MemoryEmbedding | types.MessageEmbedding):
            data = b"\0\0\x80?" if kind is types.MemoryEmbedding else b"\x00\x3c"  # float32, float16
            record = replace(record, dimensions=1, vector=replace(record.vector, data=data))
        one = item(record)
        assert (one.record, one.kind, one.problem) == (record, kind.__name__, None)
        line = as_line(one).plain
        assert line.startswith("2@41")
        assert f" {kind.__name__} " in line
        assert "\n" not in line
        told = orjson.loads(orjson.dumps(as_json(one)))
        assert told["type"] == kind.__name__
        assert set(told["record"]) == {f.name for f in fields(kind)}
        if isinstance(record, types.MemoryEmbedding | types.MessageEmbedding):
            assert told["record"]["vector"] == (None if record.vector.key_id else [1.0])
        meta = getattr(record, "meta", None)
        assert (meta is not None) == (kind in (*COMMANDS, *EVENTS))
        if meta is not None:
            assert owner_of(one) == meta.owner
            assert meta.owner[:8] in line


def test_a_sealed_value_is_shown_by_its_key_and_not_by_its_bytes() -> None:
    event = types.OwnerAliased(META, Sealed(b"\x01\x02", "a-cipher", "key-7"), "ab12")
    assert as_json(item(event))["record"]["alias"] == {"cipher": "a-cipher", "key_id": "key-7"}
    assert "a-cipher, 2 bytes" in as_line(item(event)).plain


def test_a_type_without_words_of_its_own_is_told_field_by_field_without_its_values() -> None:
    event = types.SettingSet(META, "ai.model", Sealed.of(WORD), "ab12", 3)
    line = as_line(item(event)).plain
    assert "owner 6b1f7c1e #7  name ai.model  value <plain, 8 bytes>  value_fingerprint ab12  version 3" in line
    assert WORD not in line


def test_what_memories_say_is_shown() -> None:
    revised = opened(sealed(types.MemoryRevised))
    assert f"“{WORD}”" in as_line(item(revised)).plain
    assert as_json(item(revised))["record"]["content"] == WORD


def test_parked_bytes_are_shown_as_bytes_even_where_they_are_text() -> None:
    work = replace(opened(sealed(types.WorkParked)), key=None, value=Sealed(b"{}"), headers={"h": Sealed(b"x")})
    body = as_json(item(work))["record"]
    assert (body["key"], body["value"], body["headers"]) == (None, "e30=", {"h": "eA=="})


@pytest.mark.parametrize(
    ("value", "kind"),
    [(None, "tombstone"), (b"\xff", "unreadable"), (b'{"owner": "u"}', "JSON"), (b"null", "JSON"), (b"[1]", "JSON")],
)
def test_what_is_no_record_of_ours_is_shown_too(value: bytes | None, kind: str) -> None:
    one = item(None, value)
    assert one.kind == kind
    assert f" {kind} " in as_line(one).plain
    assert json.dumps(as_json(one))
