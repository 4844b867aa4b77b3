"""Versions of a type: which is current, and how records of the others are read."""

from __future__ import annotations

import io
import itertools
from datetime import datetime
from pathlib import Path
from typing import Any

import fastavro
import pytest

from schemas.codec import Codec, schema_fingerprint, schema_text, schema_version
from schemas.errors import BrokenRecord, UnknownSchema
from schemas.types import RECORDS
from schemas.upcasters import Upcasters, route
from schemas.value import Value
from schemas.versions import FILES, SchemaFiles, fingerprint_of
from schemas.wire import single_object_prefix
from tests.schemas.made_up import TIME, contract, put

FIRST: tuple[dict[str, Any], ...] = ({"name": "text", "type": "string"}, {"name": "seconds", "type": "int"})
SECOND: tuple[dict[str, Any], ...] = ({"name": "text", "type": "string"}, {"name": "minutes", "type": "double"})
THIRD: tuple[dict[str, Any], ...] = (*SECOND, {"name": "tags", "type": {"type": "map", "values": "int"}, "default": {}})
FOURTH: tuple[dict[str, Any], ...] = ({"name": "title", "type": "string"}, *THIRD[1:])


class Walk(Value, frozen=True):
    """The type of ``FOURTH``."""

    title: str
    minutes: float
    tags: dict[str, int]


def written(files: SchemaFiles, version: int, values: dict[str, Any]) -> bytes:
    """A record as a program of that version wrote it."""
    out = io.BytesIO()
    out.write(single_object_prefix(files.fingerprint("Walk", version)))
    fastavro.schemaless_writer(out, files.parsed("Walk", version), values)
    return out.getvalue()


def walks(folder: Path) -> Codec:
    """Four versions; from 1 to 2 and from 3 to 4 lead upcasters, from 2 to 3 Avro's own resolution."""
    for version, fields in enumerate((FIRST, SECOND, THIRD, FOURTH), 1):
        put(folder, version, fields, "Walk")
    upcasters = Upcasters()

    @upcasters.register("Walk", from_version=1)
    def _to_minutes(old: dict[str, Any]) -> dict[str, Any]:
        return {"text": old["text"], "minutes": old["seconds"] / 60}

    @upcasters.register("Walk", from_version=3)
    def _to_title(old: dict[str, Any]) -> dict[str, Any]:
        return {"title": old["text"].upper(), "minutes": old["minutes"], "tags": old["tags"]}

    return Codec(contract(folder, Walk, upcasters=upcasters))


@pytest.mark.parametrize(
    ("version", "values", "read"),
    [
        (1, {"text": "coast", "seconds": 90}, Walk("COAST", 1.5, {})),
        (2, {"text": "coast", "minutes": 1.5}, Walk("COAST", 1.5, {})),
        (3, {"text": "coast", "minutes": 1.5, "tags": {"km": 4}}, Walk("COAST", 1.5, {"km": 4})),
        (4, {"title": "coast", "minutes": 1.5, "tags": {"km": 4}}, Walk("coast", 1.5, {"km": 4})),
    ],
)
def test_a_record_of_every_version_is_read_as_today_s_type(
    tmp_path: Path, version: int, values: dict[str, Any], read: Walk
) -> None:
    codec = walks(tmp_path)
    assert codec.decode(written(SchemaFiles(tmp_path), version, values)) == read


def test_a_record_is_written_in_the_newest_version(tmp_path: Path) -> None:
    codec = walks(tmp_path)
    walk = Walk("coast", 1.5, {"km": 4})
    assert codec.version(Walk) == 4
    assert codec.encode(walk) == written(SchemaFiles(tmp_path), 4, {"title": "coast", "minutes": 1.5, "tags": {"km": 4}})


def test_a_default_that_avro_fills_in_is_each_record_s_own(tmp_path: Path) -> None:
    put(tmp_path, 1, FOURTH[:2], "Walk")
    put(tmp_path, 2, FOURTH, "Walk")
    codec = Codec(contract(tmp_path, Walk))
    old = written(SchemaFiles(tmp_path), 1, {"title": "coast", "minutes": 1.5})
    codec.decode(old).tags["km"] = 4
    assert codec.decode(old).tags == {}


