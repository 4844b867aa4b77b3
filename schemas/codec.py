"""Avro single-object encoding of the record types.

Wire form (Avro 1.11 specification, "Single-object encoding"): two marker bytes C3 01, the CRC-64-AVRO fingerprint of the
writer's schema in canonical form as 8 bytes little endian, then the body. The fingerprint says which schema wrote a record, so
readers need neither a registry nor a header.
"""

from __future__ import annotations

import io
import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form
from fastavro.validation import ValidationError, validate

from schemas import types as record_types
from schemas.errors import BrokenRecord, UnknownSchema
from schemas.types import RECORDS, Record

MARKER = b"\xc3\x01"
HEADER_BYTES = 10

R = TypeVar("R", bound=Record)
Lift = Callable[[Any], Any]


def _file_stem(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


@cache
def schema_text(name: str, version: int = 1) -> str:
    """The Avro file of record type ``name``, as JSON text.

    Raises UnknownSchema where there is no such type or version.
    """
    path = files("schemas").joinpath("avro", f"{_file_stem(name)}.v{version}.avsc")
    if not path.is_file():
        raise UnknownSchema(f"no schema {name} version {version}")
    return path.read_text(encoding="utf-8")


class _Coder:
    """Encoder and decoder of one record type."""

    def __init__(self, record_type: type[Record]) -> None:
        self.record_type = record_type
        raw = json.loads(schema_text(record_type.__name__))
        self.schema = fastavro.parse_schema(raw)
        crc = fingerprint(to_parsing_canonical_form(raw), "CRC-64-AVRO")
        # fastavro gives the fingerprint as the little-endian bytes in hex, which is the order on the wire
        self.prefix = MARKER + bytes.fromhex(crc)
        self.lift: Lift = _lifter(record_type)


@cache
def _coders() -> dict[type[Record], _Coder]:
    return {t: _Coder(t) for t in RECORDS}


@cache
def _by_prefix() -> dict[bytes, _Coder]:
    return {c.prefix: c for c in _coders().values()}


def _lower(value: Any) -> Any:
    """A record as the plain dicts and lists that fastavro writes."""
    slots = getattr(value, "__slots__", None)
    if slots and is_dataclass(value):
        return {name: _lower(getattr(value, name)) for name in slots}
    if isinstance(value, tuple):
        return [_lower(v) for v in value]
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError("a time without a zone")  # the writer would take it for local time
    return value


def _lifter(cls: type[Any]) -> Lift:
    """A function from fastavro's dict to ``cls``, built from its annotations."""
    hints = typing.get_type_hints(cls, vars(record_types))
    lifts = [(f.name, _lift_of(hints[f.name])) for f in fields(cls)]

    def lift(data: Mapping[str, Any]) -> Any:
        return cls(**{n: (data[n] if fn is None else fn(data[n])) for n, fn in lifts})

    return lift


def _lift_of(hint: Any) -> Lift | None:
    """How a field's value is lifted; None where it can stay as it is."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        inner = [a for a in typing.get_args(hint) if a is not type(None)]
        fn = _lift_of(inner[0])
        return None if fn is None else _optional(fn)
    if origin is tuple:
        fn = _lift_of(typing.get_args(hint)[0])
        return tuple if fn is None else _sequence(fn)
    return _lifter(hint) if isinstance(hint, type) and is_dataclass(hint) else None


def _optional(fn: Lift) -> Lift:
    return lambda v: None if v is None else fn(v)


def _sequence(fn: Lift) -> Lift:
    return lambda v: tuple(map(fn, v))


def encode(record: Record) -> bytes:
    """``record`` in single-object encoding. Raises BrokenRecord where a value does not fit its schema."""
    coder = _coders()[type(record)]
    out = io.BytesIO()
    out.write(coder.prefix)
    try:
        lowered = _lower(record)
        # the writer alone would cut a fraction off, and write more than 32 bits into an int
        validate(lowered, coder.schema, raise_errors=True)
        fastavro.schemaless_writer(out, coder.schema, lowered)
    except (ValueError, TypeError, AttributeError, OverflowError, KeyError, ValidationError):
        # not chained: the cause's text quotes the value
        raise BrokenRecord(f"a value does not fit the schema of {type(record).__name__}") from None
    return out.getvalue()


def decode(data: bytes) -> Record:
    """The record in ``data``.

    Raises BrokenRecord for bytes that are not a record or are cut off, UnknownSchema for a writer's schema we lack.
    """
    if len(data) < HEADER_BYTES or data[:2] != MARKER:
        raise BrokenRecord("not in Avro single-object encoding")
    coder = _by_prefix().get(bytes(data[:HEADER_BYTES]))
    if coder is None:
        raise UnknownSchema(f"written by a schema that this version lacks (fingerprint {data[2:10].hex()})")
    body = io.BytesIO(data)
    body.seek(HEADER_BYTES)
    try:
        record = coder.lift(fastavro.schemaless_reader(body, coder.schema, None))
    except Exception:
        # fastavro raises whatever the broken bytes lead to (EOFError, IndexError, struct.error…), and its text quotes them
        raise BrokenRecord(f"broken body of a {coder.record_type.__name__}") from None
    if body.read(1):
        raise BrokenRecord(f"bytes left over behind a {coder.record_type.__name__}")
    return typing.cast(Record, record)


def decode_as(kind: type[R], data: bytes) -> R:
    """``decode`` that insists on one type; raises BrokenRecord for another."""
    record = decode(data)
    if not isinstance(record, kind):
        raise BrokenRecord(f"expected a {kind.__name__}, found a {type(record).__name__}")
    return record


def schema_fingerprint(kind: type[Record]) -> str:
    """CRC-64-AVRO fingerprint (hex, wire order) of the type's current schema."""
    return _coders()[kind].prefix[2:].hex()
