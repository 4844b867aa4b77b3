"""The Avro files: documented, tagged where personal, and field for field the Python types."""

from __future__ import annotations

import json
import types
import typing
from dataclasses import MISSING, fields
from datetime import datetime
from importlib.resources import files
from typing import Any

import pytest

from schemas import codec
from schemas import types as record_types
from schemas.types import RECORDS
from tests.schemas.records import avro_records

NAMES = sorted(avro_records())

# Whoever adds a field says here whether it is about a person: sealing goes by these tags.
PERSONAL = {
    "ConversationTurn": {"user_id", "session_id"},
    "Fact": {"text", "evidence"},
    "FactsExtracted": {"user_id", "session_id"},
    "InboxMessage": {"content", "id", "name", "image_caption"},
    "InboxTurn": {"owner", "session_id"},
    "MemoryAdded": {"user_id", "content"},
    "MemoryEmbedding": {"vector"},
    "MemoryForgotten": {"kept_message_ids"},
    "Message": {"message_id", "name", "content", "image_caption"},
    "SourceRef": {"session_id", "message_ids"},
    "WorkParked": {"key", "value", "headers"},
}


@pytest.mark.parametrize("name", NAMES)
def test_every_record_and_field_has_a_doc(name: str) -> None:
    schema = avro_records()[name]
    assert schema.get("doc", "").strip(), f"{name} has no doc"
    undocumented = [f["name"] for f in schema["fields"] if not f.get("doc", "").strip()]
    assert not undocumented, f"{name}: no doc for {undocumented}"


@pytest.mark.parametrize("name", NAMES)
def test_personal_fields_are_tagged(name: str) -> None:
    tagged = {f["name"] for f in avro_records()[name]["fields"] if f.get("pii") is True}
    assert tagged == PERSONAL.get(name, set())


def test_the_list_of_personal_fields_names_no_record_that_is_gone() -> None:
    assert set(PERSONAL) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_python_type_has_the_fields_of_its_file_in_their_order(name: str) -> None:
    assert [f["name"] for f in avro_records()[name]["fields"]] == [f.name for f in fields(getattr(record_types, name))]


@pytest.mark.parametrize("name", NAMES)
def test_a_python_type_has_the_types_of_its_file(name: str) -> None:
    hints = typing.get_type_hints(getattr(record_types, name), vars(record_types))
    for field in avro_records()[name]["fields"]:
        assert hints[field["name"]] == python_type(field["type"]), f"{name}.{field['name']}"


@pytest.mark.parametrize("name", NAMES)
def test_what_may_be_left_out_is_null_in_both(name: str) -> None:
    python = {f.name: f for f in fields(getattr(record_types, name))}
    for field in avro_records()[name]["fields"]:
        if "default" in field:
            assert field["default"] is None
            assert field["type"][0] == "null", "Avro: a default is of the union's first branch"
            assert python[field["name"]].default in (None, MISSING)


def python_type(avro: Any) -> Any:
    """The annotation that an Avro type asks for."""
    if isinstance(avro, list):
        null, other = avro
        assert null == "null"
        return python_type(other) | None
    if isinstance(avro, str):
        return {"string": str, "int": int, "long": int, "double": float, "boolean": bool, "bytes": bytes}[avro]
    match avro["type"]:
        case "record":
            return getattr(record_types, avro["name"])
        case "array":
            return types.GenericAlias(tuple, (python_type(avro["items"]), ...))
        case "map":
            return types.GenericAlias(dict, (str, python_type(avro["values"])))
        case "long":
            assert avro["logicalType"] == "timestamp-micros"
            return datetime
    raise AssertionError(f"a type that the contract does not use yet: {avro}")


def test_every_file_is_of_a_record_type_and_every_type_has_its_file() -> None:
    on_disk = {p.name for p in files("schemas").joinpath("avro").iterdir() if p.name.endswith(".avsc")}
    named = {json.loads(p.read_text(encoding="utf-8"))["name"] for p in files("schemas").joinpath("avro").iterdir()}
    assert named == {kind.__name__ for kind in RECORDS}
    assert len(on_disk) == len(RECORDS)
    for kind in RECORDS:
        assert json.loads(codec.schema_text(kind.__name__))["namespace"] == "emberlog.v1"
