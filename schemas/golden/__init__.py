"""Golden records: one stored record of every released type and version, for ever.

    memory_added.v1.bin         the bytes, in single-object encoding
    memory_added.v1.json        what version 1 says in them
    memory_added.v1.as_v2.json  what they say when they are read as version 2

The bytes lie in the repository as they lie on somebody's log. Whatever changes in schemas, upcasters, codec or libraries, they
must still be read, and must still say the same. Nothing here is ever overwritten. `python -m schemas.golden NAME` makes what is
missing; `emberlog schema freeze` does so for what it releases.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from msgspec.structs import fields

from schemas.codec import Codec
from schemas.contract import CONTRACT, Contract
from schemas.errors import ContractError
from schemas.golden.sample import jsonable, sample_bytes
from schemas.released import Released
from schemas.rules import Finding
from schemas.value import Value
from schemas.versions import file_stem
from schemas.wire import HEADER_BYTES, fingerprint_in

FOLDER = files("schemas").joinpath("golden")


class Golden:
    """The golden records in ``folder``, read by the given contract."""

    def __init__(self, folder: Traversable = FOLDER, contract: Contract = CONTRACT) -> None:
        self._folder = folder
        self._contract = contract
        self._files = contract.files
        self._codec = Codec(contract)

    def bytes_of(self, name: str, version: int) -> bytes | None:
        """The stored record, or None."""
        path = self._folder.joinpath(f"{file_stem(name)}.v{version}.bin")
        return path.read_bytes() if path.is_file() else None

    def content_of(self, name: str, version: int, read_as: int | None = None) -> Any:
        """What the stored record must say, as JSON types; None where that is not stored."""
        path = self._folder.joinpath(_content_name(name, version, read_as or version))
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def check(self, released: Released) -> list[Finding]:
        """What is missing of a released version, cannot be read any more, or says something else now."""
        later: dict[str, list[int]] = {}
        for name, version, _ in released:
            later.setdefault(name, []).append(version)
        found = []
        for name, version, entry in released:
            texts = self._faults(name, version, entry.fingerprint, [v for v in later[name] if v >= version])
            found += [Finding(name, f"v{version}", f"golden record: {text}") for text in texts]
        return found

    def _faults(self, name: str, version: int, fingerprint: str, targets: list[int]) -> Iterator[str]:
        stored = self.bytes_of(name, version)
        if stored is None:
            yield f"there is none; make it with: python -m schemas.golden {name}"
            return
        if fingerprint_in(stored) != fingerprint:
            yield "its bytes are of another schema than the released one"
            return
        for target in targets:
            if not self._folder.joinpath(_content_name(name, version, target)).is_file():
                yield f"{_content_name(name, version, target)} is missing; make it with: python -m schemas.golden {name}"
                continue
            try:
                expected = self.content_of(name, version, target)
                said = self._read(name, version, stored, target)
            except Exception as error:  # whatever fastavro or an upcaster raises
                yield f"cannot be read as version {target} ({type(error).__name__})"
                continue
            if said != expected:
                yield f"says something else as version {target}: {', '.join(_paths(expected, said))}"
        yield from self._faults_of_codec(name, version, stored)

    def _faults_of_codec(self, name: str, version: int, stored: bytes) -> Iterator[str]:
        try:
            record = self._codec.decode(stored)
        except ContractError as error:
            yield str(error)
            return
        if type(record).__name__ != name:
            yield f"is read as a {type(record).__name__}"
        elif version == self._files.newest(name):
            if jsonable(_plain(record)) != self._read(name, version, stored, version):
                yield "its Python record says something else"
            if self._codec.encode(record) != stored:
                yield "is written with other bytes today"

    def _read(self, name: str, version: int, stored: bytes, target: int) -> Any:
        body = io.BytesIO(stored)
        body.seek(HEADER_BYTES)
        return jsonable(self._contract.reader(name, version, target)(body))

    def write(self, name: str, version: int) -> list[str]:
        """Make what is missing of a version, and what older stored records say when read as it; the names of the files made."""
        made = []
        if self.bytes_of(name, version) is None:
            schema = self._files.raw(name, version)
            made += self._put(f"{file_stem(name)}.v{version}.bin", sample_bytes(schema, self._files.fingerprint(name, version)))
        for older in self._files.versions(name):
            stored = self.bytes_of(name, older)
            content = _content_name(name, older, version)
            if older <= version and stored is not None and not self._folder.joinpath(content).is_file():
                said = self._read(name, older, stored, version)
                made += self._put(content, (json.dumps(said, indent=2, ensure_ascii=False) + "\n").encode())
        return made

    def _put(self, name: str, content: bytes) -> list[str]:
        assert isinstance(self._folder, Path), "the golden records are inside an archive"
        with (self._folder / name).open("xb") as file:  # x: never over an existing one
            file.write(content)
        return [name]


def _content_name(name: str, version: int, read_as: int) -> str:
    suffix = "" if read_as == version else f".as_v{read_as}"
    return f"{file_stem(name)}.v{version}{suffix}.json"


def _plain(value: Any) -> Any:
    """A record as dicts and lists."""
    if isinstance(value, Value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _paths(one: Any, other: Any, at: str = "") -> list[str]:
    """Where two contents differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = [*one, *(name for name in other if name not in one)]
        here = [_paths(one[n], other[n], f"{at}.{n}") if n in one and n in other else [f"{at}.{n}".lstrip(".")] for n in names]
        return [path for part in here for path in part]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [path for i, (a, b) in enumerate(zip(one, other, strict=True)) for path in _paths(a, b, f"{at}[{i}]")]
    return [] if one == other else [at.lstrip(".")]
