"""A reader of single-object encoding written from the Avro 1.11 specification, sharing no code with ``schemas.codec``.

It has its own canonical form, its own CRC-64-AVRO and its own decoder of bodies.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

EMPTY = 0xC15D213AA4D7A795
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@cache
def _table() -> tuple[int, ...]:
    def entry(i: int) -> int:
        for _ in range(8):
            i = (i >> 1) ^ (EMPTY & -(i & 1))
        return i

    return tuple(entry(i) for i in range(256))


def crc_64_avro(data: bytes) -> int:
    """The Rabin fingerprint of the specification ("Schema Fingerprints")."""
    crc = EMPTY
    for byte in data:
        crc = (crc >> 8) ^ _table()[(crc ^ byte) & 0xFF]
    return crc


PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")


def canonical(schema: Any, namespace: str = "") -> Any:
    """Parsing canonical form as a value: full names, only the attributes that decide how bytes are read, in their order."""
    if isinstance(schema, str):
        return schema if schema in PRIMITIVES or "." in schema else f"{namespace}.{schema}"
    if isinstance(schema, list):
        return [canonical(branch, namespace) for branch in schema]
    kind = schema["type"]
    namespace = schema.get("namespace", namespace)
    if kind == "record":
        return {
            "name": f"{namespace}.{schema['name']}",
            "type": "record",
            "fields": [{"name": f["name"], "type": canonical(f["type"], namespace)} for f in schema["fields"]],
        }
    if kind == "enum":
        return {"name": f"{namespace}.{schema['name']}", "type": "enum", "symbols": schema["symbols"]}
    if kind == "array":
        return {"type": "array", "items": canonical(schema["items"], namespace)}
    if kind == "map":
        return {"type": "map", "values": canonical(schema["values"], namespace)}
    return canonical(kind, namespace)  # a primitive with attributes, as of a logical type, is the primitive


def fingerprint(schema: Any) -> bytes:
    """The eight bytes that stand behind the marker: the CRC, little endian."""
    text = json.dumps(canonical(schema), separators=(",", ":"), ensure_ascii=False)
    return crc_64_avro(text.encode()).to_bytes(8, "little")


def definitions(schema: Any) -> dict[str, Any]:
    """Records and enums defined anywhere in ``schema``, by name: later they are only referred to."""
    if isinstance(schema, list):
        return {name: found for branch in schema for name, found in definitions(branch).items()}
    if not isinstance(schema, dict):
        return {}
    inner = [f["type"] for f in schema.get("fields", ())] + [schema[k] for k in ("items", "values") if k in schema]
    return ({schema["name"]: schema} if "name" in schema else {}) | definitions(inner)


class _Body:
    def __init__(self, data: bytes, schema: Any) -> None:
        self.data, self.at = data, 0
        self.named = definitions(schema)

    def take(self, count: int) -> bytes:
        assert 0 <= count <= len(self.data) - self.at
        self.at += count
        return self.data[self.at - count : self.at]

    def long(self) -> int:
        raw = shift = 0
        while True:
            byte = self.take(1)[0]
            raw |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return (raw >> 1) ^ -(raw & 1)

    def blocks(self) -> Iterator[None]:
        while count := self.long():
            if count < 0:
                count = -count
                self.long()
            for _ in range(count):
                yield None

    def value(self, schema: Any) -> Any:
        if isinstance(schema, list):
            return self.value(schema[self.long()])
        if isinstance(schema, str):
            return self.value(self.named[schema]) if schema in self.named else self.primitive(schema)
        match schema["type"]:
            case "record":
                return {f["name"]: self.value(f["type"]) for f in schema["fields"]}
            case "enum":
                return schema["symbols"][self.long()]
            case "array":
                return [self.value(schema["items"]) for _ in self.blocks()]
            case "map":
                return {self.primitive("string"): self.value(schema["values"]) for _ in self.blocks()}
            case primitive:
                plain = self.primitive(primitive)
                match schema.get("logicalType"):
                    case "timestamp-micros":
                        return EPOCH + timedelta(microseconds=plain)
                    case "date":
                        return EPOCH.date() + timedelta(days=plain)
                return plain

    def primitive(self, name: str) -> Any:
        match name:
            case "null":
                return None
            case "boolean":
                return self.take(1) == b"\x01"
            case "int" | "long":
                return self.long()
            case "double":
                return struct.unpack("<d", self.take(8))[0]
            case "bytes":
                return self.take(self.long())
            case "string":
                return self.take(self.long()).decode()
        raise AssertionError(f"no such primitive: {name}")


def read(data: bytes, schema: Any) -> dict[str, Any]:
    """The record in ``data`` as plain values; asserts the marker, the fingerprint and that nothing is left over."""
    assert data[:2] == b"\xc3\x01"
    assert data[2:10] == fingerprint(schema)
    body = _Body(data[10:], schema)
    record: dict[str, Any] = body.value(schema)
    assert body.at == len(body.data)
    return record
