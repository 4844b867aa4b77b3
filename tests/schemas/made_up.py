"""A contract of its own for tests: types that are not Emberlog's, versions that never were, in a temporary folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from msgspec import field

from schemas.contract import Contract
from schemas.released import Released
from schemas.upcasters import Upcasters
from schemas.value import Value
from schemas.versions import SchemaFiles, file_stem

NAMESPACE = "made.up"
TIME: dict[str, Any] = {"type": "long", "logicalType": "timestamp-micros"}
MOOD: dict[str, Any] = {"type": "enum", "name": "Mood", "symbols": ["calm", "cross"]}
SEALED: dict[str, Any] = {
    "type": "record",
    "name": "Sealed",
    "doc": "A sealed value.",
    "fields": [{"name": "data", "type": "bytes", "doc": "It."}],
}
PLACE: dict[str, Any] = {
    "type": "record",
    "name": "Place",
    "doc": "A place.",
    "fields": [
        {"name": "city", "type": "string", "doc": "City."},
        {"name": "street", "type": ["null", "string"], "doc": "Street."},
    ],
}


class Sealed(Value, frozen=True):
    data: bytes


class Place(Value, frozen=True):
    city: str
    street: str | None


class Note(Value, frozen=True):
    """The type of ``BASE``."""

    author: Sealed
    text: str
    size: int
    at: datetime
    mood: Literal["calm", "cross"]
    places: tuple[Place, ...]
    counts: dict[str, int] = field(default_factory=dict)
    length: float = 0.5


BASE: tuple[dict[str, Any], ...] = (
    {"name": "author", "type": SEALED, "doc": "Who wrote it.", "pii": True},
    {"name": "text", "type": "string", "doc": "What it says."},
    {"name": "size", "type": "int", "doc": "How large it is."},
    {"name": "at", "type": TIME, "doc": "When it was written."},
    {"name": "mood", "type": MOOD, "doc": "How it was written."},
    {"name": "places", "type": {"type": "array", "items": PLACE}, "doc": "Where."},
    {"name": "counts", "type": {"type": "map", "values": "int"}, "doc": "Of what how many.", "default": {}},
    {"name": "length", "type": "double", "doc": "How long it is.", "default": 0.5},
)


NEW: dict[str, Any] = {"name": "title", "type": "string", "doc": "Title."}
NULLABLE: dict[str, Any] = {"name": "title", "type": ["null", "string"], "doc": "Title.", "default": None}


def schema(fields: Sequence[dict[str, Any]], name: str = "Note") -> dict[str, Any]:
    """A record of these fields."""
    return {"type": "record", "name": name, "namespace": NAMESPACE, "doc": "A note.", "fields": list(fields)}


def put(folder: Path, version: int, fields: Sequence[dict[str, Any]], name: str = "Note") -> None:
    """Write an Avro file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{file_stem(name)}.v{version}.avsc").write_text(json.dumps(schema(fields, name)), encoding="utf-8")


def changed(where: str, **attributes: Any) -> tuple[dict[str, Any], ...]:
    """``BASE`` with other attributes of one field; an attribute that is None is left out."""
    assert any(f["name"] == where for f in BASE)
    return tuple({k: v for k, v in {**f, **attributes}.items() if v is not None} if f["name"] == where else f for f in BASE)


def without(where: str) -> tuple[dict[str, Any], ...]:
    """``BASE`` less one field."""
    return tuple(f for f in BASE if f["name"] != where)


def place(**fields: Any) -> dict[str, Any]:
    """``places`` with other types of its record's fields, or fewer of them."""
    inside: list[dict[str, Any]] = PLACE["fields"]
    kept = [{**f, **fields.get(f["name"], {})} for f in inside if fields.get(f["name"], {}) is not None]
    return {"type": {"type": "array", "items": {**PLACE, "fields": kept}}}


def contract(folder: Path, *kinds: type[Any], upcasters: Upcasters | None = None) -> Contract:
    """The contract of the files that lie in ``folder`` now."""
    return Contract(SchemaFiles(folder), upcasters or Upcasters(), kinds)


def release(made: Contract, path: Path, *versions: tuple[str, int]) -> Released:
    """A list of released versions at ``path``: those named, or all there are."""
    released = Released(path)
    for name, version in versions or tuple(made.files.all_versions()):
        released.add(made.files, name, version)
    released.save()
    return Released(path)
