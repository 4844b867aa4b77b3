"""Golden records: one of every released type and version, read for ever, and saying for ever the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from schemas.codec import Codec
from schemas.contract import Contract
from schemas.fields import fields_of
from schemas.freezing import NotFit, freeze
from schemas.golden import FOLDER, Golden
from schemas.golden.__main__ import main
from schemas.golden.sample import sample
from schemas.released import Released
from schemas.types import RECORDS
from schemas.upcasters import Upcasters
from schemas.value import Value
from schemas.versions import FILES, file_stem
from schemas.wire import fingerprint_in
from tests.schemas.made_up import BASE, MOOD, Note, changed, contract, put

TITLE = {"name": "title", "type": ["null", "string"], "doc": "Title.", "default": None}


class Walk(Value, frozen=True):
    """The type of ``SECOND``."""

    minutes: float
    mood: Literal["calm", "cross"]


FIRST: tuple[dict[str, Any], ...] = (
    {"name": "seconds", "type": "int", "doc": "How long."},
    {"name": "mood", "type": MOOD, "doc": "How."},
)
SECOND: tuple[dict[str, Any], ...] = ({"name": "minutes", "type": "double", "doc": "How long."}, FIRST[1])


def to_minutes(old: dict[str, Any]) -> dict[str, Any]:
    return {"minutes": old["seconds"] / 60, "mood": old["mood"]}


def frozen(folder: Path, made: Contract) -> tuple[Released, Golden]:
    """The list and the golden records after everything in ``made`` was released."""
    (folder / "golden").mkdir(exist_ok=True)
    released, golden = Released(folder / "released.json"), Golden(folder / "golden", made)
    freeze(made, released, golden)
    return Released(folder / "released.json"), golden


def one_walk(folder: Path) -> tuple[Released, Golden]:
    """Version 1 of ``Walk`` as it was released, by the program of then."""
    put(folder / "avro", 1, FIRST, "Walk")

    class Walk(Value, frozen=True):
        seconds: int
        mood: Literal["calm", "cross"]

    return frozen(folder, contract(folder / "avro", Walk))


def two_walks(folder: Path, upcaster: Any = to_minutes) -> Contract:
    """The contract of today, with a version 2 and an upcaster to it."""
    put(folder / "avro", 2, SECOND, "Walk")
    upcasters = Upcasters()
    upcasters.register("Walk", from_version=1)(upcaster)
    return contract(folder / "avro", Walk, upcasters=upcasters)


def test_every_released_type_and_version_has_its_golden_record_and_is_read_from_it() -> None:
    assert [str(f) for f in Golden().check(Released())] == []


def test_no_golden_record_is_of_a_version_that_was_never_released() -> None:
    released = {f"{file_stem(name)}.v{version}" for name, version, _ in Released()}
    stored = {path.name.split(".bin")[0] for path in FOLDER.iterdir() if path.name.endswith(".bin")}
    assert stored == released


def test_releasing_makes_the_list_and_a_record_that_is_read_back(tmp_path: Path) -> None:
    put(tmp_path / "avro", 1, BASE)
    made = contract(tmp_path / "avro", Note)
    released, golden = frozen(tmp_path, made)
    assert [(name, version) for name, version, _ in released] == [("Note", 1)]
    assert golden.check(released) == []
    stored = golden.bytes_of("Note", 1)
    assert stored is not None
    entry = released.get("Note", 1)
    assert entry is not None
    assert fingerprint_in(stored) == entry.fingerprint
    note = Codec(made).decode(stored)
    assert isinstance(note, Note)
    assert (note.text, note.mood, len(note.places), note.at.tzinfo is not None) == ("Note.text 2 ñ", "cross", 2, True)
    assert golden.content_of("Note", 1)["author"]["data"] == "Sealed.data 1 ñ"
    assert freeze(made, released, golden) == [], "nothing is left to release"


def test_an_existing_record_is_never_overwritten(tmp_path: Path) -> None:
    put(tmp_path / "avro", 1, BASE)
    _, golden = frozen(tmp_path, contract(tmp_path / "avro", Note))
    for path in (tmp_path / "golden").iterdir():
        path.write_bytes(b"kept")
    assert golden.write("Note", 1) == []
    assert {path.read_bytes() for path in (tmp_path / "golden").iterdir()} == {b"kept"}


@pytest.mark.parametrize(
    ("file", "says"), [("note.v1.bin", "there is none; make it with"), ("note.v1.json", "note.v1.json is missing")]
)
def test_a_released_version_without_its_record_is_a_fault(tmp_path: Path, file: str, says: str) -> None:
    put(tmp_path / "avro", 1, BASE)
    released, golden = frozen(tmp_path, contract(tmp_path / "avro", Note))
    (tmp_path / "golden" / file).unlink()
    [finding] = golden.check(released)
    assert str(finding).startswith("Note v1: golden record: ")
    assert says in str(finding)
    golden.write("Note", 1)
    assert golden.check(released) == []


def test_a_record_that_says_something_else_is_a_fault_by_its_field(tmp_path: Path) -> None:
    put(tmp_path / "avro", 1, BASE)
    released, golden = frozen(tmp_path, contract(tmp_path / "avro", Note))
    path = tmp_path / "golden" / "note.v1.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["places"][1]["city"] = "elsewhere"
    path.write_text(json.dumps(content), encoding="utf-8")
    findings = golden.check(released)
    assert str(findings[0]) == "Note v1: golden record: says something else as version 1: places[1].city"
    assert "elsewhere" not in str(findings)


def test_bytes_that_broke_are_a_fault(tmp_path: Path) -> None:
    put(tmp_path / "avro", 1, BASE)
    released, golden = frozen(tmp_path, contract(tmp_path / "avro", Note))
    path = tmp_path / "golden" / "note.v1.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    assert "cannot be read as version 1" in str(golden.check(released)[0])
    path.write_bytes(whole[:2] + bytes(8) + whole[10:])
    assert "of another schema than the released one" in str(golden.check(released)[0])


def test_a_file_that_changed_under_its_record_is_a_fault(tmp_path: Path) -> None:
    put(tmp_path / "avro", 1, BASE)
    released, _ = frozen(tmp_path, contract(tmp_path / "avro", Note))
    put(tmp_path / "avro", 1, changed("size", type="long"))
    assert Golden(tmp_path / "golden", contract(tmp_path / "avro", Note)).check(released) != []


def test_a_second_version_keeps_what_the_first_says_in_its_words(tmp_path: Path) -> None:
    one_walk(tmp_path)
    made = two_walks(tmp_path)
    released, golden = frozen(tmp_path, made)
    assert sorted(path.name for path in (tmp_path / "golden").iterdir()) == [
        "walk.v1.as_v2.json",
        "walk.v1.bin",
        "walk.v1.json",
        "walk.v2.bin",
        "walk.v2.json",
    ]
    assert golden.content_of("Walk", 1) == {"seconds": 1, "mood": "cross"}
    assert golden.content_of("Walk", 1, 2) == {"minutes": 1 / 60, "mood": "cross"}
    assert golden.check(released) == []


def test_an_upcaster_that_changed_after_its_release_is_a_fault(tmp_path: Path) -> None:
    one_walk(tmp_path)
    released, _ = frozen(tmp_path, two_walks(tmp_path))
    other = two_walks(tmp_path, lambda old: {"minutes": old["seconds"] / 3600, "mood": old["mood"]})
    [finding] = Golden(tmp_path / "golden", other).check(released)
    assert str(finding) == "Walk v1: golden record: says something else as version 2: minutes"


def test_an_upcaster_that_was_taken_away_is_a_fault(tmp_path: Path) -> None:
    one_walk(tmp_path)
    released, _ = frozen(tmp_path, two_walks(tmp_path))
    assert "cannot be read as version 2" in str(Golden(tmp_path / "golden", contract(tmp_path / "avro", Walk)).check(released))


def test_a_contract_with_a_fault_is_not_released(tmp_path: Path) -> None:
    put(tmp_path / "avro", 1, changed("text", doc=None))
    with pytest.raises(NotFit) as refused:
        frozen(tmp_path, contract(tmp_path / "avro", Note))
    assert [str(f) for f in refused.value.findings] == ["Note v1: Note.text: has no doc"]
    assert not (tmp_path / "released.json").exists()
    assert list((tmp_path / "golden").iterdir()) == []


def test_a_record_made_before_its_schema_was_final_stops_the_release(tmp_path: Path) -> None:
    put(tmp_path / "avro", 1, BASE)
    (tmp_path / "golden").mkdir()
    Golden(tmp_path / "golden", contract(tmp_path / "avro", Note)).write("Note", 1)
    put(tmp_path / "avro", 1, changed("size", type="long"))
    with pytest.raises(NotFit) as refused:
        frozen(tmp_path, contract(tmp_path / "avro", Note))
    assert "of another schema than the released one" in str(refused.value.findings[0])
    assert not (tmp_path / "released.json").exists()


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_a_sample_fills_every_field_with_a_value_of_its_own(kind: type[Any]) -> None:
    schema = FILES.raw(kind.__name__)
    values = sample(schema)
    assert values == sample(schema)
    seen: list[Any] = []

    def look(value: Any) -> None:
        assert value is not None
        assert value not in ([], {})
        for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            look(part)
        if not isinstance(value, dict | list | bool) and value not in {s for f in fields_of(schema) for s in f.symbols}:
            seen.append(value)

    look(values)
    assert len(seen) == len(set(seen))


def test_the_writer_refuses_a_name_that_is_no_type(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["Nothing"]) == 2
    assert "no schema Nothing" in capsys.readouterr().err
