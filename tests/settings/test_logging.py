"""Log lines: readable in both formats, and without content by construction."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from ops.logging import WITHHELD, configure_logging, log_to_stderr
from schemas.errors import BrokenRecord

FACT = "the locker code is 4417"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_our_lines_and_those_of_dependencies_come_in_one_format(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    structlog.get_logger("ops.x").info("ready", pid=7)
    logging.getLogger("aiokafka.client").warning("no route to %s", "broker")
    ours, theirs = _lines(capsys)
    assert (ours["event"], ours["pid"], ours["level"], ours["logger"]) == ("ready", 7, "info", "ops.x")
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("no route to broker", "warning", "aiokafka.client")
    assert ours.keys() >= {"timestamp"} <= theirs.keys()


def test_fields_with_telling_names_lose_their_value_and_counts_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    structlog.get_logger("ops.x").info("done", content=FACT, messages=[FACT], user_id="ana@example.org", facts=3)
    [line] = _lines(capsys)
    assert line["content"] == line["messages"] == line["user_id"] == WITHHELD
    assert line["facts"] == 3


@pytest.mark.parametrize("format", ["json", "console"])
def test_an_exception_shows_its_type_and_place_and_never_its_text(capsys: pytest.CaptureFixture[str], format: str) -> None:
    configure_logging("info", format)
    try:
        raise ValueError(f"Failing row contains ({FACT})")
    except ValueError as error:
        structlog.get_logger("ops.x").exception("failed")
        structlog.get_logger("ops.x").warning("again", reason=error)
        logging.getLogger("faust.agents").error("Crashed reason=%r", error, exc_info=True)
    text = capsys.readouterr().err
    assert FACT not in text
    assert text.count("ValueError") >= 3
    assert "test_logging.py" in text


def test_an_error_of_our_own_keeps_its_text_which_is_free_of_content(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    structlog.get_logger("ops.x").warning("skipped", reason=BrokenRecord("the key is not memory_id/head/model"))
    [line] = _lines(capsys)
    assert line["reason"] == "BrokenRecord: the key is not memory_id/head/model"


def test_dependencies_do_not_drown_our_own_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug", "json")
    for name in ("aiokafka", "faust.app", "mem0.memory.main", "httpx", "openai._base_client"):
        logging.getLogger(name).info(FACT)
    logging.getLogger("mem0.memory.main").error(FACT)
    structlog.get_logger("streams.x").debug("ours")
    assert [line["event"] for line in _lines(capsys)] == ["ours"]


def test_what_a_command_warns_of_is_not_among_what_it_answers(capsys: pytest.CaptureFixture[str]) -> None:
    before = structlog.get_config()
    try:
        log_to_stderr()
        structlog.get_logger("a view").warning("records skipped", count=1, content="secret words")
    finally:
        structlog.configure(**before)
    out, err = capsys.readouterr()
    assert out == ""
    assert "records skipped" in err
    assert "secret words" not in err
