"""What an Avro schema says in other words: the same record as JSON Schema, and its personal fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
Named = dict[str, Json]

_PLAIN = {"string": "string", "boolean": "boolean", "int": "integer", "long": "integer", "float": "number", "double": "number"}
_NAMED = ("record", "enum", "fixed")


def json_form(avro: Json) -> Json:
    """JSON Schema of the record ``avro`` written as JSON text: times as ISO 8601 with offset, optional fields left out or null.

    Raises ValueError for a type that JSON text does not hold (bytes, fixed).
    """
    return _form(avro, {})


def _form(avro: Any, named: Named) -> Json:
    if isinstance(avro, list):
        branches = [_form(branch, named) for branch in avro if branch != "null"]
        form = branches[0] if len(branches) == 1 else {"anyOf": branches}
        return _nullable(form) if "null" in avro else form
    if isinstance(avro, str):
        return _form(named[avro], named) if avro in named else _plain(avro)
    if avro["type"] in _NAMED:
        named[avro["name"]] = avro
    match avro["type"]:
        case "record":
            return _object(avro, named)
        case "array":
            return {"type": "array", "items": _form(avro["items"], named)}
        case "map":
            return {"type": "object", "additionalProperties": _form(avro["values"], named)}
        case "enum":
            return {"type": "string", "enum": list(avro["symbols"])}
        case "long" if avro.get("logicalType", "").startswith("timestamp"):
            return {"type": "string", "format": "date-time"}
        case "int" if avro.get("logicalType") == "date":
            return {"type": "string", "format": "date"}
        case primitive:
            return _plain(primitive)


def _plain(name: str) -> Json:
    if name not in _PLAIN:
        raise ValueError(f"{name} has no JSON form")
    return {"type": _PLAIN[name]}


def _nullable(form: Json) -> Json:
    if "type" not in form or "enum" in form:
        return {"anyOf": [form, {"type": "null"}]}
    return form | {"type": [form["type"], "null"]}


def _object(avro: Json, named: Named) -> Json:
    fields = avro["fields"]
    form: Json = {
        "type": "object",
        "required": [field["name"] for field in fields if "default" not in field],
        "properties": {},
    }
    for field in fields:
        described = _form(field["type"], named) | {"description": field["doc"]}
        form["properties"][field["name"]] = described | ({"x-pii": True} if field.get("pii") else {})
    return form


def personal_fields(avro: Json) -> list[str]:
    """Paths of the fields about a person, ``messages[].content``; those of map values end in ``{}``."""
    return list(_personal(avro, "", {}))


def _personal(avro: Any, path: str, named: Named) -> Iterator[str]:
    if isinstance(avro, list):
        for branch in avro:
            yield from _personal(branch, path, named)
    elif isinstance(avro, str):
        if avro in named:
            yield from _personal(named[avro], path, named)
    elif avro["type"] == "record":
        named[avro["name"]] = avro
        for field in avro["fields"]:
            here = f"{path}.{field['name']}".lstrip(".")
            if field.get("pii"):
                yield here
            # what is inside a personal field is personal; the sealed value's record is still read for its name
            inner = list(_personal(field["type"], here, named))
            yield from [] if field.get("pii") else inner
    elif avro["type"] == "array":
        yield from _personal(avro["items"], f"{path}[]", named)
    elif avro["type"] == "map":
        yield from _personal(avro["values"], f"{path}{{}}", named)