def test_version_10_is_newer_than_version_9(tmp_path: Path) -> None:
    for version in range(1, 11):
        put(tmp_path, version, ({"name": f"f{version}", "type": "string"},), "Walk")
    files = SchemaFiles(tmp_path)
    assert files.versions("Walk") == tuple(range(1, 11))
    assert files.newest("Walk") == 10
    assert '"f10"' in files.text("Walk")
    assert '"f9"' in files.text("Walk", 9)


def test_a_version_newer_than_ours_is_told_from_broken_bytes(tmp_path: Path) -> None:
    put(tmp_path / "theirs", 5, ({"name": "steps", "type": "long"},), "Walk")
    with pytest.raises(UnknownSchema, match="this version lacks"):
        walks(tmp_path / "ours").decode(written(SchemaFiles(tmp_path / "theirs"), 5, {"steps": 7}))


def test_an_old_record_that_is_cut_off_or_too_long_is_broken(tmp_path: Path) -> None:
    codec = walks(tmp_path)
    wire = written(SchemaFiles(tmp_path), 1, {"text": "coast", "seconds": 90})
    with pytest.raises(BrokenRecord, match="broken body of a Walk"):
        codec.decode(wire[:-1])
    with pytest.raises(BrokenRecord, match="left over"):
        codec.decode(wire + b"\0")


def test_a_python_type_that_is_not_its_newest_file_s_is_refused(tmp_path: Path) -> None:
    put(tmp_path, 1, FOURTH, "Walk")
    put(tmp_path, 2, THIRD, "Walk")
    with pytest.raises(TypeError, match="Walk has other fields than its schema"):
        Codec(contract(tmp_path, Walk)).encode(Walk("coast", 1.5, {}))


def _nothing(values: dict[str, Any]) -> dict[str, Any]:
    return values


@pytest.mark.parametrize("with_upcaster", [s for n in range(5) for s in itertools.combinations((1, 2, 3, 4), n)])
@pytest.mark.parametrize("start", [1, 2, 3, 4, 5])
def test_a_route_leads_from_any_version_to_the_newest_through_every_upcaster_on_its_way(
    with_upcaster: tuple[int, ...], start: int
) -> None:
    hops = route((1, 2, 3, 4, 5), start, 5, dict.fromkeys(with_upcaster, _nothing))
    assert [h.start for h in hops] == ([start, *(h.end for h in hops)][: len(hops)])
    assert (hops[-1].end if hops else start) == 5
    assert [h.start for h in hops if h.upcaster] == [v for v in with_upcaster if v >= start]
    assert all(h.end == h.start + 1 for h in hops if h.upcaster)
    assert not any(a.upcaster is b.upcaster is None for a, b in itertools.pairwise(hops)), "one resolution where one will do"


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_each_type_of_the_contract_knows_its_current_version(kind: type[Any]) -> None:
    version = schema_version(kind)
    assert version == max(FILES.versions(kind.__name__))
    assert schema_text(kind.__name__) == schema_text(kind.__name__, version)
    assert schema_fingerprint(kind) == fingerprint_of(FILES.raw(kind.__name__, version))


def test_an_unknown_type_is_named() -> None:
    with pytest.raises(UnknownSchema, match="no schema Nothing"):
        schema_text("Nothing")


def test_times_keep_their_zone_and_microseconds_through_a_resolution(tmp_path: Path) -> None:
    put(tmp_path, 1, ({"name": "at", "type": TIME},), "Walk")
    put(tmp_path, 2, ({"name": "at", "type": TIME}, {"name": "n", "type": "long", "default": 1}), "Walk")
    at = datetime.fromisoformat("2024-05-01T12:00:00.123456+00:00")
    read = contract(tmp_path).reader("Walk", 1)
    body = io.BytesIO(written(SchemaFiles(tmp_path), 1, {"at": at}))
    body.seek(10)
    assert read(body) == {"at": at, "n": 1}
