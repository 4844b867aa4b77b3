"""Avro schemas field by field, with types in words: for people, and to compare versions.

A field is named by its record and itself (``Fact.text``). A record means the same wherever it stands in one file, so this names
a field once however deep it is nested.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

NO_DEFAULT = object()


@dataclass(frozen=True, slots=True)
class Field:
    """One field of one record. ``avro`` is its type as it stands in the file, ``symbols`` those of an enum in it."""

    record: str
    name: str
    avro: Any
    type: str
    doc: str
    pii: bool
    default: Any
    aliases: tuple[str, ...]
    symbols: tuple[str, ...]

    @property
    def where(self) -> str:
        """``Record.field``."""
        return f"{self.record}.{self.name}"

    @property
    def default_text(self) -> str:
        """The default as JSON, empty where there is none."""
        return "" if self.default is NO_DEFAULT else json.dumps(self.default, ensure_ascii=False)


def short(name: str) -> str:
    """A name without its namespace."""
    return name.rsplit(".", 1)[-1]


def parts_of(schema: Any) -> Iterator[dict[str, Any]]:
    """Every record, enum, array, map and logical type inside ``schema``, itself first, in the order of the file."""
    if isinstance(schema, list):
        for branch in schema:
            yield from parts_of(branch)
    elif isinstance(schema, dict):
        yield schema
        for field in schema.get("fields", ()):
            yield from parts_of(field["type"])
        for inner in ("items", "values"):
            if inner in schema:
                yield from parts_of(schema[inner])


def named_in(schema: Any) -> dict[str, dict[str, Any]]:
    """Records and enums inside ``schema`` by their short names."""
    return {short(part["name"]): part for part in parts_of(schema) if part["type"] in ("record", "enum", "fixed")}


def type_text(avro: Any) -> str:
    """A type in words: ``string or null``, ``array of Fact``, ``timestamp-micros``."""
    if isinstance(avro, str):
        return short(avro)
    if isinstance(avro, list):
        return " or ".join([*(type_text(b) for b in avro if b != "null"), *(["null"] if "null" in avro else [])])
    match avro["type"]:
        case "record" | "enum" | "fixed":
            return short(avro["name"])
        case "array":
            return f"array of {type_text(avro['items'])}"
        case "map":
            return f"map of {type_text(avro['values'])}"
        case inner:
            return str(avro.get("logicalType") or type_text(inner))


def leaf_of(avro: Any) -> Any:
    """What a field holds in the end: optional, arrays and maps taken off. A union of several types stays one."""
    if isinstance(avro, list):
        others = [branch for branch in avro if branch != "null"]
        return leaf_of(others[0]) if len(others) == 1 else avro
    if isinstance(avro, dict) and avro["type"] in ("array", "map"):
        return leaf_of(avro.get("items", avro.get("values")))
    return avro


def fields_of(schema: dict[str, Any]) -> list[Field]:
    """All fields of a schema and of the records inside it, record by record, in the order of the file."""
    named = named_in(schema)
    found = []
    for record in named.values():
        for field in record.get("fields", ()):
            leaf = leaf_of(field["type"])
            enum = named.get(short(leaf)) if isinstance(leaf, str) else leaf
            found.append(
                Field(
                    record=short(record["name"]),
                    name=field["name"],
                    avro=field["type"],
                    type=type_text(field["type"]),
                    doc=str(field.get("doc", "")).strip(),
                    pii=field.get("pii") is True,
                    default=field.get("default", NO_DEFAULT),
                    aliases=tuple(field.get("aliases", ())),
                    symbols=tuple(enum.get("symbols", ())) if isinstance(enum, dict) else (),
                )
            )
    return found


def bare(schema: Any) -> Any:
    """A schema without its docs: what decides how records are read, and what is personal."""
    if isinstance(schema, list):
        return [bare(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key != "doc"}
    if "fields" in kept:
        kept["fields"] = [
            {key: bare(value) if key == "type" else value for key, value in field.items() if key != "doc"}
            for field in kept["fields"]
        ]
    for inner in ("type", "items", "values"):
        if inner in kept:
            kept[inner] = bare(kept[inner])
    return kept
