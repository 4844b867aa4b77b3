"""What the command line says where nothing runs: help, settings, and errors that tell what to do."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops.cli.main import app
from tests.cli.support import Cli, Inside

COMMANDS = (
    "demo", "up", "publish", "recall", "forget", "erase", "receipt", "remember", "revise", "pin", "unpin", "link", "unlink",
    "tail", "status", "counts", "verify", "rebuild", "setup", "worker", "project", "settings", "parked list", "parked show",
    "parked retry", "parked drop", "owner show", "owner alias", "owner list", "keys check", "keys backup", "keys restore",
    "keys rotate", "vacuum", "redecide", "reembed", "undo", "promote", "rollback", "generations",
    "health", "replay", "as-of",
)  # fmt: skip
NEED_A_RUNNING_SET = (
    ("tail",), ("recall", "x", "--owner", "u-1"), ("verify",), ("parked", "retry", "--all"), ("status",), ("worker",),
    ("publish", "--owner", "u-1", "--text", "hello"), ("remember", "hello", "--owner", "u-1"), ("pin", "1234", "--owner", "u-1"),
    ("erase", "u-1"), ("owner", "show", "u-1"), ("keys", "check"), ("replay", "--topic", "events", "--from-offset", "0"),
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    done = CliRunner().invoke(app, [*command.split(), "--help"], prog_name="emberlog")
    assert done.exit_code == 0
    assert f"emberlog {command}" in " ".join(done.output.split())
    assert len(done.output.split()) > 15


def test_help_imports_nothing_heavy() -> None:
    program = "import sys; from ops.cli import main; print(*{m.partition('.')[0] for m in sys.modules})"
    loaded = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"aiokafka", "faust", "mem0", "numpy", "openai", "psycopg", "pydantic", "sqlalchemy", "redis"} & set(loaded)


@pytest.mark.parametrize("command", NEED_A_RUNNING_SET, ids=lambda c: " ".join(c[:2]))
def test_where_nothing_runs_a_command_says_how_to_start(tmp_path: Path, command: tuple[str, ...]) -> None:
    error = Inside(tmp_path).fails(*command, code=3)
    assert "nothing runs on .emberlog" in error
    assert "start it with: emberlog up" in error


def test_one_address_alone_is_refused(tmp_path: Path) -> None:
    error = Cli(tmp_path, {"EMBERLOG_KAFKA_BOOTSTRAP": "localhost:1"}).fails("status", code=1)
    assert "EMBERLOG_POSTGRES_DSN" in error


@pytest.mark.slow
def test_services_that_do_not_answer_are_named_without_their_password(tmp_path: Path) -> None:
    away = {
        "EMBERLOG_KAFKA_BOOTSTRAP": "127.0.0.1:9",
        "EMBERLOG_POSTGRES_DSN": "postgresql://emberlog:correct-horse@127.0.0.1:9/emberlog",
        "EMBERLOG_MASTER_KEY": "A" * 43 + "=",
    }
    cli = Cli(tmp_path, away)
    commands = (("tail",), ("counts",), ("verify", "thermal"), ("publish", "--owner", "u", "--text", "hello"), ("setup",))
    with ThreadPoolExecutor() as side_by_side:  # each waits some seconds for an answer
        errors = list(side_by_side.map(lambda command: cli.fails(*command, code=3), commands))
    for error in errors:
        assert "cannot be reached" in error or "does not answer" in error
        assert "correct-horse" not in error
        assert "error connecting" not in error, "a pool's own words"
    done = cli.run("status")
    assert done.code == 3
    assert "Kafka does not answer" in done.out
    assert "correct-horse" not in done.out + done.err


def test_wrong_settings_are_told_before_anything_else(tmp_path: Path) -> None:
    error = Inside(tmp_path, {"EMBERLOG_PARTITIONS": "many", "EMBERLOG_LOG_LEVEL": "loud"}).fails("status", code=2)
    assert "EMBERLOG_PARTITIONS" in error
    assert "EMBERLOG_LOG_LEVEL" in error


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("publish",), "either a file of JSON lines or --text"),
        (("publish", "--text", "hello"), "--text needs --owner"),
        (("publish", "--owner", "a/b/c", "--text", "hello"), "an owner's kind is one of"),
        (("publish", "none.ndjson"), "none.ndjson cannot be read"),
        (("recall", "x", "--owner", "default/person/u"), "write an owner as default/user/u-1"),
        (("worker", "--agents", "admit,guess"), "agents are admit, extract, decide, embed"),
        (("project", "everything"), "views are thermal, graph"),
        (("project", "--partitions", "3-1"), "name them as 0,1 or 0-3"),
        (("verify", "everything"), "views are thermal, graph"),
        (("demo", "--limit", "3"), "--limit belongs to --locomo"),
        (("demo", "--locomo", "none.json"), "none.json cannot be read"),
        (("parked", "retry"), "say which"),
    ],
)
def test_wrong_input_is_told_with_what_would_be_right(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    done = Inside(tmp_path).run(*arguments)
    assert done.code in (1, 2)
    assert says in " ".join(done.err.split())
    assert "Traceback" not in done.err


def test_a_file_with_wrong_lines_is_refused_whole_with_each_line_named(tmp_path: Path) -> None:
    good = '{"owner": "u-1", "session_id": "s", "messages": [{"role": "user", "content": "hello"}]}'
    lines = [good, "not json", '{"owner": "u-1", "messages": []}', "", '{"owner": "x/y/z", "session_id": "s", "messages": [1]}']
    (tmp_path / "turns.ndjson").write_text("\n".join(lines))
    error = Inside(tmp_path).fails("publish", "turns.ndjson", code=2)
    assert "turns.ndjson:2: not JSON" in error
    assert "turns.ndjson:3: " in error
    assert "turns.ndjson:5: " in error
    assert "turns.ndjson:1" not in error
    assert "nothing was published" in error


def test_settings_are_shown_with_source_and_masked(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("VLLM_API_KEY=sk-battery-staple\nEMBERLOG_PARTITON=3\n")
    cli = Inside(tmp_path, {"EMBERLOG_PARTITIONS": "8"})
    done = cli.ok("settings")
    assert "battery-staple" not in done.out
    assert "did you mean EMBERLOG_PARTITIONS?" in done.err
    shown = {row["name"]: row for row in cli.ok("settings", "--json").json}
    assert shown["EMBERLOG_PARTITIONS"]["source"] == "environment"
    assert shown["VLLM_API_KEY"] == {**shown["VLLM_API_KEY"], "value": "********", "source": ".env", "secret": True}
    assert all(row["doc"] for row in shown.values())


def test_settings_explain_themselves_even_where_a_value_is_wrong(tmp_path: Path) -> None:
    cli = Inside(tmp_path, {"EMBERLOG_PARTITIONS": "many"})
    cli.fails("settings", code=2)
    assert "EMBERLOG_PARTITIONS" in cli.ok("settings", "--doc").out


def test_the_version_is_told(cli: Cli) -> None:
    assert cli.ok("--version").out.strip()[0].isdigit()
