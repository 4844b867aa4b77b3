"""Single-object encoding: round trips, an independent reader, and bytes that are not what they should be."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import asdict, is_dataclass, replace
from datetime import UTC, datetime
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import codec
from schemas.codec import decode, decode_as, encode
from schemas.errors import BrokenRecord, ContractError, UnknownSchema
from schemas.types import RECORDS, Forget, MemoryForgotten, Record, WorkParked
from tests.schemas import avro_reader
from tests.schemas.records import any_record, strategy

FORGET = Forget("c", "o", ("m",), 7, datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC))
PARKED = WorkParked("p", None, "extract", "t", 0, 1, "r", None, 1, FORGET.requested_at, b"k", b"v", {"h": b"1"})


def plain(value: Any) -> Any:
    """A record as an independent reader sees it: dicts and lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {k: plain(v) for k, v in asdict(value).items()}
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_a_record_comes_back_as_it_was(kind: type[Record], data: st.DataObject) -> None:
    record = data.draw(strategy(kind))
    assert decode(encode(record)) == record
    assert decode_as(kind, encode(record)) == record


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_a_reader_written_from_the_specification_agrees(kind: type[Record], data: st.DataObject) -> None:
    record = data.draw(strategy(kind))
    schema = json.loads(codec.schema_text(kind.__name__))
    wire = encode(record)
    assert avro_reader.read(wire, schema) == plain(record)
    assert fastavro.schemaless_reader(io.BytesIO(wire[10:]), schema, None) == plain(record)


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_the_fingerprint_is_the_specification_s(kind: type[Record]) -> None:
    own = avro_reader.fingerprint(json.loads(codec.schema_text(kind.__name__)))
    assert codec.schema_fingerprint(kind) == own.hex()


def test_the_independent_crc_knows_the_specification_s_vectors() -> None:
    # from the Avro project's share/test/data/schema-tests.txt
    assert avro_reader.crc_64_avro(b'"null"') == 7195948357588979594
    assert avro_reader.crc_64_avro(b'"string"') == (-8142146995180207161) % 2**64


def test_no_two_types_share_a_fingerprint() -> None:
    assert len({codec.schema_fingerprint(kind) for kind in RECORDS}) == len(RECORDS)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_give_a_contract_error(data: bytes) -> None:
    with pytest.raises(ContractError):
        decode(data)


@given(any_record(), st.binary(max_size=80))
def test_a_true_prefix_before_arbitrary_bytes_gives_a_record_or_a_contract_error(record: Record, body: bytes) -> None:
    _decode_or_contract_error(encode(record)[: codec.HEADER_BYTES] + body)


@given(any_record(), st.data())
def test_a_record_cut_off_anywhere_gives_a_contract_error(record: Record, data: st.DataObject) -> None:
    wire = encode(record)
    cut = data.draw(st.integers(0, len(wire) - 1))
    with pytest.raises(ContractError):
        decode(wire[:cut])


@given(any_record(), st.binary(min_size=1, max_size=5))
def test_bytes_left_over_give_a_contract_error(record: Record, more: bytes) -> None:
    with pytest.raises(BrokenRecord, match="left over"):
        decode(encode(record) + more)


@given(any_record(), st.data())
def test_a_flipped_bit_gives_a_record_or_a_contract_error(record: Record, data: st.DataObject) -> None:
    wire = bytearray(encode(record))
    bit = data.draw(st.integers(0, len(wire) * 8 - 1))
    wire[bit // 8] ^= 1 << bit % 8
    _decode_or_contract_error(bytes(wire))


def _decode_or_contract_error(wire: bytes) -> None:
    with contextlib.suppress(ContractError):
        assert isinstance(decode(wire), RECORDS)


@given(any_record(), st.integers(0, 63))
def test_a_schema_that_this_version_lacks_is_told_from_broken_bytes(record: Record, bit: int) -> None:
    wire = bytearray(encode(record))
    wire[2 + bit // 8] ^= 1 << bit % 8
    with pytest.raises(UnknownSchema, match="fingerprint"):
        decode(bytes(wire))


def test_another_type_than_the_one_asked_for_is_refused_by_both_names() -> None:
    with pytest.raises(BrokenRecord, match=r"expected a MemoryForgotten, found a Forget"):
        decode_as(MemoryForgotten, encode(FORGET))


@pytest.mark.parametrize(
    "record",
    [
        replace(FORGET, conversation_end_offset="seven"),  # type: ignore[arg-type]
        replace(FORGET, conversation_end_offset=2**63),
        replace(FORGET, memory_ids=("m", None)),  # type: ignore[arg-type]
        replace(FORGET, requested_at=None),  # type: ignore[arg-type]
        replace(FORGET, owner="\ud800"),
        replace(PARKED, headers={"h": "text"}),  # type: ignore[dict-item]
    ],
    ids=["text for a number", "more than 64 bits", "null in a list", "no time", "a lone surrogate", "text for bytes"],
)
def test_a_value_that_does_not_fit_is_refused_when_written(record: Record) -> None:
    with pytest.raises(BrokenRecord, match="does not fit"):
        encode(record)


@pytest.mark.parametrize(
    "record",
    [
        replace(PARKED, partition=2**31),
        replace(FORGET, conversation_end_offset=7.5),  # type: ignore[arg-type]
        replace(FORGET, requested_at=datetime(2024, 5, 1)),
    ],
    ids=["more than 32 bits in an int", "a fraction for a number", "a time without a zone"],
)
def test_a_value_that_would_silently_become_another_is_refused_when_written(record: Record) -> None:
    with pytest.raises(BrokenRecord, match="does not fit"):
        encode(record)


def test_an_unknown_type_or_version_of_a_schema_is_named() -> None:
    with pytest.raises(UnknownSchema, match="Forget version 99"):
        codec.schema_text("Forget", 99)
