"""Kafka headers: CloudEvents in binary mode, and what a reader makes of missing or odd ones."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import envelope
from schemas.codec import schema_fingerprint
from schemas.errors import BadEnvelope
from schemas.types import RECORDS, CommandMeta, Forget, Record
from tests.schemas.records import any_record

WHEN = datetime(2024, 5, 1, 12, 30, tzinfo=UTC)
FORGET = Forget(CommandMeta("c-1", "owner", WHEN, "operator"), ("m",), 7)


def test_a_record_s_headers_are_cloudevents_1_0() -> None:
    headers = envelope.headers_for(FORGET, id="c-1", source="emberlog/cli", subject="owner", time=WHEN, traceparent="00-ab-cd-01")
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"c-1",
        "ce_type": b"emberlog.Forget.v1",
        "ce_source": b"emberlog/cli",
        "ce_subject": b"owner",
        "ce_time": b"2024-05-01T12:30:00+00:00",
        "ce_dataschema": f"urn:emberlog:avro:{schema_fingerprint(Forget)}".encode(),
        "content-type": b"application/avro",
        "traceparent": b"00-ab-cd-01",
    }


@given(any_record())
def test_every_record_has_the_required_attributes_once(record: Record) -> None:
    headers = envelope.headers_for(record, id="i", source="s", subject=None, time=WHEN)
    names = [name for name, _ in headers]
    assert len(names) == len(set(names))
    assert {"ce_id", "ce_source", "ce_specversion", "ce_type"} <= set(names)
    assert all(value for _, value in headers)
    assert "ce_subject" not in names


def test_every_type_has_a_ce_type_of_its_own() -> None:
    assert len({f"emberlog.{kind.__name__}.v1" for kind in RECORDS}) == len(RECORDS)


def test_extensions_stand_as_text() -> None:
    headers = envelope.headers_for(FORGET, id="i", source="s", subject="o", time=WHEN, extra={"sequence": 3, "causationid": "x"})
    found = envelope.as_map(headers)
    assert envelope.number(found, "sequence") == 3
    assert envelope.text(found, "causationid") == "x"


def test_of_a_repeated_header_the_last_counts_and_null_is_empty() -> None:
    assert envelope.as_map([("a", b"1"), ("a", b"2"), ("b", None)]) == {"a": b"2", "b": b""}
    assert envelope.as_map(None) == {}


def test_a_missing_header_is_named() -> None:
    with pytest.raises(BadEnvelope, match="header sequence is missing"):
        envelope.number({}, "sequence")


@pytest.mark.parametrize("value", [b"", b"x", b"1.5", b"0x1", b"9" * 5000])
def test_a_number_that_is_none_is_named_without_its_value(value: bytes) -> None:
    with pytest.raises(BadEnvelope, match=r"^header sequence is not a number$"):
        envelope.number({"sequence": value}, "sequence")


@given(st.binary())
def test_any_bytes_are_text_or_a_bad_envelope(value: bytes) -> None:
    try:
        assert envelope.text({"h": value}, "h").encode() == value
    except BadEnvelope:
        with pytest.raises(UnicodeDecodeError):
            value.decode()
