"""Whether today's contract still reads everything that was ever released, and keeps its own rules.

Avro's own checker (the ``avro`` package) is the judge of what a reader can read; what it lets pass and what would still change
or lose what old records say is refused here as well:

- a field that a released version has is gone: Avro drops its value silently;
- a default, a logical type or the meaning of a name changed: Avro reads on, and reads something else;
- a symbol of an enum is gone, even where Avro would put the enum's default in its place;
- a field is no longer tagged as personal.

Where an upcaster leads from one version to the next, the two are not compared: the upcaster answers for it, and the stored
records in ``golden`` for the upcaster. All findings are returned; nothing raises for a fault of the contract.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import avro.compatibility
import avro.schema

from schemas.contract import CONTRACT, Contract
from schemas.differences import Difference, What, differences
from schemas.errors import UnknownSchema
from schemas.fields import NO_DEFAULT, Field, bare, leaf_of, named_in, short
from schemas.released import Released
from schemas.rules import Finding, own_rules, unreadable
from schemas.upcasters import route
from schemas.versions import SchemaFiles, file_stem, fingerprint_of


def check(contract: Contract = CONTRACT, released: Released | None = None) -> list[Finding]:
    """Everything that is wrong with the contract; empty where it may be released."""
    released = Released() if released is None else released
    if faults := list(unreadable(contract.files)):
        return faults  # nothing more can be said before these are mended
    return [
        *_released_files(contract.files, released),
        *_versions(contract.files),
        *_reads_all(contract, released),
        *own_rules(contract),
    ]


# -- what is released stays


def _released_files(files: SchemaFiles, released: Released) -> Iterator[Finding]:
    for name, version, entry in released:
        label = f"v{version}"
        if entry.fingerprint != fingerprint_of(entry.schema):
            yield Finding(name, label, "its line in released.json was changed by hand: put it back")
            continue
        try:
            now = bare(files.raw(name, version))
        except UnknownSchema:
            yield Finding(name, label, f"was released, and {file_stem(name)}.v{version}.avsc is gone: put it back")
            continue
        if now == entry.schema:
            continue
        found = differences(entry.schema, now)
        for difference in found:
            if difference.what is not What.DOC:
                yield Finding(
                    name, label, f"{difference}; it is released and never changes: put it back, make a version {version + 1}"
                )
        if not found:
            yield Finding(name, label, "its file was changed after it was released: put it back")


def _versions(files: SchemaFiles) -> Iterator[Finding]:
    for name in files.names:
        versions = files.versions(name)
        for missing in sorted(set(range(1, versions[-1])) - set(versions)):
            yield Finding(name, f"v{missing}", f"{file_stem(name)}.v{missing}.avsc is missing: versions count 1, 2, 3")
        by_fingerprint: dict[str, int] = {}
        for version in versions:
            first = by_fingerprint.setdefault(files.fingerprint(name, version), version)
            if first != version:
                yield Finding(name, f"v{version}", f"is written exactly as v{first}: no record can say which of the two wrote it")


# -- today's reader reads yesterday's records


def _reads_all(contract: Contract, released: Released) -> Iterator[Finding]:
    files = contract.files
    for name in files.names:
        numbers = sorted({*files.versions(name), *released.versions(name)})
        newest = files.newest(name)
        seen = set()
        for version in released.versions(name):
            for hop in route(numbers, version, newest, contract.upcasters.of(name)):
                if hop.upcaster is None and (hop.start, hop.end) not in seen:
                    seen.add((hop.start, hop.end))
                    old, new = (_schema(files, released, name, v) for v in (hop.start, hop.end))
                    yield from _resolves(name, f"v{hop.start} → v{hop.end}", old, new)


def _schema(files: SchemaFiles, released: Released, name: str, version: int) -> dict[str, Any]:
    entry = released.get(name, version)
    return files.raw(name, version) if entry is None else entry.schema


def _resolves(name: str, label: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Finding]:
    found = [
        Finding(name, label, f"{difference.where}: {text}")
        for difference in differences(old, new)
        if (text := refusal(difference, old, new))
    ]
    yield from found
    if not found:
        # the checks by field give names; Avro's own verdict on the whole is the one that counts
        for text in _avro_refusals(new, old):
            yield Finding(name, label, text)


def refusal(difference: Difference, old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """Why a difference must not be, or None where old records read the same."""
    before, after = difference.old, difference.new
    match difference.what:
        case What.NAME:
            return f"{difference.text}: a type keeps its name"
        case What.ADDED if after is not None and after.default is NO_DEFAULT:
            return "new, and without a default: older records lack it"
        case What.REMOVED:
            return f"{difference.text}: what older records say there would be lost; keep it, or write an upcaster"
        case What.TYPE if before is not None and after is not None:
            if _logical(before.avro) != _logical(after.avro) or _avro_refusals(_alone(after, new), _alone(before, old)):
                return f"{difference.text}, which does not read what was written; write an upcaster"
        case What.SYMBOLS if before is not None and after is not None:
            if gone := [s for s in before.symbols if s not in after.symbols]:
                return f"symbol {', '.join(gone)} is gone, and older records hold it"
        case What.DEFAULT if before is not None and before.default is not NO_DEFAULT and after is not None:
            if after.default is not NO_DEFAULT:
                return f"{difference.text}: records from before the field would say something else; write an upcaster"
        case What.PERSONAL if before is not None and before.pii:
            return "was personal and is not any more: older records still hold it"
    return None


def _logical(avro_type: Any) -> Any:
    leaf = leaf_of(avro_type)
    return leaf.get("logicalType") if isinstance(leaf, dict) else None


def _alone(field: Field, schema: dict[str, Any]) -> dict[str, Any]:
    """A record with this field only, the names in its type defined."""
    defined: set[str] = set()
    named = named_in(schema)

    def expand(part: Any) -> Any:
        if isinstance(part, list):
            return [expand(branch) for branch in part]
        if isinstance(part, str):
            if short(part) not in named or short(part) in defined:
                return short(part) if short(part) in named else part
            return expand(named[short(part)])
        made = dict(part)
        if part["type"] in ("record", "enum", "fixed"):
            defined.add(short(part["name"]))
            made["name"] = short(part["name"])
        if "fields" in part:
            made["fields"] = [{**f, "type": expand(f["type"])} for f in part["fields"]]
        for inner in ("items", "values"):
            if inner in part:
                made[inner] = expand(part[inner])
        return made

    return {"type": "record", "name": "Alone", "fields": [{"name": field.name, "type": expand(field.avro)}]}


def _avro_refusals(reader: dict[str, Any], writer: dict[str, Any]) -> list[str]:
    """What Avro's checker says against reading ``writer``'s records with ``reader``."""
    today, yesterday = (avro.schema.parse(json.dumps(schema)) for schema in (reader, writer))
    checker: Any = avro.compatibility.ReaderWriterCompatibilityChecker  # its own types lack some
    result = checker().get_compatibility(today, yesterday)
    if result.compatibility is avro.compatibility.SchemaCompatibilityType.compatible:
        return []
    return [f"Avro cannot read it: {message}" for message in sorted(result.messages)] or ["Avro cannot read it"]
