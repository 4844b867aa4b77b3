"""The Avro files: documented, sealed where personal, and field for field the Python types."""

from __future__ import annotations

import json
import types
import typing
from datetime import date, datetime
from importlib.resources import files
from typing import Any

import pytest
from msgspec import NODEFAULT
from msgspec.structs import FieldInfo, fields

from schemas import codec
from schemas import types as record_types
from schemas.types import RECORDS, Sealed
from schemas.versions import FILE_NAME
from tests.schemas.records import avro_records, avro_types

NAMES = sorted(avro_records())


def is_plain(name: str) -> bool:
    """What outside producers send is plain by design: it is sealed when it is admitted."""
    return name.startswith("Inbox")


def hints_of(name: str) -> dict[str, Any]:
    return typing.get_type_hints(getattr(record_types, name))


def holds_sealed(hint: Any) -> bool:
    return hint is Sealed or any(holds_sealed(part) for part in typing.get_args(hint))


@pytest.mark.parametrize("name", NAMES)
def test_every_record_and_field_has_a_doc(name: str) -> None:
    schema = avro_records()[name]
    assert schema.get("doc", "").strip(), f"{name} has no doc"
    undocumented = [f["name"] for f in schema["fields"] if not f.get("doc", "").strip()]
    assert not undocumented, f"{name}: no doc for {undocumented}"


@pytest.mark.parametrize("name", NAMES)
def test_personal_fields_are_tagged_and_are_the_sealed_ones(name: str) -> None:
    tagged = {f["name"] for f in avro_records()[name]["fields"] if f.get("pii") is True}
    sealed = {field for field, hint in hints_of(name).items() if holds_sealed(hint)}
    if is_plain(name):
        assert not sealed, "it is sealed only when it is admitted"
    else:
        assert tagged == sealed


@pytest.mark.parametrize("name", NAMES)
def test_a_python_type_has_the_fields_of_its_file_in_their_order(name: str) -> None:
    assert [f["name"] for f in avro_records()[name]["fields"]] == [f.name for f in fields(getattr(record_types, name))]


@pytest.mark.parametrize("name", NAMES)
def test_a_python_type_has_the_types_of_its_file(name: str) -> None:
    hints = hints_of(name)
    for field in avro_records()[name]["fields"]:
        assert hints[field["name"]] == python_type(field["type"]), f"{name}.{field['name']}"


@pytest.mark.parametrize("name", NAMES)
def test_a_default_is_the_same_in_both(name: str) -> None:
    python = {f.name: f for f in fields(getattr(record_types, name))}
    for field in avro_records()[name]["fields"]:
        ours = default_of(python[field["name"]])
        if ours is not NODEFAULT:
            assert "default" in field, f"{name}.{field['name']} has a default in Python only"
            assert (tuple(field["default"]) if isinstance(field["default"], list) else field["default"]) == ours
        if isinstance(field["type"], list) and "default" in field:
            assert field["default"] is None
            assert field["type"][0] == "null", "Avro: a default is of the union's first branch"


def default_of(field: FieldInfo) -> Any:
    return field.default if field.default_factory is NODEFAULT else field.default_factory()


def python_type(avro: Any) -> Any:
    """The annotation that an Avro type asks for."""
    if isinstance(avro, list):
        null, other = avro
        assert null == "null"
        return python_type(other) | None
    if isinstance(avro, str):
        if avro in avro_records():
            return getattr(record_types, avro)
        if avro in avro_types():
            return typing.Literal.__getitem__(tuple(avro_types()[avro]["symbols"]))
        return {"string": str, "int": int, "long": int, "double": float, "boolean": bool, "bytes": bytes}[avro]
    match avro["type"]:
        case "array":
            return types.GenericAlias(tuple, (python_type(avro["items"]), ...))
        case "map":
            return types.GenericAlias(dict, (str, python_type(avro["values"])))
        case "long":
            assert avro["logicalType"] == "timestamp-micros"
            return datetime
        case "int":
            assert avro["logicalType"] == "date"
            return date
    raise AssertionError(f"a type that the contract does not use yet: {avro}")


def test_every_file_is_of_a_record_type_and_every_type_has_its_file() -> None:
    folder = files("schemas").joinpath("avro")
    names = sorted(path.name for path in folder.iterdir())
    assert all(FILE_NAME.match(name) for name in names)
    named = {json.loads(folder.joinpath(name).read_text(encoding="utf-8"))["name"] for name in names}
    assert named == {kind.__name__ for kind in RECORDS}
    for kind in RECORDS:
        assert json.loads(codec.schema_text(kind.__name__))["namespace"] == "emberlog.v1"
