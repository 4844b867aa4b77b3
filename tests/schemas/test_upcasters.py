"""Upcasters: registered once, and what they make is held against the version that they claim to make."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import fastavro
import pytest

from schemas.compatibility import check
from schemas.released import Released
from schemas.upcasters import UPCASTERS, Upcasters
from schemas.versions import FILES
from tests.schemas.made_up import TIME, contract, put

OLD: tuple[dict[str, Any], ...] = ({"name": "when", "type": "string", "doc": "When."},)
NEW: tuple[dict[str, Any], ...] = (
    {"name": "at", "type": TIME, "doc": "When."},
    {"name": "size", "type": "int", "doc": "Size."},
)


def read_old(folder: Path, upcaster: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """An old record through ``upcaster``."""
    put(folder, 1, OLD)
    put(folder, 2, NEW)
    upcasters = Upcasters()
    upcasters.register("Note", from_version=1)(upcaster)
    made = contract(folder, upcasters=upcasters)
    body = io.BytesIO()
    fastavro.schemaless_writer(body, made.files.parsed("Note", 1), {"when": "2024-05-01T12:00:00+00:00"})
    body.seek(0)
    return made.reader("Note", 1)(body)


def test_an_upcaster_makes_the_next_version_s_fields(tmp_path: Path) -> None:
    at = datetime.fromisoformat("2024-05-01T12:00:00+00:00")
    assert read_old(tmp_path, lambda old: {"at": datetime.fromisoformat(old["when"]), "size": 1}) == {"at": at, "size": 1}


@pytest.mark.parametrize(
    "made",
    [
        {"at": datetime.fromisoformat("2024-05-01T12:00:00+00:00")},
        {"at": datetime.fromisoformat("2024-05-01T12:00:00+00:00"), "size": 1, "when": "x"},
        {"at": datetime.fromisoformat("2024-05-01T12:00:00+00:00"), "size": 1.5},
        {"at": datetime.fromisoformat("2024-05-01T12:00:00+00:00"), "size": 2**31},
        {"at": datetime.fromisoformat("2024-05-01T12:00:00"), "size": 1},
    ],
    ids=["a field forgotten", "a field left over", "a fraction for a number", "more than 32 bits", "a time without a zone"],
)
def test_what_an_upcaster_makes_must_fit_its_version_exactly(tmp_path: Path, made: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"an upcaster made|more fields than the schema"):
        read_old(tmp_path, lambda old: made)


def test_a_version_has_one_upcaster() -> None:
    upcasters = Upcasters()
    upcasters.register("Note", from_version=1)(dict)
    with pytest.raises(ValueError, match="Note version 1 has an upcaster already"):
        upcasters.register("Note", from_version=1)(dict)
    upcasters.register("Note", from_version=2)(dict)
    assert set(upcasters.of("Note")) == {1, 2}
    assert upcasters.of("Other") == {}


@pytest.mark.parametrize(("name", "version", "says"), [("Gone", 1, "no file"), ("Note", 2, "no later version")])
def test_an_upcaster_that_leads_nowhere_is_a_fault(tmp_path: Path, name: str, version: int, says: str) -> None:
    put(tmp_path, 1, OLD)
    put(tmp_path, 2, NEW)
    upcasters = Upcasters()
    upcasters.register(name, from_version=version)(dict)
    findings = check(contract(tmp_path, upcasters=upcasters), Released(tmp_path / "released.json"))
    assert [str(f) for f in findings if f.name == name and says in f.text]


def test_every_upcaster_of_the_contract_starts_from_a_version_there_is() -> None:
    for name in UPCASTERS.names():
        assert set(UPCASTERS.of(name)) <= set(FILES.versions(name)[:-1])
