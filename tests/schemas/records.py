"""Hypothesis strategies for every record type, built from the types' annotations and the Avro files' ranges."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import cache
from typing import Any

from hypothesis import strategies as st
from msgspec.structs import fields

from schemas.codec import schema_text
from schemas.types import RECORDS, Record
from schemas.value import is_value_type

# Avro "int" has 32 bits, "long" 64: Python calls both int.
RANGES = {"int": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}

TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC))
TEXTS = st.text(max_size=60)
FLOATS = st.floats(allow_nan=False)
BYTES = st.binary(max_size=60)


def defined_in(schema: Any) -> Iterator[dict[str, Any]]:
    """Every record and enum defined inside ``schema``, itself first."""
    if isinstance(schema, list):
        for branch in schema:
            yield from defined_in(branch)
    elif isinstance(schema, dict):
        if schema["type"] in ("record", "enum"):
            yield schema
        for field in schema.get("fields", ()):
            yield from defined_in(field["type"])
        yield from defined_in(schema.get("items", schema.get("values")))


def _by_reference(avro: Any) -> Any:
    """A type in which records and enums are only named, as they are where a file mentions them a second time."""
    if isinstance(avro, list):
        return [_by_reference(branch) for branch in avro]
    if not isinstance(avro, dict):
        return avro
    if avro["type"] in ("record", "enum"):
        return avro["name"]
    return {key: _by_reference(value) if key in ("items", "values") else value for key, value in avro.items()}


@cache
def avro_types() -> dict[str, dict[str, Any]]:
    """Records and enums of all files by name, nested ones included; a name that two files use must mean the same in both."""
    found: dict[str, dict[str, Any]] = {}
    for kind in RECORDS:
        for schema in defined_in(json.loads(schema_text(kind.__name__))):
            bare = {k: v for k, v in schema.items() if k != "namespace"}
            if "fields" in bare:
                bare["fields"] = [{**f, "type": _by_reference(f["type"])} for f in bare["fields"]]
            assert found.setdefault(schema["name"], bare) == bare, f"{schema['name']} means two things"
    return found


@cache
def avro_records() -> dict[str, dict[str, Any]]:
    """Records of all files by name, nested ones included. Records and enums in their fields' types are only named."""
    return {name: schema for name, schema in avro_types().items() if schema["type"] == "record"}


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
        return st.dictionaries(TEXTS, _values(typing.get_args(hint)[1], avro["values"]), max_size=3)
    if typing.get_origin(hint) is typing.Literal:
        return st.sampled_from(typing.get_args(hint))
    if is_value_type(hint):
        return strategy(hint)
    if hint is int:
        return _integers(avro)
    simple: dict[Any, st.SearchStrategy[Any]] = {
        str: TEXTS,
        float: FLOATS,
        bool: st.booleans(),
        bytes: BYTES,
        datetime: TIMES,
        date: st.dates(),
    }
    return simple[hint]


_strategies: dict[str, st.SearchStrategy[Any]] = {}


def strategy(kind: type[Any]) -> st.SearchStrategy[Any]:
    """All records of ``kind``: every field drawn over the whole range that its Avro type allows."""
    if kind.__name__ not in _strategies:
        _strategies[kind.__name__] = _strategy(kind)
    return _strategies[kind.__name__]


def _strategy(kind: type[Any]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind)
    avro = {f["name"]: f["type"] for f in avro_records()[kind.__name__]["fields"]}
    return st.builds(kind, **{f.name: _values(hints[f.name], avro[f.name]) for f in fields(kind)})


def any_record() -> st.SearchStrategy[Record]:
    """A record of any type."""
    return st.one_of([strategy(kind) for kind in RECORDS])
