"""What differs between two schemas of one type, field by field."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from schemas.fields import NO_DEFAULT, Field, fields_of, short, type_text


class What(StrEnum):
    """In what respect two schemas differ."""

    NAME = "name"
    ADDED = "added"
    REMOVED = "removed"
    RENAMED = "renamed"
    TYPE = "type"
    SYMBOLS = "symbols"
    DEFAULT = "default"
    PERSONAL = "pii"
    ORDER = "order"
    DOC = "doc"


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. ``where`` is the field (``Fact.text``) or the record; ``old`` or ``new`` is None where there is none."""

    where: str
    what: What
    text: str
    old: Field | None = None
    new: Field | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[Difference]:
    """From the schema ``old`` to the schema ``new``, in the order of the new one; removed fields last."""
    found = []
    full_names = [f"{s.get('namespace', '')}.{s['name']}".lstrip(".") for s in (old, new)]
    if full_names[0] != full_names[1]:
        found.append(Difference(short(full_names[0]), What.NAME, f"the type is called {full_names[1]} now"))
    # the outermost records correspond whatever they are called
    before, after = _by_record(old), _by_record(new)
    if short(full_names[0]) != short(full_names[1]):
        before[short(full_names[1])] = before.pop(short(full_names[0]))
    for record, fields in after.items():
        # a record that is new as a whole is part of the field that brings it
        if record in before:
            found += _in_record(record, before[record], fields)
    return found


def _by_record(schema: dict[str, Any]) -> dict[str, dict[str, Field]]:
    found: dict[str, dict[str, Field]] = {}
    for field in fields_of(schema):
        found.setdefault(field.record, {})[field.name] = field
    return found


def _in_record(record: str, before: dict[str, Field], after: dict[str, Field]) -> list[Difference]:
    found = []
    left = dict(before)
    for name, field in after.items():
        former = next((before[n] for n in (name, *field.aliases) if n in before), None)
        if former is None:
            text = f"new, {field.type}, " + (f"default {field.default_text}" if field.default_text else "no default")
            found.append(Difference(field.where, What.ADDED, text, None, field))
            continue
        left.pop(former.name, None)
        found += _in_field(former, field)
    found += [Difference(f.where, What.REMOVED, f"removed, was {f.type}", f, None) for f in left.values()]
    kept = [name for name in after if name in before]
    if kept != [name for name in before if name in after]:
        found.append(Difference(record, What.ORDER, "its fields stand in another order"))
    return found


def _in_field(old: Field, new: Field) -> list[Difference]:
    where = new.where
    found = []
    if old.name != new.name:
        found.append(Difference(where, What.RENAMED, f"was called {old.name}", old, new))
    if _shape(old.avro) != _shape(new.avro):
        found.append(Difference(where, What.TYPE, f"{old.type} became {new.type}", old, new))
    elif old.symbols != new.symbols:
        gone = [s for s in old.symbols if s not in new.symbols]
        more = [s for s in new.symbols if s not in old.symbols]
        texts = [f"without symbol {', '.join(gone)}"] * bool(gone) + [f"with symbol {', '.join(more)}"] * bool(more)
        text = " and ".join(texts) or "its symbols stand in another order"
        found.append(Difference(where, What.SYMBOLS, text, old, new))
    if _default(old) != _default(new):
        found.append(
            Difference(where, What.DEFAULT, f"default {old.default_text or 'none'} became {new.default_text or 'none'}", old, new)
        )
    if old.pii != new.pii:
        found.append(Difference(where, What.PERSONAL, "personal now" if new.pii else "no longer personal", old, new))
    if old.doc != new.doc:
        found.append(Difference(where, What.DOC, "other words in its doc", old, new))
    return found


def _default(field: Field) -> tuple[bool, str]:
    return field.default is NO_DEFAULT, field.default_text


def _shape(avro: Any) -> Any:
    """A type without names' definitions: what changes inside a record is told there."""
    if isinstance(avro, list):
        return [_shape(branch) for branch in avro]
    if isinstance(avro, str):
        return short(avro)
    match avro["type"]:
        case "record" | "enum" | "fixed":
            return type_text(avro)
        case "array" | "map":
            return {avro["type"]: _shape(avro.get("items", avro.get("values")))}
        case inner:
            return {"type": _shape(inner), "logicalType": avro["logicalType"]} if "logicalType" in avro else _shape(inner)
