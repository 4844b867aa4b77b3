"""A record of any schema with every field filled, always the same one: what golden records are made of."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta
from typing import Any

import fastavro

from schemas.fields import named_in, short
from schemas.wire import single_object_prefix

TIME = datetime(2024, 5, 1, 12, 0, 0, 1, tzinfo=UTC)
DAY = date(2024, 5, 1)
MORE_THAN_32_BITS = 2**33


class _Sampler:
    """Counts, so that no two values of one record are the same."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._named = named_in(schema)
        self._count = 0

    def value(self, avro: Any, where: str) -> Any:
        """A value of an Avro type; of a union the branch that is not null."""
        if isinstance(avro, list):
            return self.value(next(branch for branch in avro if branch != "null"), where)
        if isinstance(avro, str) and short(avro) in self._named:
            avro = self._named[short(avro)]
        if isinstance(avro, str):
            return self._primitive(avro, where)
        match avro["type"]:
            case "record":
                name = short(avro["name"])
                return {f["name"]: self.value(f["type"], f"{name}.{f['name']}") for f in avro["fields"]}
            case "enum":
                return avro["symbols"][-1]
            case "array":
                return [self.value(avro["items"], where) for _ in range(2)]
            case "map":
                return {f"key {n}": self.value(avro["values"], where) for n in (1, 2)}
            case kind:
                return self._primitive(avro.get("logicalType", kind), where)

    def _primitive(self, kind: str, where: str) -> Any:
        self._count += 1
        n = self._count
        match kind:
            case "string":
                return f"{where} {n} ñ"
            case "bytes":
                return f"{where} {n} ".encode() + b"\xf1"
            case "int":
                return n
            case "long":
                return MORE_THAN_32_BITS + n
            case "double":
                return n + 0.5
            case "boolean":
                return True
            case "timestamp-micros":
                return TIME + timedelta(seconds=n)
            case "date":
                return DAY + timedelta(days=n)
        raise TypeError(f"{where}: a type that the contract does not use yet: {kind}")


def sample(schema: dict[str, Any]) -> dict[str, Any]:
    """Values for every field of ``schema``, as fastavro takes them. Raises TypeError for a type outside the contract's."""
    values = _Sampler(schema).value(schema, short(schema["name"]))
    assert isinstance(values, dict)
    return values


def sample_bytes(schema: dict[str, Any], fingerprint: str) -> bytes:
    """The sample in single-object encoding."""
    out = io.BytesIO()
    out.write(single_object_prefix(fingerprint))
    fastavro.schemaless_writer(out, schema, sample(schema), strict=True, disable_tuple_notation=True)
    return out.getvalue()


def jsonable(value: Any) -> Any:
    """Values as JSON types: times in ISO form, bytes as Latin-1 text (a character per byte, as Avro's JSON encoding has it)."""
    if isinstance(value, dict):
        return {key: jsonable(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(v) for v in value]
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value.isoformat() if isinstance(value, date) else value
