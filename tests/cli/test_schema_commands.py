"""``emberlog schema``: the contract as people and programs see it, and what they are told where it is broken."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import schemas
from ops.cli.errors import UsageError
from ops.cli.schema import app
from ops.cli.schema_shown import type_named
from schemas.types import COMMANDS, EVENTS, RECORDS
from schemas.versions import FILES
from tests.cli.support import Cli, Inside
from tests.schemas.live_registry import serving

SCHEMAS = Path(schemas.__file__).parent


class Checkout(Cli):
    """Commands that work with a copy of the contract, which a test may change."""

    @property
    def avro(self) -> Path:
        return self.cwd / "schemas" / "avro"

    def edit(self, file: str, change: Any, to: str | None = None) -> None:
        """Apply ``change`` to the JSON of an Avro file, or write the result ``to`` another one."""
        schema = json.loads((self.avro / file).read_text(encoding="utf-8"))
        change(schema)
        (self.avro / (to or file)).write_text(json.dumps(schema), encoding="utf-8")


def checkout(folder: Path, contents: Path) -> Checkout:
    """A checkout in ``folder`` with a copy of the contract."""
    shutil.copytree(contents, folder / "schemas", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pyproject.toml").touch()
    return Checkout(folder, {"PYTHONPATH": str(folder)})


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Commands in an empty folder, in this process: most of these need no other."""
    return Inside(tmp_path)


@pytest.fixture
def copy(tmp_path: Path) -> Checkout:
    return checkout(tmp_path, SCHEMAS)


@pytest.fixture(scope="module")
def frozen_contents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = checkout(tmp_path_factory.mktemp("frozen"), SCHEMAS)
    made.ok("schema", "freeze", "--yes")
    return made.cwd / "schemas"


@pytest.fixture
def frozen(tmp_path: Path, frozen_contents: Path) -> Checkout:
    """A copy in which everything is released."""
    return checkout(tmp_path, frozen_contents)


