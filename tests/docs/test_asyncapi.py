"""docs/asyncapi.yaml: in step with the schemas, valid by the AsyncAPI specification, and true of what stands on the topics."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import fastavro
import pytest
from jsonschema import Draft7Validator  # type: ignore[import-untyped]
from jsonschema.exceptions import ValidationError  # type: ignore[import-untyped]
from msgspec.structs import fields
from ruamel.yaml import YAML

from schemas import envelope
from schemas.asyncapi import document
from schemas.asyncapi.__main__ import main
from schemas.asyncapi.channels import CHANNELS
from schemas.topic_records import TOPIC_RECORDS, topic_of
from schemas.topics import Topics
from schemas.types import EVENTS, RECORDS, InboxTurn, Record
from schemas.versions import FILES, fingerprint_of
from tests.docs.asyncapi_specification import LOCKS, SpecificationMissing, SpecificationWrong, specification

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs" / "asyncapi.yaml"
DOCUMENT = document()
MESSAGES: dict[str, dict[str, Any]] = DOCUMENT["components"]["messages"]
DESCRIBED = [kind for kind in RECORDS if kind.__name__ in MESSAGES]
WHEN = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)

BREAKAGES = {
    "an action that is none": ("action: send\n", "action: sned\n"),
    "a misspelt field": ("address: memory.events.v1", "adress: memory.events.v1"),
    "a topic without partitions": ("partitions: 4", "partitions: 0"),
    "an Avro record without a name": ("          name: MemoryAdded\n", "          nam: MemoryAdded\n"),
    "another version of AsyncAPI": ("asyncapi: 3.0.0", "asyncapi: 2.6.0"),
}


def values(content: Any, name: str) -> Iterator[Any]:
    """Every value under key ``name``, at any depth."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key == name:
                yield value
            yield from values(value, name)
    elif isinstance(content, list):
        for value in content:
            yield from values(value, name)


def follow(reference: str) -> Any:
    """What a reference inside the document leads to. Raises KeyError."""
    found: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def headers_of(message: dict[str, Any]) -> dict[str, Any]:
    """A message's header schema with those of its traits merged in, the message's own coming last."""
    merged: dict[str, Any] = {"type": "object", "required": [], "properties": {}}
    for part in (*(follow(trait["$ref"]) for trait in message.get("traits", ())), message):
        headers = part.get("headers", {})
        merged["required"] = headers.get("required", merged["required"])
        for name, schema in headers.get("properties", {}).items():
            merged["properties"][name] = merged["properties"].get(name, {}) | schema
    return merged


# -- in step


def test_the_committed_file_is_what_the_schemas_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", str(FILE)]) == 0, capsys.readouterr().err


def test_a_file_that_is_out_of_step_is_told_how_to_be_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stale = tmp_path / "asyncapi.yaml"
    stale.write_text(FILE.read_text(encoding="utf-8").replace("title: Inbox\n", "title: Outbox\n", 1), encoding="utf-8")
    assert main(["--check", str(stale)]) == 1
    assert "python -m schemas.asyncapi > docs/asyncapi.yaml" in capsys.readouterr().err


def test_the_yaml_reads_back_as_the_document() -> None:
    text = FILE.read_text(encoding="utf-8")
    assert YAML(typ="safe").load(text) == DOCUMENT
    assert not re.search(r"[&*]id\d+", text), "every part is written out"


# -- valid


def check(*files: Path) -> dict[str, Any]:
    """The report of check-jsonschema on ``files`` against the specification. Skips where that cannot be had."""
    try:
        schema = specification()
    except SpecificationMissing as missing:
        pytest.skip(str(missing))
    tool = Path(sys.executable).with_name("check-jsonschema")
    command = [str(tool), "--output-format", "json", "--schemafile", str(schema), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    report: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode == 0) == (report["status"] == "ok"), done.stderr
    return report


def test_the_document_is_valid_by_the_specification_of_asyncapi() -> None:
    report = check(FILE)
    assert report["status"] == "ok", report


def test_the_validation_finds_each_of_several_faults(tmp_path: Path) -> None:
    text = FILE.read_text(encoding="utf-8")
    broken: dict[Path, str] = {}
    for number, (fault, (right, wrong)) in enumerate(BREAKAGES.items()):
        assert right in text, fault
        file = tmp_path / f"{number}.yaml"
        file.write_text(text.replace(right, wrong, 1), encoding="utf-8")
        broken[file] = fault
    report = check(*broken)
    found = {broken[Path(error["filename"])] for error in report["errors"]}
    assert found == set(BREAKAGES)


def test_every_reference_leads_somewhere_and_operations_keep_to_their_channel() -> None:
    references = list(values(DOCUMENT, "$ref"))
    assert references
    for reference in references:
        assert follow(reference) is not None
    for operation in DOCUMENT["operations"].values():
        channel = operation["channel"]["$ref"]
        assert all(message["$ref"].startswith(f"{channel}/messages/") for message in operation["messages"])


@pytest.mark.parametrize("name", [kind.__name__ for kind in DESCRIBED])
def test_a_payload_is_an_avro_schema_with_the_fingerprint_that_stands_on_the_wire(name: str) -> None:
    message = MESSAGES[name]
    schema = message["payload"]["schema"]
    fastavro.parse_schema(json.loads(json.dumps(schema)))
    assert schema == json.loads(FILES.text(name))
    assert message["x-fingerprints"][f"v{FILES.newest(name)}"] == fingerprint_of(schema)


