"""Hypothesis strategies for every record type, built from the dataclasses' annotations and the Avro files' ranges."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from hypothesis import strategies as st

from schemas import types as record_types
from schemas.codec import schema_text
from schemas.types import RECORDS, Record

# Avro "int" has 32 bits, "long" 64: the dataclasses call both int.
RANGES = {"int": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}

TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC))
TEXTS = st.text(max_size=60)
FLOATS = st.floats(allow_nan=False)
BYTES = st.binary(max_size=60)


def records_in(schema: Any) -> Iterator[dict[str, Any]]:
    """Every record schema inside ``schema``, itself first."""
    if isinstance(schema, list):
        for branch in schema:
            yield from records_in(branch)
    elif isinstance(schema, dict) and schema["type"] == "record":
        yield schema
        for field in schema["fields"]:
            yield from records_in(field["type"])
    elif isinstance(schema, dict):
        yield from records_in(schema.get("items", schema.get("values")))


@cache
def avro_records() -> dict[str, dict[str, Any]]:
    """Record schemas by name, nested ones included; a name that two files use must mean the same in both."""
    found: dict[str, dict[str, Any]] = {}
    for kind in RECORDS:
        for schema in records_in(json.loads(schema_text(kind.__name__))):
            bare = {k: v for k, v in schema.items() if k != "namespace"}
            assert found.setdefault(schema["name"], bare) == bare, f"{schema['name']} means two things"
    return found


def _integers(avro: Any) -> st.SearchStrategy[int]:
    low, high = RANGES[avro]
    return st.one_of(st.integers(low, high), st.sampled_from([low, -1, 0, 1, 63, 64, high]))


def _values(hint: Any, avro: Any) -> st.SearchStrategy[Any]:
    """Values of one field: ``hint`` is its annotation, ``avro`` its type in the file."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = next(a for a in typing.get_args(hint) if a is not type(None))
        branch = next(b for b in avro if b != "null")
        return st.none() | _values(inner, branch)
    if typing.get_origin(hint) is tuple:
        return st.lists(_values(typing.get_args(hint)[0], avro["items"]), max_size=3).map(tuple)
    if typing.get_origin(hint) is dict:
        return st.dictionaries(TEXTS, BYTES, max_size=3)
    if is_dataclass(hint):
        return strategy(typing.cast(type[Any], hint))
    if hint is int:
        return _integers(avro)
    simple: dict[Any, st.SearchStrategy[Any]] = {
        str: TEXTS,
        float: FLOATS,
        bool: st.booleans(),
        bytes: BYTES,
        datetime: TIMES,
    }
    return simple[hint]


def strategy(kind: type[Any]) -> st.SearchStrategy[Any]:
    """All records of ``kind``: every field drawn over the whole range that its Avro type allows."""
    hints = typing.get_type_hints(kind, vars(record_types))
    avro = {f["name"]: f["type"] for f in avro_records()[kind.__name__]["fields"]}
    return st.builds(kind, **{f.name: _values(hints[f.name], avro[f.name]) for f in fields(kind)})


def any_record() -> st.SearchStrategy[Record]:
    """A record of any type."""
    return st.one_of([strategy(kind) for kind in RECORDS])
