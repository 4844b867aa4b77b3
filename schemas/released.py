"""``released.json``: every schema that was ever released, by type and version, for ever.

Records of these schemas lie on somebody's log. A released file never changes, except in its docs; what changes is a new version.
The list holds the schemas themselves, without docs: fingerprints alone do not cover defaults, logical types and the tag ``pii``,
and a difference can be told by the field's name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from schemas.fields import bare
from schemas.versions import SchemaFiles, fingerprint_of

RELEASED = files("schemas").joinpath("released.json")


@dataclass(frozen=True, slots=True)
class ReleasedSchema:
    """One released version: its fingerprint (hex, wire order) and its schema without docs."""

    fingerprint: str
    schema: dict[str, Any]


class Released:
    """The list. A missing file is an empty one: nothing was released yet."""

    def __init__(self, path: Traversable = RELEASED) -> None:
        self._path = path
        text = path.read_text(encoding="utf-8") if path.is_file() else "{}"
        self._by_name: dict[str, dict[int, ReleasedSchema]] = {
            name: {int(v): ReleasedSchema(entry["fingerprint"], entry["schema"]) for v, entry in versions.items()}
            for name, versions in json.loads(text).items()
        }

    def __iter__(self) -> Iterator[tuple[str, int, ReleasedSchema]]:
        for name, versions in sorted(self._by_name.items()):
            for version, entry in sorted(versions.items()):
                yield name, version, entry

    def versions(self, name: str) -> dict[int, ReleasedSchema]:
        """Released versions of a type."""
        return dict(self._by_name.get(name, {}))

    def get(self, name: str, version: int) -> ReleasedSchema | None:
        """A released version, or None."""
        return self._by_name.get(name, {}).get(version)

    def missing(self, contract_files: SchemaFiles) -> list[tuple[str, int]]:
        """Types and versions among the files that are not released yet."""
        return [(name, version) for name, version in contract_files.all_versions() if self.get(name, version) is None]

    def add(self, contract_files: SchemaFiles, name: str, version: int) -> None:
        """Put a version on the list. Raises ValueError where it stands there already: a released schema never changes."""
        if self.get(name, version) is not None:
            raise ValueError(f"{name} version {version} is released already")
        raw = contract_files.raw(name, version)
        self._by_name.setdefault(name, {})[version] = ReleasedSchema(fingerprint_of(raw), bare(raw))

    def save(self) -> None:
        """Write the list, a line per version, so that a change of it reads well."""
        assert isinstance(self._path, Path), "the list is inside an archive"
        types = []
        for name, versions in sorted(self._by_name.items()):
            lines = [
                f"    {json.dumps(str(v))}: "
                + json.dumps({"fingerprint": e.fingerprint, "schema": e.schema}, separators=(",", ":"), ensure_ascii=False)
                for v, e in sorted(versions.items())
            ]
            types.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n  }")
        fresh = self._path.with_suffix(".json.new")
        fresh.write_text("{\n" + ",\n".join(types) + "\n}\n" if types else "{}\n", encoding="utf-8")
        fresh.replace(self._path)