# -- true


def test_every_record_type_stands_on_exactly_one_topic() -> None:
    listed = [kind for kinds in TOPIC_RECORDS.values() for kind in kinds]
    assert sorted(k.__name__ for k in listed) == sorted(k.__name__ for k in RECORDS)
    assert all(kind in TOPIC_RECORDS[topic_of(kind)] for kind in RECORDS)
    assert TOPIC_RECORDS.keys() == CHANNELS.keys()


def test_every_topic_is_a_channel_with_the_settings_that_it_is_made_with() -> None:
    channels = {channel["address"]: channel for channel in DOCUMENT["channels"].values()}
    assert set(channels) == {spec.name for spec in Topics().specs()}
    for spec in Topics().specs():
        binding = channels[spec.name]["bindings"]["kafka"]
        assert binding["partitions"] == spec.partitions
        stated = {k: ",".join(v) if isinstance(v, list) else str(v) for k, v in binding["topicConfiguration"].items()}
        assert stated == spec.config


def test_the_document_follows_the_prefix_and_partitions_of_an_installation() -> None:
    channel = document(Topics(partitions=12, prefix="blue."))["channels"]["events"]
    assert channel["address"] == "blue.memory.events.v1"
    assert channel["bindings"]["kafka"]["partitions"] == 12


@pytest.mark.parametrize("kind", [kind for kind in DESCRIBED if kind is not InboxTurn])
def test_the_headers_that_are_written_are_those_that_the_document_describes(kind: type[Record]) -> None:
    record = cast(Any, kind)(*(None for _ in kind.__struct_fields__))  # headers say nothing of the fields
    extra: dict[str, str | int] = {}
    if kind in EVENTS:
        names = ("sequence", "causationid", "deciderversion", "slicefirst", "slicesize")
        extra = dict.fromkeys(names, 1) | {"sliceid": "a-1"}
    written = envelope.headers_for(record, id="1", source="emberlog/test", subject="o-1", time=WHEN, extra=extra)
    headers = {name: value.decode() for name, value in written}
    schema = headers_of(MESSAGES[kind.__name__])
    Draft7Validator(schema).validate(headers)
    assert headers.keys() <= schema["properties"].keys()
    for name in schema["required"]:
        with pytest.raises(ValidationError):
            Draft7Validator(schema).validate({k: v for k, v in headers.items() if k != name})
    with pytest.raises(ValidationError):
        Draft7Validator(schema).validate(headers | {"ce_type": "emberlog.Another.v1"})


def test_personal_fields_are_named_in_their_message() -> None:
    for name, message in MESSAGES.items():
        if name.endswith("Tombstone"):
            continue
        schema = json.loads(FILES.text(name.removesuffix("Json")))
        marked = {field["name"] for group in values(schema, "fields") for field in group if field.get("pii")}
        assert {path.rpartition(".")[2].rstrip("[]{}") for path in message["x-pii"]} == marked, name
    assert "content" in MESSAGES["MemoryAdded"]["x-pii"]
    assert "messages[].content" in MESSAGES["ConversationTurn"]["x-pii"]


def test_the_json_form_of_a_turn_has_the_fields_of_the_type_and_its_example_fits() -> None:
    message = MESSAGES["InboxTurnJson"]
    form = message["payload"]
    assert list(form["properties"]) == [field.name for field in fields(InboxTurn)]
    (example,) = message["examples"]
    Draft7Validator(form).validate(example["payload"])
    for field, wrong in (("messages", "hello"), ("owner", None), ("occurred_at", 1)):
        with pytest.raises(ValidationError):
            Draft7Validator(form).validate(example["payload"] | {field: wrong})


def test_the_turn_that_the_kcat_line_sends_has_the_json_form() -> None:
    line = (ROOT / "docs" / "examples" / "publish.sh").read_text(encoding="utf-8")
    (turn,) = re.findall(r"^echo '(.*)' \|$", line, re.MULTILINE)
    Draft7Validator(MESSAGES["InboxTurnJson"]["payload"]).validate(json.loads(turn))


# -- the specification's lock


def test_the_lock_of_the_specification_holds_versions_and_checksums_and_no_address() -> None:
    for file in LOCKS.iterdir():
        assert "://" not in file.read_text(encoding="utf-8"), file.name
    packages = json.loads((LOCKS / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    wanted = json.loads((LOCKS / "package.json").read_text(encoding="utf-8"))["dependencies"]
    for name, version in wanted.items():
        assert packages[f"node_modules/{name}"]["version"] == version
    for name, package in packages.items():
        assert not name or package["integrity"].startswith("sha512-"), name


def test_a_specification_with_another_checksum_is_refused(tmp_path: Path) -> None:
    locks = tmp_path / "locks"
    shutil.copytree(LOCKS, locks)
    file = locks / "package-lock.json"
    file.write_text(re.sub(r'"sha512-\w{4}', '"sha512-AAAA', file.read_text(encoding="utf-8")), encoding="utf-8")
    try:
        with pytest.raises(SpecificationWrong):
            specification(locks, tmp_path / "cache")
    except SpecificationMissing as missing:
        pytest.skip(str(missing))
    assert not list((tmp_path / "cache").rglob("*.json"))


def test_without_npm_the_reason_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SpecificationMissing, match="npm is not installed"):
        specification(LOCKS, tmp_path / "cache")
