"""A reader of today reads all of yesterday: breaking edits are refused by the type's and the field's name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from schemas import compatibility
from schemas.compatibility import check
from schemas.released import Released
from schemas.upcasters import Upcasters
from tests.schemas.made_up import (
    BASE,
    MOOD,
    NAMESPACE,
    NEW,
    NULLABLE,
    PLACE,
    Note,
    changed,
    contract,
    place,
    put,
    release,
    schema,
    without,
)

Edit = tuple[Sequence[dict[str, Any]], str]
BREAKING: dict[str, Edit] = {
    "a field is gone": (without("size"), "Note.size: removed, was int"),
    "a field with a default is gone": (without("length"), "Note.length: removed"),
    "a field of a record inside is gone": (changed("places", **place(street=None)), "Place.street: removed"),
    "a field without a default is new": ((*BASE, NEW), "Note.title: new, and without a default"),
    "a field is renamed": (changed("text", name="words"), "Note.text: removed"),
    "a renamed field has no default either": (changed("text", name="words"), "Note.words: new, and without a default"),
    "another type": (changed("text", type="bytes", default=""), "Note.text: readers disagree"),
    "a number became a text": (changed("size", type="string"), "Note.size: int became string"),
    "a wider number became a narrow one": (changed("length", type="int", default=0), "Note.length: double became int"),
    "a list became one": (changed("places", type=PLACE), "Note.places: array of Place became Place"),
    "the items of a map": (
        changed("counts", type={"type": "map", "values": "string"}),
        "Note.counts: map of int became map of string",
    ),
    "a type inside a record inside": (changed("places", **place(city={"type": "long"})), "Place.city: string became long"),
    "what may be null may not": (
        changed("places", **place(street={"type": "string"})),
        "Place.street: string or null became string",
    ),
    "a time became a number": (changed("at", type="long"), "Note.at: timestamp-micros became long"),
    "another unit of time": (
        changed("at", type={"type": "long", "logicalType": "timestamp-millis"}),
        "Note.at: timestamp-micros became",
    ),
    "a symbol is gone": (changed("mood", type={**MOOD, "symbols": ["calm"]}), "Note.mood: symbol cross is gone"),
    "a symbol is gone, with a default instead": (
        changed("mood", type={**MOOD, "symbols": ["calm"], "default": "calm"}),
        "Note.mood: symbol cross is gone",
    ),
    "another default": (changed("length", default=1.5), "Note.length: default 0.5 became 1.5"),
    "no longer personal": (changed("author", pii=None), "Note.author: was personal"),
}


def released_then(folder: Path, fields: Sequence[dict[str, Any]], upcasters: Upcasters | None = None) -> list[str]:
    """What the check says when version 1 is released and version 2 has ``fields``."""
    put(folder / "avro", 1, BASE)
    released = release(contract(folder / "avro", Note), folder / "released.json")
    put(folder / "avro", 2, fields)
    # the Python type is another matter here
    return [str(f) for f in check(contract(folder / "avro", Note, upcasters=upcasters), released) if "Python type" not in f.text]


@pytest.mark.parametrize("case", BREAKING)
def test_a_breaking_edit_fails_with_the_name_of_type_and_field(tmp_path: Path, case: str) -> None:
    fields, says = BREAKING[case]
    findings = released_then(tmp_path, fields)
    assert any(f.startswith("Note v") and says in f for f in findings), findings


@pytest.mark.parametrize("case", BREAKING)
def test_the_same_edit_of_the_released_file_itself_fails_by_name_too(tmp_path: Path, case: str) -> None:
    fields, says = BREAKING[case]
    put(tmp_path / "avro", 1, BASE)
    released = release(contract(tmp_path / "avro", Note), tmp_path / "released.json")
    put(tmp_path / "avro", 1, fields)
    findings = [str(f) for f in check(contract(tmp_path / "avro", Note), released)]
    where = says.split(":")[0]
    assert any(f.startswith(f"Note v1: {where}: ") and "never changes" in f for f in findings), findings


@pytest.mark.parametrize(
    "case",
    [
        "a field without a default is new",
        "a number became a text",
        "a list became one",
        "a type inside a record inside",
        "what may be null may not",
        "a symbol is gone",
    ],
)
def test_what_the_checks_by_field_overlook_avro_s_own_checker_finds(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compatibility, "refusal", lambda *_: None)
    assert any("Avro cannot read it" in f for f in released_then(tmp_path, BREAKING[case][0]))


HARMLESS: dict[str, Sequence[dict[str, Any]]] = {
    "a field with a default is new": (*BASE, NULLABLE),
    "a wider number": changed("size", type="long"),
    "a number with a fraction": changed("size", type="double"),
    "one more symbol": changed("mood", type={**MOOD, "symbols": ["calm", "cross", "glad"]}),
    "what was always there may be null": changed("text", type=["null", "string"]),
    "a field is renamed with an alias": changed("text", name="words", aliases=["text"]),
    "another order": tuple(reversed(BASE)),
    "a field of a record inside, with a default": changed("places", **place()),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_an_edit_that_reads_all_that_was_written_is_let_pass(tmp_path: Path, case: str) -> None:
    fields = HARMLESS[case]
    if case.startswith("a field of a record inside"):
        inner = {**PLACE, "fields": [*PLACE["fields"], {"name": "zip", "type": "string", "doc": "Zip.", "default": ""}]}
        fields = changed("places", type={"type": "array", "items": inner})
    assert released_then(tmp_path, fields) == []


# what a fingerprint does not cover cannot be told from the version before, and so cannot be a version of its own
ALIKE = {"a time became a number", "another unit of time", "another default", "no longer personal", "another type"}


@pytest.mark.parametrize("case", sorted(set(BREAKING) - ALIKE))
def test_an_upcaster_from_the_released_version_answers_for_the_edit(tmp_path: Path, case: str) -> None:
    upcasters = Upcasters()
    upcasters.register("Note", from_version=1)(dict)
    assert released_then(tmp_path, BREAKING[case][0], upcasters) == []


@pytest.mark.parametrize("case", sorted(ALIKE - {"another type"}))
def test_no_upcaster_can_answer_for_versions_that_are_written_alike(tmp_path: Path, case: str) -> None:
    upcasters = Upcasters()
    upcasters.register("Note", from_version=1)(dict)
    assert "Note v2: is written exactly as v1" in released_then(tmp_path, BREAKING[case][0], upcasters)[0]


def test_every_released_version_is_compared_not_only_the_last(tmp_path: Path) -> None:
    put(tmp_path / "avro", 1, without("length"))
    put(tmp_path / "avro", 2, (*BASE, NULLABLE))
    released = release(contract(tmp_path / "avro", Note), tmp_path / "released.json")
    put(tmp_path / "avro", 3, (*changed("length", default=None), NULLABLE, {**NULLABLE, "name": "subtitle"}))
    findings = [str(f) for f in check(contract(tmp_path / "avro", Note), released) if "Python" not in f.text]
    assert findings == ["Note v1 → v3: Note.length: new, and without a default: older records lack it"]


def test_an_upcaster_on_the_way_answers_only_for_its_own_step(tmp_path: Path) -> None:
    for version, fields in enumerate((BASE, without("size"), without("text")), 1):
        put(tmp_path / "avro", version, fields)
    released = release(contract(tmp_path / "avro", Note), tmp_path / "released.json", ("Note", 1), ("Note", 2))
    upcasters = Upcasters()
    upcasters.register("Note", from_version=1)(dict)
    findings = [str(f) for f in check(contract(tmp_path / "avro", Note, upcasters=upcasters), released) if "Python" not in f.text]
    assert [f.split(": ")[:2] for f in findings] == [["Note v2 → v3", "Note.size"], ["Note v2 → v3", "Note.text"]]


def test_a_released_file_that_vanished_fails_by_its_name(tmp_path: Path) -> None:
    put(tmp_path / "avro", 1, BASE)
    put(tmp_path / "avro", 1, BASE, "Other")
    released = release(contract(tmp_path / "avro"), tmp_path / "released.json")
    (tmp_path / "avro" / "note.v1.avsc").unlink()
    put(tmp_path / "avro", 2, BASE)
    (tmp_path / "avro" / "other.v1.avsc").unlink()
    findings = [str(f) for f in check(contract(tmp_path / "avro"), released)]
    assert "Note v1: was released, and note.v1.avsc is gone: put it back" in findings
    assert "Other v1: was released, and other.v1.avsc is gone: put it back" in findings


def test_a_vanished_version_is_still_compared_with_today_s(tmp_path: Path) -> None:
    put(tmp_path / "avro", 1, BASE)
    released = release(contract(tmp_path / "avro"), tmp_path / "released.json")
    (tmp_path / "avro" / "note.v1.avsc").unlink()
    put(tmp_path / "avro", 2, without("size"))
    assert any(str(f).startswith("Note v1 → v2: Note.size: removed") for f in check(contract(tmp_path / "avro"), released))


def test_docs_of_a_released_file_may_be_corrected(tmp_path: Path) -> None:
    put(tmp_path / "avro", 1, BASE)
    released = release(contract(tmp_path / "avro", Note), tmp_path / "released.json")
    put(tmp_path / "avro", 1, changed("text", doc="The words."))
    assert check(contract(tmp_path / "avro"), released)[0].text == "has a file and no Python type"


def test_a_line_of_the_list_that_was_edited_by_hand_is_found(tmp_path: Path) -> None:
    put(tmp_path / "avro", 1, BASE)
    path = tmp_path / "released.json"
    release(contract(tmp_path / "avro"), path)
    path.write_text(path.read_text(encoding="utf-8").replace('"size"', '"sise"'), encoding="utf-8")
    assert "Note v1: its line in released.json was changed by hand" in str(check(contract(tmp_path / "avro"), Released(path))[0])


def test_a_released_version_is_released_once(tmp_path: Path) -> None:
    put(tmp_path / "avro", 1, BASE)
    made = contract(tmp_path / "avro")
    released = release(made, tmp_path / "released.json")
    assert released.missing(made.files) == []
    with pytest.raises(ValueError, match="Note version 1 is released already"):
        released.add(made.files, "Note", 1)


def test_the_list_has_a_line_per_version(tmp_path: Path) -> None:
    put(tmp_path / "avro", 1, BASE)
    put(tmp_path / "avro", 2, (*BASE, NULLABLE))
    release(contract(tmp_path / "avro"), tmp_path / "released.json")
    lines = (tmp_path / "released.json").read_text(encoding="utf-8").splitlines()
    assert [line.strip()[:3] for line in lines] == ["{", '"No', '"1"', '"2"', "}", "}"]
    assert '"doc"' not in "".join(lines)


def test_versions_count_from_one_without_a_gap(tmp_path: Path) -> None:
    put(tmp_path / "avro", 3, BASE)
    put(tmp_path / "avro", 1, (*BASE, NULLABLE))
    findings = [str(f) for f in check(contract(tmp_path / "avro", Note), Released(tmp_path / "released.json"))]
    assert findings == ["Note v2: note.v2.avsc is missing: versions count 1, 2, 3"]


def test_a_version_that_is_written_like_another_is_no_version(tmp_path: Path) -> None:
    put(tmp_path / "avro", 1, BASE)
    put(tmp_path / "avro", 2, changed("length", default=1.5))
    findings = [str(f) for f in check(contract(tmp_path / "avro"), Released(tmp_path / "released.json"))]
    assert any(f.startswith("Note v2: is written exactly as v1") for f in findings)


def test_a_type_that_is_called_something_else_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "avro", 1, BASE)
    released = release(contract(tmp_path / "avro"), tmp_path / "released.json")
    renamed = {**schema(BASE), "namespace": f"{NAMESPACE}.more"}
    (tmp_path / "avro" / "note.v2.avsc").write_text(json.dumps(renamed), encoding="utf-8")
    assert any("a type keeps its name" in str(f) for f in check(contract(tmp_path / "avro"), released))


def test_the_contract_of_today_reads_everything_that_was_ever_released_and_keeps_its_rules() -> None:
    assert [str(f) for f in check()] == []
