"""The Avro files: one per type and version, ``<stem>.v<number>.avsc``; a type's current version is its highest.

The folder is a parameter everywhere, so that tests can have types and versions of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

from schemas.errors import UnknownSchema

FILE_NAME = re.compile(r"^(?P<stem>[a-z][a-z0-9_]*)\.v(?P<version>[1-9][0-9]*)\.avsc$")


def file_stem(name: str) -> str:
    """``MemoryAdded`` → ``memory_added``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def fingerprint_of(schema: Any) -> str:
    """CRC-64-AVRO fingerprint of a schema's canonical form: 16 hex digits, in the order of the bytes on the wire."""
    return str(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))


class SchemaFiles:
    """The files of one folder, read when they are first asked for."""

    def __init__(self, folder: Traversable) -> None:
        self.folder = folder
        self._texts: dict[tuple[str, int], str] = {}
        self._raw: dict[tuple[str, int], dict[str, Any]] = {}
        self._parsed: dict[tuple[str, int], Any] = {}
        self._fingerprints: dict[tuple[str, int], str] = {}

    @cached_property
    def stems(self) -> dict[str, tuple[int, ...]]:
        """Versions by the first part of the files' names, ascending."""
        found: dict[str, list[int]] = {}
        for path in self.folder.iterdir():
            if match := FILE_NAME.match(path.name):
                found.setdefault(match["stem"], []).append(int(match["version"]))
        return {stem: tuple(sorted(numbers)) for stem, numbers in sorted(found.items())}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all types, in the order of their files."""
        return tuple(str(json.loads(self.text_of(stem, versions[-1]))["name"]) for stem, versions in self.stems.items())

    def versions(self, name: str) -> tuple[int, ...]:
        """Versions of a type, ascending. Raises UnknownSchema for an unknown type."""
        try:
            return self.stems[file_stem(name)]
        except KeyError:
            raise UnknownSchema(f"there is no schema {name}") from None

    def newest(self, name: str) -> int:
        """The type's current version. Raises UnknownSchema."""
        return self.versions(name)[-1]

    def all_versions(self) -> Iterator[tuple[str, int]]:
        """Every type and version there is."""
        for name in self.names:
            for version in self.versions(name):
                yield name, version

    def text(self, name: str, version: int | None = None) -> str:
        """A file's JSON text; of the current version, if none is named. Raises UnknownSchema."""
        known = self.versions(name)
        if version is not None and version not in known:
            raise UnknownSchema(f"no schema {name} version {version}; there is {', '.join(map(str, known))}")
        return self.text_of(file_stem(name), version or known[-1])

    def text_of(self, stem: str, version: int) -> str:
        """The text of a file that is there."""
        if (stem, version) not in self._texts:
            path = self.folder.joinpath(f"{stem}.v{version}.avsc")
            self._texts[stem, version] = path.read_text(encoding="utf-8")
        return self._texts[stem, version]

    def raw(self, name: str, version: int | None = None) -> dict[str, Any]:
        """A file's content as JSON values. Raises UnknownSchema."""
        key = (name, version or self.newest(name))
        if key not in self._raw:
            self._raw[key] = json.loads(self.text(*key))
        return self._raw[key]

    def parsed(self, name: str, version: int | None = None) -> Any:
        """A schema as fastavro wants it. Raises UnknownSchema."""
        key = (name, version or self.newest(name))
        if key not in self._parsed:
            self._parsed[key] = fastavro.parse_schema(self.raw(*key))
        return self._parsed[key]

    def fingerprint(self, name: str, version: int | None = None) -> str:
        """Fingerprint of a version, hex in wire order. Raises UnknownSchema."""
        key = (name, version or self.newest(name))
        if key not in self._fingerprints:
            self._fingerprints[key] = fingerprint_of(self.raw(*key))
        return self._fingerprints[key]

    def full_name(self, name: str) -> str:
        """Namespace and name of a type. Raises UnknownSchema."""
        raw = self.raw(name)
        return f"{raw['namespace']}.{raw['name']}" if raw.get("namespace") else str(raw["name"])


FILES = SchemaFiles(files("schemas").joinpath("avro"))
