"""The contract's own rules: everything has a doc, personal values are sealed, every reader makes the same of a default, and the
Python types say what the files say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import avro.errors
import avro.schema
import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from schemas.contract import Contract
from schemas.errors import UnknownSchema
from schemas.fields import NO_DEFAULT, Field, fields_of, leaf_of, named_in, short
from schemas.lowering import compile_lowering
from schemas.upcasters import Upcasters
from schemas.versions import FILE_NAME, SchemaFiles, file_stem

# what outside producers send is plain: it is sealed when it is admitted
PLAIN = frozenset({"InboxTurn"})
SEALED = "Sealed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: the type, the version or versions that it is about, and what is wrong, with the field's name."""

    name: str
    versions: str
    text: str

    def __str__(self) -> str:
        return f"{self.name} {self.versions}: {self.text}".replace(" :", ":")


def unreadable(files: SchemaFiles) -> Iterator[Finding]:
    """Files that are no Avro schema, or not of the type that their name says."""
    for path in sorted(files.folder.iterdir(), key=lambda p: p.name):
        match = FILE_NAME.match(path.name)
        if match is None:
            yield Finding(path.name, "", "is not called <type>.v<number>.avsc")
            continue
        try:
            schema = json.loads(files.text_of(match["stem"], int(match["version"])))
            avro.schema.parse(json.dumps(schema))
            fastavro.parse_schema(schema)
        except (ValueError, avro.errors.AvroException, SchemaParseException, UnknownType) as error:
            yield Finding(path.name, "", f"is no Avro schema ({type(error).__name__})")
            continue
        name = str(schema["name"]) if isinstance(schema, dict) and schema["type"] == "record" else "no record"
        if file_stem(name) != match["stem"]:
            yield Finding(path.name, "", f"holds {name}: name file and record alike")


def own_rules(contract: Contract) -> Iterator[Finding]:
    """What breaks a rule in the current version of each type."""
    yield from _upcasters(contract.files, contract.upcasters)
    yield from _files(contract.files)
    yield from _python_types(contract.files, contract.by_name)


def _upcasters(files: SchemaFiles, upcasters: Upcasters) -> Iterator[Finding]:
    for name in upcasters.names():
        try:
            versions = files.versions(name)
        except UnknownSchema:
            yield Finding(name, "", "has an upcaster and no file")
            continue
        for version in upcasters.of(name):
            if version not in versions[:-1]:
                yield Finding(name, f"v{version}", "has an upcaster, and no later version to go to")


def _files(files: SchemaFiles) -> Iterator[Finding]:
    for name in files.names:
        schema = files.raw(name)
        label = f"v{files.newest(name)}"
        for text in (*_docs(schema), *_personal(name, schema), *_defaults(schema)):
            yield Finding(name, label, text)


def _docs(schema: dict[str, Any]) -> Iterator[str]:
    for record, part in named_in(schema).items():
        if part["type"] == "record" and not str(part.get("doc", "")).strip():
            yield f"{record}: has no doc"
    for field in fields_of(schema):
        if not field.doc:
            yield f"{field.where}: has no doc"


def _personal(name: str, schema: dict[str, Any]) -> Iterator[str]:
    if name in PLAIN:
        return
    for field in fields_of(schema):
        leaf = leaf_of(field.avro)
        is_sealed = short(leaf if isinstance(leaf, str) else leaf.get("name", "") if isinstance(leaf, dict) else "") == SEALED
        if field.pii and not is_sealed:
            yield f"{field.where}: is personal (pii) but no {SEALED} value, it is {field.type}"
        if is_sealed and not field.pii:
            yield f'{field.where}: is a {SEALED} value and lacks "pii": true'


def _defaults(schema: dict[str, Any]) -> Iterator[str]:
    for field in fields_of(schema):
        if field.default is not NO_DEFAULT and not _readable_default(field):
            yield f"{field.where}: readers disagree on {field.default_text} as default of {field.type}; use null, or an upcaster"


def _readable_default(field: Field) -> bool:
    """Whether every reader makes the same value of the default: null, plain texts and numbers, symbols, empty collections."""
    if isinstance(field.avro, list):
        return field.default is None and field.avro[0] == "null"
    kind = field.avro["type"] if isinstance(field.avro, dict) else field.avro
    if isinstance(field.avro, dict) and "logicalType" in field.avro:
        return False
    if field.symbols:
        return field.default in field.symbols
    plain: dict[str, type] = {
        "string": str,
        "int": int,
        "long": int,
        "double": float,
        "boolean": bool,
        "array": list,
        "map": dict,
    }
    return type(field.default) is plain.get(kind) and (kind not in ("array", "map") or not field.default)


def _python_types(files: SchemaFiles, kinds: Mapping[str, type[Any]]) -> Iterator[Finding]:
    for name in sorted(set(files.names) - set(kinds)):
        yield Finding(name, "", "has a file and no Python type")
    for name, kind in kinds.items():
        if name not in files.names:
            yield Finding(name, "", "has a Python type and no file")
            continue
        try:
            compile_lowering(kind, files.parsed(name))
        except TypeError as error:
            yield Finding(name, f"v{files.newest(name)}", f"its Python type differs: {error}")
