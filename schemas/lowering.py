"""Records as the plain values that fastavro writes, each value checked on its way.

fastavro's writer takes what it is given: it cuts a fraction off an integer, writes more than 32 bits into an ``int`` and takes
a time without a zone for local time. Its validator finds only some of that and costs more than writing. So each record type
gets one function, made from its annotations and its schema, that checks and converts in one pass.

Annotations: ``str``, ``int``, ``float``, ``bool``, ``bytes``, ``datetime`` (with a zone), ``date``, a ``Value``, ``Literal`` or
``StrEnum`` for an Avro enum, and of these ``X | None``, ``tuple[X, ...]`` and ``dict[str, X]``.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from datetime import date, datetime
from enum import StrEnum
from numbers import Integral, Real
from typing import Any

from msgspec.structs import fields

from schemas.value import is_value_type

Lower = Callable[[Any], dict[str, Any]]

# Avro's "int" has 32 bits, its "long" 64; Python's has no end
RANGES = {"int": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}


class Misfit(ValueError):
    """A value that its field cannot hold. The text names the field and its Avro type, never the value."""


def misfit(where: str) -> Misfit:
    """The error for ``where``: a field and its type."""
    return Misfit(where)


def as_text(value: Any, where: str) -> str:
    """Text of a class derived from ``str``."""
    if not isinstance(value, str):
        raise Misfit(where)
    return str.__str__(value)


def as_whole(value: Any, where: str, low: int, high: int) -> int:
    """A whole number of any numeric class, within ``low`` and ``high``."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= (whole := int(value)) <= high:
        raise Misfit(where)
    return whole


def as_double(value: Any, where: str) -> float:
    """A number of any class that a double holds exactly."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise Misfit(where)
    made = float(value)
    if made != value and value == value:  # NaN alone differs from itself
        raise Misfit(where)
    return made


def as_bytes(value: Any, where: str) -> bytes:
    """Bytes of any bytes-like class."""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise Misfit(where)
    return bytes(value)


def as_time(value: Any, where: str) -> datetime:
    """A time with a zone."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise Misfit(where)
    return value


