"""Single-object encoding: round trips, an independent reader, and bytes that are not what they should be."""

from __future__ import annotations

import contextlib
import io
import json
from datetime import UTC, date, datetime
from typing import Any

import fastavro
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

from schemas import codec
from schemas.codec import decode, decode_as, encode
from schemas.errors import BrokenRecord, ContractError, UnknownSchema
from schemas.types import (
    RECORDS,
    CommandMeta,
    ConsolidateDay,
    DecideApproval,
    Forget,
    Link,
    MemoryForgotten,
    Record,
    Sealed,
    WorkParked,
)
from schemas.value import Value
from tests.schemas import avro_reader
from tests.schemas.records import any_record, strategy

AT = datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
META = CommandMeta("c", "o", AT, "cli")
FORGET = Forget(META, ("m",), 7)
PARKED = WorkParked("p", None, "extract", "t", 0, 1, "r", None, 1, AT, Sealed(b"k"), Sealed(b"v"), {"h": Sealed(b"1")})
LINK = Link(META, "m-1", "m-2", "supports", 0.5)
DECISION = DecideApproval(META, "r", "grant")
DAY = ConsolidateDay(META, date(2024, 5, 1), None, (), (), (), (), "m", "v1", 0, 0)


def plain(value: Any) -> Any:
    """A record as an independent reader sees it: dicts and lists."""
    if isinstance(value, Value):
        return {k: plain(v) for k, v in asdict(value).items()}
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
@settings(max_examples=25)
@given(data=st.data())
def test_a_record_comes_back_as_it_was(kind: type[Record], data: st.DataObject) -> None:
    record = data.draw(strategy(kind))
    assert decode(encode(record)) == record
    assert decode_as(kind, encode(record)) == record


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
@settings(max_examples=25)
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


WRONG: dict[str, tuple[Record, str]] = {
    "text for a number": (replace(FORGET, conversation_end_offset="seven"), "Forget.conversation_end_offset is no long"),
    "more than 64 bits": (replace(FORGET, conversation_end_offset=2**63), "Forget.conversation_end_offset is no long"),
    "null in a list": (replace(FORGET, memory_ids=("m", None)), r"Forget.memory_ids\[\] is no string"),
    "text for a list": (replace(FORGET, memory_ids="m"), "Forget.memory_ids is no array"),
    "no time": (replace(FORGET, meta=replace(META, occurred_at=None)), "CommandMeta.occurred_at"),
    "another record": (replace(FORGET, meta=Sealed(b"")), "CommandMeta"),
    "text for a sealed value": (replace(PARKED, value="v"), "Sealed"),
    "a number for a text": (replace(FORGET, meta=replace(META, owner=1)), "CommandMeta.owner is no string"),
    "text for bytes": (replace(PARKED, value=Sealed("v")), "Sealed.data is no bytes"),  # type: ignore[arg-type]
    "a number as key of a map": (replace(PARKED, headers={1: Sealed(b"1")}), "WorkParked.headers is no map"),
    "a symbol that there is not": (replace(DECISION, decision="maybe"), "DecideApproval.decision is no symbol"),
    "a lone surrogate": (replace(FORGET, meta=replace(META, owner="\ud800")), "$"),
}
SILENTLY_ANOTHER: dict[str, tuple[Record, str]] = {
    "more than 32 bits in an int": (replace(PARKED, partition=2**31), "WorkParked.partition is no int"),
    "a fraction for a number": (replace(FORGET, conversation_end_offset=7.5), "is no long"),
    "a truth value for a number": (replace(FORGET, conversation_end_offset=True), "is no long"),
    "a number for a truth value": (replace(FORGET, include_source=1), "Forget.include_source is no boolean"),
    "a text for a fraction": (replace(LINK, weight="0.5"), "Link.weight is no double"),
    "a truth value for a fraction": (replace(LINK, weight=True), "Link.weight is no double"),
    "a number that no double holds": (replace(LINK, weight=2**53 + 1), "Link.weight is no double"),
    "a time without a zone": (replace(FORGET, meta=replace(META, occurred_at=datetime(2024, 5, 1))), "no timestamp-micros"),
    "a time for a day": (replace(DAY, day=AT), "ConsolidateDay.day is no date"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_value_that_does_not_fit_is_refused_by_its_field(case: str) -> None:
    record, says = WRONG[case]
    with pytest.raises(BrokenRecord, match=f"does not fit the schema of {type(record).__name__}.*{says}"):
        encode(record)


@pytest.mark.parametrize("case", SILENTLY_ANOTHER)
def test_a_value_that_would_silently_become_another_is_refused_by_its_field(case: str) -> None:
    record, says = SILENTLY_ANOTHER[case]
    with pytest.raises(BrokenRecord, match=f"does not fit the schema of {type(record).__name__}.*{says}"):
        encode(record)


@pytest.mark.parametrize("case", [*WRONG, *SILENTLY_ANOTHER])
def test_a_refusal_quotes_no_value(case: str) -> None:
    record, _ = {**WRONG, **SILENTLY_ANOTHER}[case]
    with pytest.raises(BrokenRecord) as refused:
        encode(record)
    assert refused.value.__cause__ is None
    words = str(refused.value)
    assert not any(value in words for value in ("seven", "maybe", "7.5", "0.5", "2024", str(2**63), str(2**53 + 1), "\ud800"))


class _Word(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (replace(FORGET, memory_ids=["m"]), FORGET),
        (replace(FORGET, memory_ids=(_Word("m"),)), FORGET),
        (replace(PARKED, value=Sealed(bytearray(b"v"))), PARKED),  # type: ignore[arg-type]
        (replace(LINK, weight=1), replace(LINK, weight=1.0)),
        (replace(FORGET, conversation_end_offset=numpy.int64(7)), FORGET),
        (replace(LINK, weight=numpy.float32(0.5)), LINK),
    ],
    ids=["a list", "a kind of text", "a bytearray", "a whole number for a fraction", "numpy's integer", "numpy's float"],
)
def test_a_value_that_loses_nothing_is_taken(given: Record, read: Record) -> None:
    back = decode(encode(given))
    assert back == read
    assert type(getattr(back, "memory_ids", ())) is tuple


def test_an_unknown_type_or_version_of_a_schema_is_named() -> None:
    with pytest.raises(UnknownSchema, match="Forget version 99"):
        codec.schema_text("Forget", 99)
