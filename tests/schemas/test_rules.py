"""The contract's own rules: docs, sealed values, readable defaults, files and Python types in step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from schemas.compatibility import check
from schemas.released import Released
from tests.schemas.made_up import BASE, MOOD, NEW, NULLABLE, SEALED, Note, changed, contract, place, put, schema

Edit = tuple[Sequence[dict[str, Any]], str]

OWN_RULES: dict[str, Edit] = {
    "a field without a doc": (changed("text", doc=None), "Note.text: has no doc"),
    "a doc of blanks": (changed("text", doc="  "), "Note.text: has no doc"),
    "a record without a doc": (changed("author", type={k: v for k, v in SEALED.items() if k != "doc"}), "Sealed: has no doc"),
    "a field without a doc in a record inside": (changed("places", **place(city={"doc": ""})), "Place.city: has no doc"),
    "a personal text": (changed("text", pii=True), "Note.text: is personal (pii) but no Sealed value, it is string"),
    "a list of personal texts": (
        changed("places", type={"type": "array", "items": "string"}, pii=True),
        "Note.places: is personal (pii) but no Sealed value",
    ),
    "a sealed value without its tag": (changed("author", pii=None), 'Note.author: is a Sealed value and lacks "pii": true'),
    "a default of bytes": ((*BASE, {**NEW, "type": "bytes", "default": "x"}), 'Note.title: readers disagree on "x"'),
    "a default of a time": (changed("at", default=0), "Note.at: readers disagree on 0"),
    "a list with something in it as default": (changed("counts", default={"a": 1}), "Note.counts: readers disagree"),
    "a whole number as default of a fraction": (changed("length", default=1), "Note.length: readers disagree on 1"),
}


@pytest.mark.parametrize("case", OWN_RULES)
def test_what_breaks_a_rule_of_the_contract_is_named(tmp_path: Path, case: str) -> None:
    fields, says = OWN_RULES[case]
    put(tmp_path, 1, fields)
    findings = [str(f) for f in check(contract(tmp_path, Note), Released(tmp_path / "released.json"))]
    assert any(f.startswith("Note v1: ") and says in f for f in findings), findings


def test_optional_and_repeated_sealed_values_are_sealed_values(tmp_path: Path) -> None:
    field = {
        "name": "others",
        "doc": "Others.",
        "pii": True,
        "type": ["null", {"type": "map", "values": "Sealed"}],
        "default": None,
    }
    put(tmp_path, 1, (*BASE, field))
    assert [f for f in check(contract(tmp_path), Released(tmp_path / "released.json")) if "Python" not in f.text] == []


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ((*BASE, NULLABLE), "Note has other fields than its schema"),
        (changed("size", type="double"), "Note.size is <class 'int'> in Python and double"),
        (changed("text", type=["null", "string"]), "Note.text is <class 'str'> in Python"),
        (changed("mood", type={**MOOD, "symbols": ["calm", "cross", "glad"]}), "Note.mood has other symbols"),
    ],
)
def test_a_python_type_out_of_step_is_named(tmp_path: Path, fields: Sequence[dict[str, Any]], says: str) -> None:
    put(tmp_path, 1, fields)
    [finding] = check(contract(tmp_path, Note), Released(tmp_path / "released.json"))
    assert says in str(finding)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("note.v1.avsc", "{", "note.v1.avsc: is no Avro schema"),
        ("note.v1.avsc", json.dumps(schema(changed("text", default=7))), "note.v1.avsc: is no Avro schema"),
        ("note.v1.avsc", json.dumps(schema(changed("text", type="words"))), "note.v1.avsc: is no Avro schema"),
        ("note.v1.avsc", json.dumps(schema(BASE, "Other")), "note.v1.avsc: holds Other"),
        ("note.v1.avsc", '"string"', "note.v1.avsc: holds no record"),
        ("note.avsc", json.dumps(schema(BASE)), "note.avsc: is not called"),
        ("note.v0.avsc", json.dumps(schema(BASE)), "note.v0.avsc: is not called"),
    ],
)
def test_a_file_that_is_no_schema_of_its_name_is_named(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    [finding] = check(contract(tmp_path, Note), Released(tmp_path / "released.json"))
    assert str(finding).startswith(says)


def test_a_file_without_a_python_type_and_a_type_without_a_file_are_named(tmp_path: Path) -> None:
    put(tmp_path, 1, BASE, "Other")
    findings = [str(f) for f in check(contract(tmp_path, Note), Released(tmp_path / "released.json"))]
    assert findings == ["Other: has a file and no Python type", "Note: has a Python type and no file"]