def optional_inside(hint: Any) -> Any | None:
    """``X`` of ``X | None``; None for any other annotation. Raises TypeError for a union of several types."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return None
    inner = [a for a in typing.get_args(hint) if a is not types.NoneType]
    if len(inner) != 1 or len(typing.get_args(hint)) != 2:
        raise TypeError(f"{hint} is no union of null and one type")
    return inner[0]


def named_types(schema: Any) -> dict[str, dict[str, Any]]:
    """Records and enums in a parsed ``schema`` by full name, itself included."""
    found: dict[str, dict[str, Any]] = {}

    def walk(part: Any) -> None:
        if isinstance(part, list):
            for branch in part:
                walk(branch)
        elif isinstance(part, dict):
            if part["type"] in ("record", "enum"):
                found[part["name"]] = part
            for field in part.get("fields", ()):
                walk(field["type"])
            walk(part.get("items", part.get("values")))

    walk(schema)
    return found


def compile_lowering(kind: type[Any], schema: dict[str, Any]) -> Lower:
    """The function that lowers records of ``kind`` to the dicts that fastavro writes under the parsed ``schema``.

    The function raises Misfit. Raises TypeError where annotations and schema disagree.
    """
    made = _Compiler(named_types(schema))
    name = made.record(kind, schema)
    source = "\n\n".join(made.functions)
    exec(compile(source, f"<lowering of {kind.__name__}>", "exec"), made.globals)  # noqa: S102 - made of our own field names
    return typing.cast(Lower, made.globals[name])


_GLOBALS: dict[str, Any] = {
    "misfit": misfit,
    "as_text": as_text,
    "as_whole": as_whole,
    "as_double": as_double,
    "as_bytes": as_bytes,
    "as_time": as_time,
    "date": date,
    "datetime": datetime,
    "Mapping": Mapping,
    # a union's branch is named, else fastavro tries the branches one by one
    "NULL": ("null", None),
}

_PRIMITIVES: dict[tuple[Any, Any], str] = {
    (str, "string"): "if {v}.__class__ is not str: {v} = as_text({v}, {w})",
    (float, "double"): "if {v}.__class__ is not float: {v} = as_double({v}, {w})",
    (bool, "boolean"): "if {v} is not True and {v} is not False: raise misfit({w})",
    (bytes, "bytes"): "if {v}.__class__ is not bytes: {v} = as_bytes({v}, {w})",
    (datetime, "timestamp-micros"): "if {v}.__class__ is not datetime or {v}.tzinfo is None: {v} = as_time({v}, {w})",
    # a datetime is a date too, but its time would be cut off
    (date, "date"): "if {v}.__class__ is not date: raise misfit({w})",
}
_WHOLE = "if {v}.__class__ is not int or not {low} <= {v} <= {high}: {v} = as_whole({v}, {w}, {low}, {high})"


class _Compiler:
    """Writes one function per record type, and lines that check and convert one value in place."""

    def __init__(self, named: dict[str, dict[str, Any]]) -> None:
        self.named = named
        self.globals: dict[str, Any] = dict(_GLOBALS)
        self.functions: list[str] = []
        self._count = 0

    def _new(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def _constant(self, prefix: str, value: Any) -> str:
        name = self._new(prefix)
        self.globals[name] = value
        return name

    def record(self, kind: type[Any], schema: dict[str, Any]) -> str:
        """The name of the function that lowers ``kind``."""
        name = f"lower_{kind.__name__}"
        if name in self.globals:
            return name
        if schema["type"] != "record" or schema["name"].rsplit(".", 1)[-1] != kind.__name__:
            raise TypeError(f"{kind.__name__} is not of the type that its schema says")
        hints = typing.get_type_hints(kind)
        avro = {f["name"]: f["type"] for f in schema["fields"]}
        if list(avro) != [f.name for f in fields(kind)]:
            raise TypeError(f"{kind.__name__} has other fields than its schema, or in another order")
        self.globals[name] = None  # taken
        self.globals[kind.__name__] = kind
        lines = [f"def {name}(record):", f"    if record.__class__ is not {kind.__name__}: raise misfit({kind.__name__!r})"]
        parts = []
        for field, kind_of in avro.items():
            v = self._new("v")
            lines.append(f"    {v} = record.{field}")
            lines += ["    " + line for line in self.value(hints[field], kind_of, v, f"{kind.__name__}.{field}")]
            parts.append(f"{field!r}: {v}")
        lines.append(f"    return {{{', '.join(parts)}}}")
        self.functions.append("\n".join(lines))
        return name

    def value(self, hint: Any, avro: Any, v: str, where: str) -> list[str]:
        """Lines that check the variable ``v`` and put its lowered value in its place."""
        inner = optional_inside(hint)
        if inner is not None:
            if not isinstance(avro, list) or len(avro) != 2 or avro[0] != "null":
                raise TypeError(f"{where} may be None, its schema is no union of null and one type")
            lines = self.value(inner, avro[1], v, where)
            body = [*lines, f"{v} = ({self._branch(avro[1])!r}, {v})"]
            return [f"if {v} is None: {v} = NULL", "else:", *("    " + line for line in body)]
        if isinstance(avro, str) and avro in self.named:
            avro = self.named[avro]
        if typing.get_origin(hint) is tuple:
            return self._sequence(hint, avro, v, where)
        if typing.get_origin(hint) is dict:
            return self._mapping(hint, avro, v, where)
        if is_value_type(hint):
            return [f"{v} = {self.record(hint, _of_type(avro, 'record', where))}({v})"]
        if typing.get_origin(hint) is typing.Literal or (isinstance(hint, type) and issubclass(hint, StrEnum)):
            return self._symbol(hint, _of_type(avro, "enum", where), v, where)
        return [self._primitive(hint, avro, v, where)]

    def _branch(self, avro: Any) -> str:
        """The name by which fastavro finds a union's branch."""
        if isinstance(avro, str):
            return avro
        return str(avro["name"] if avro["type"] in ("record", "enum") else avro["type"])

    def _primitive(self, hint: Any, avro: Any, v: str, where: str) -> str:
        name = str(avro.get("logicalType", avro["type"]) if isinstance(avro, dict) else avro)
        says = self._says(where, name)
        if hint is int and name in RANGES:
            low, high = RANGES[name]
            return _WHOLE.format(v=v, w=says, low=low, high=high)
        if (hint, name) not in _PRIMITIVES:
            raise TypeError(f"{where} is {hint} in Python and {name} in its schema")
        return _PRIMITIVES[hint, name].format(v=v, w=says)

    def _says(self, where: str, avro_name: str) -> str:
        return repr(f"{where} is no {avro_name}")

    def _symbol(self, hint: Any, avro: dict[str, Any], v: str, where: str) -> list[str]:
        says = self._says(where, f"symbol of {avro['name'].rsplit('.', 1)[-1]}")
        is_enum = isinstance(hint, type)
        symbols = [str(member) for member in (hint if is_enum else typing.get_args(hint))]
        if symbols != avro["symbols"]:
            raise TypeError(f"{where} has other symbols than its schema, or in another order")
        if is_enum:
            return [f"if {v}.__class__ is not {self._constant('e', hint)}: raise misfit({says})", f"{v} = {v}.value"]
        known = self._constant("s", frozenset(symbols))
        return [f"if {v}.__class__ is not str or {v} not in {known}: raise misfit({says})"]

    def _sequence(self, hint: Any, avro: Any, v: str, where: str) -> list[str]:
        item, *rest = typing.get_args(hint)
        if rest != [Ellipsis]:
            raise TypeError(f"{where} is no tuple[X, ...]")
        x, made = self._new("x"), self._new("l")
        lines = self.value(item, _of_type(avro, "array", where)["items"], x, f"{where}[]")
        return [
            f"if {v}.__class__ is not tuple and {v}.__class__ is not list: raise misfit({self._says(where, 'array')})",
            f"{made} = []",
            f"for {x} in {v}:",
            *("    " + line for line in lines),
            f"    {made}.append({x})",
            f"{v} = {made}",
        ]

    def _mapping(self, hint: Any, avro: Any, v: str, where: str) -> list[str]:
        key, item = typing.get_args(hint)
        if key is not str:
            raise TypeError(f"{where} is no dict[str, X]")
        k, x, made = self._new("k"), self._new("x"), self._new("m")
        lines = self.value(item, _of_type(avro, "map", where)["values"], x, f"{where}{{}}")
        says = self._says(where, "map")
        return [
            f"if {v}.__class__ is not dict and not isinstance({v}, Mapping): raise misfit({says})",
            f"{made} = {{}}",
            f"for {k}, {x} in {v}.items():",
            f"    if {k}.__class__ is not str: {k} = as_text({k}, {says})",
            *("    " + line for line in lines),
            f"    {made}[{k}] = {x}",
            f"{v} = {made}",
        ]


def _of_type(avro: Any, name: str, where: str) -> dict[str, Any]:
    if not isinstance(avro, dict) or avro["type"] != name:
        raise TypeError(f"{where} is no {name} in its schema")
    return avro