def field_of(schema: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(f for f in schema["fields"] if f["name"] == name)
    return found


def test_the_list_has_every_type_with_its_kind_topic_version_and_fingerprint(cli: Cli) -> None:
    rows = {row["type"]: row for row in cli.ok("schema", "list", "--json").json}
    assert set(rows) == {kind.__name__ for kind in RECORDS}
    for kind in RECORDS:
        row = rows[kind.__name__]
        assert row["kind"] == ("command" if kind in COMMANDS else "event" if kind in EVENTS else "record")
        assert row["fingerprint"] == FILES.fingerprint(kind.__name__)
        assert row["version"] == FILES.newest(kind.__name__)
    assert rows["Forget"]["topic"] == "memory.commands.v1"
    assert rows["MemoryAdded"]["topic"] == "memory.events.v1"
    shown = cli.ok("schema", "list").out
    assert all(re.search(rf"\b{name}\b.*{row['fingerprint']}", shown) for name, row in rows.items())


def test_a_type_is_shown_field_by_field(cli: Cli) -> None:
    out = cli.ok("schema", "show", "MemoryAdded").out
    assert f"fingerprint {FILES.fingerprint('MemoryAdded')}" in out
    assert re.search(r"content\s+│ Sealed\s+│ pii", out)
    assert re.search(r"Temperature of a new memory", out)
    assert "What every memory event carries." in out


def test_a_type_as_json_is_the_file_itself(cli: Cli) -> None:
    assert cli.ok("schema", "show", "forget", "--json").json == FILES.raw("Forget")


@pytest.mark.parametrize("text", ["MemoryAdded", "memoryadded", "memory_added"])
def test_a_type_is_found_however_it_is_written(text: str) -> None:
    assert type_named(text) == "MemoryAdded"


def test_a_type_that_there_is_not_is_answered_with_what_is_near(cli: Cli) -> None:
    assert "did you mean MemoryAdded?" in cli.fails("schema", "show", "MemoryAded", code=2)
    assert "Forget has no version 99" in cli.fails("schema", "diff", "Forget", "1", "99", code=2)
    assert "give both versions" in cli.fails("schema", "diff", "Forget", "1", code=2)
    with pytest.raises(UsageError) as unknown:
        type_named("Xyzzy")
    assert "emberlog schema list" in str(unknown.value.hint)


def test_help_teaches_what_each_command_is_for(cli: Cli) -> None:
    def text(*command: str) -> str:
        return " ".join(cli.ok(*command, "--help").out.replace("│", " ").split())

    assert "everything ever released can still be read" in text("schema")
    assert "stored golden records are read too" in text("schema", "check")
    assert "no way back" in text("schema", "freeze")
    assert all((command.callback and command.callback.__doc__) for command in app.registered_commands)


def test_the_contract_of_this_checkout_passes(cli: Cli) -> None:
    assert "every rule is kept" in cli.ok("schema", "check").out
    assert cli.ok("schema", "check", "--json").json == []


def test_freezing_asks_first_and_is_done_once(copy: Checkout) -> None:
    before = copy.ok("schema", "list", "--json").json
    waiting = sum(len(set(row["versions"]) - set(row["released"])) for row in before)
    if waiting:
        assert "Aborted" in copy.run("schema", "freeze", input=b"n\n").err
        assert copy.ok("schema", "list", "--json").json == before
        assert f"{waiting} released" in copy.ok("schema", "freeze", input=b"y\n").out
    assert "everything is released already" in copy.ok("schema", "freeze").out
    assert all(row["released"] == row["versions"] for row in copy.ok("schema", "list", "--json").json)
    assert len(list((copy.cwd / "schemas" / "golden").glob("*.bin"))) == sum(len(row["versions"]) for row in before)
    assert "every rule is kept" in copy.ok("schema", "check").out


def test_an_edit_of_what_is_released_fails_the_check_by_type_and_field(frozen: Checkout) -> None:
    frozen.edit("forget.v1.avsc", lambda s: field_of(s, "conversation_end_offset").update(type="string"))
    done = frozen.run("schema", "check")
    assert done.code == 1
    assert "Forget v1: Forget.conversation_end_offset: long became string; it is released and never changes" in done.out
    assert "in the contract" in done.err
    assert "Traceback" not in done.err
    listed = frozen.run("schema", "check", "--json")
    assert listed.code == 1
    assert {finding["name"] for finding in listed.json} == {"Forget"}


def test_a_second_version_that_loses_a_field_fails_and_the_difference_is_shown(frozen: Checkout) -> None:
    def lose(schema: dict[str, Any]) -> None:
        schema["fields"] = [f for f in schema["fields"] if f["name"] != "include_source"]

    frozen.edit("forget.v1.avsc", lose, to="forget.v2.avsc")
    assert "Forget v1 → v2: Forget.include_source: removed" in frozen.run("schema", "check").out
    [row] = frozen.ok("schema", "diff", "Forget", "--json").json["differences"]
    assert (row["field"], row["reads"]) == ("Forget.include_source", False)
    assert "an upcaster" in frozen.ok("schema", "diff", "forget", "1", "2").out
    assert "nothing differs" in frozen.ok("schema", "diff", "Forget", "1", "1").out


def test_a_golden_record_that_is_gone_fails_the_check(frozen: Checkout) -> None:
    (frozen.cwd / "schemas" / "golden" / "pin.v1.bin").unlink()
    done = frozen.run("schema", "check")
    assert done.code == 1
    assert "Pin v1: golden record: there is none" in done.out


def test_a_contract_with_a_fault_is_not_released(copy: Checkout) -> None:
    copy.edit("pin.v1.avsc", lambda s: s["fields"][-1].pop("doc"), to="pin.v2.avsc")
    copy.edit("pin.v2.avsc", lambda s: s["fields"].append({"name": "why", "type": ["null", "string"], "default": None}))
    before = (copy.cwd / "schemas" / "golden").stat().st_mtime_ns
    done = copy.run("schema", "freeze", "--yes")
    assert done.code == 1
    assert "Pin v2: Pin.why: has no doc" in done.out
    assert (copy.cwd / "schemas" / "golden").stat().st_mtime_ns == before


def test_an_installed_package_is_not_released_from(copy: Checkout) -> None:
    (copy.cwd / "pyproject.toml").unlink()
    assert "in a checkout" in copy.fails("schema", "freeze", "--yes", code=2)


@pytest.mark.slow
def test_a_process_whose_registry_refuses_it_ends_with_a_clear_error(tmp_path: Path) -> None:
    with serving(credentials="me:secret") as live:
        here = Cli(
            tmp_path,
            {
                "EMBERLOG_SCHEMA_REGISTRY_URL": live.url.replace("secret", "wrong-word"),
                "EMBERLOG_KAFKA_BOOTSTRAP": "127.0.0.1:9",
                "EMBERLOG_POSTGRES_DSN": "postgresql://u:p@127.0.0.1:9/x",
            },
        )
        error = here.fails("project", "thermal", code=1)
        assert "refuses the user and password" in error
        assert "wrong-word" not in error


@pytest.mark.slow
def test_a_worker_whose_registry_is_away_ends_with_a_clear_error(tmp_path: Path) -> None:
    addresses = {"EMBERLOG_KAFKA_BOOTSTRAP": "127.0.0.1:9", "EMBERLOG_POSTGRES_DSN": "postgresql://u:p@127.0.0.1:9/x"}
    here = Cli(tmp_path, {"EMBERLOG_SCHEMA_REGISTRY_URL": "http://127.0.0.1:9", **addresses})
    error = here.fails("worker", "--agents", "embed", code=3)
    assert "the schema registry at http://127.0.0.1:9 does not answer" in error
    assert "EMBERLOG_SCHEMA_REGISTRY_URL" in error
