"""``emberlog rebuild``, ``promote``, ``rollback`` and ``generations`` on what runs; rebuilds that are killed or stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import Cli, Inside, until
from tests.line.support.held import Held
from tests.line.support.process import ROOT

HELD = "from tests.line.support.held import install; install(); from ops.cli.main import main; main()"
FIRST_BATCH = "after 1 projections.applier:Applier.apply"
READ, FOLDS = "after 1 projections.bulk.crew:read_all", "before 1 projections.bulk.folding:Folder.fold"
IN_BULK = ("thermal", "parked")
BY_RECORD = "current"
"""A view that is not loaded in bulk, but record by record: what is done of it is kept."""


def states(inside: Inside, view: str = "thermal") -> dict[str, int]:
    """Number by state."""
    return {each["state"]: each["generation"] for each in inside.ok("generations", view, "--json").json}


@pytest.fixture
def clean(inside: Inside) -> Inside:
    """Something is remembered, and the archive has its live generation only."""
    inside.ok("publish", "--owner", "lia", "--text", "I am afraid of heights.", "--wait")
    for view in (*IN_BULK, BY_RECORD):
        for state, number in states(inside, view).items():
            if state != "live":
                inside.ok("generations", "--drop", f"{view}/{number}")
    return inside


@contextmanager
def standing(running: Cli, folder: Path, *arguments: str, place: str = FIRST_BATCH) -> Iterator[subprocess.Popen[bytes]]:
    """A command that has folded and committed its first batch, or is at another ``place``, and stands there."""
    held = Held(place, folder)
    environment = {**running.variables(), "EMBERLOG_DATA_DIR": str(running.cwd / ".emberlog"), **held.environment}
    process = subprocess.Popen(
        [sys.executable, "-c", HELD, *arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        until(lambda: held.reached or process.poll() is not None, 60)
        assert process.poll() is None, process.communicate()
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_a_rebuilt_view_is_ready_then_promoted_then_rolled_back(clean: Inside) -> None:
    live = states(clean)["live"]
    rebuilt = clean.ok("rebuild", "thermal")
    assert "equal" in rebuilt.out
    assert f"generation {live + 1} of thermal is ready: emberlog promote thermal" in rebuilt.out
    assert states(clean) == {"live": live, "ready": live + 1}
    clean.ok("publish", "--owner", "lia", "--text", "I moved to Lima in spring.", "--wait")
    assert f"generation {live + 1} of thermal is live, {live} is kept" in clean.ok("promote", "thermal").out
    clean.ok("publish", "--owner", "lia", "--text", "I sing in a choir on Mondays.", "--wait")
    assert len(clean.ok("recall", "heights Lima choir", "--owner", "lia", "--json").json["answers"]) == 3
    said = clean.ok("rollback", "thermal").out
    assert f"what was generation {live} of thermal is live again, as generation {live + 2}; {live + 1} is kept" in said
    assert len(clean.ok("recall", "heights Lima choir", "--owner", "lia", "--json").json["answers"]) == 3
    listed = clean.ok("generations").out
    assert "records behind" in listed
    assert listed.count("live") >= 4
    assert clean.ok("verify", "--all", "--json").json[0]["equal"]


def test_what_cannot_be_done_with_generations_says_what_to_do(clean: Inside) -> None:
    live = states(clean)["live"]
    assert "`emberlog rebuild thermal`" in clean.fails("promote", "thermal", code=1)
    assert "no generation of view thermal is kept" in clean.fails("rollback", "thermal", code=1)
    assert "is live" in clean.fails("generations", "--drop", f"thermal/{live}", code=1)
    assert "write it as VIEW/N" in clean.fails("generations", "--drop", "thermal", code=2)
    assert "say which views, or --all" in clean.fails("rebuild", code=2)
    assert "--force belongs to --promote" in clean.fails("rebuild", "thermal", "--force", code=2)
    assert "there is no view termal" in clean.fails("promote", "termal", code=2)


def test_several_views_are_rebuilt_and_promoted_together(clean: Inside) -> None:
    reports = clean.ok("rebuild", "thermal", "parked", "--promote", "--json").json
    assert [(r["view"], r["equal"], r["promoted"]) for r in reports] == [("thermal", True, True), ("parked", True, True)]


def test_a_rebuild_that_is_killed_is_gone_on_with_where_it_stood(clean: Inside, running: Cli, tmp_path: Path) -> None:
    whole = clean.ok("verify", BY_RECORD, "--json").json["records"]
    with standing(running, tmp_path, "rebuild", BY_RECORD) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(20)
    assert set(states(clean, BY_RECORD)) == {"live", "building"}
    again: dict[str, Any] = clean.ok("rebuild", BY_RECORD, "--promote", "--json").json
    assert (again["resumed"], again["equal"], again["promoted"]) == (True, True, True)
    assert again["records"] < whole


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_rebuild_that_is_stopped_says_how_to_go_on(clean: Inside, running: Cli, tmp_path: Path, number: signal.Signals) -> None:
    with standing(running, tmp_path, "rebuild", BY_RECORD, "--promote") as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert out == b""
    assert err.decode().splitlines() == [
        "error: the rebuild of current was stopped before its end",
        "  what is done is kept; go on with: emberlog rebuild current --promote",
    ]
    assert set(states(clean, BY_RECORD)) == {"live", "building"}
    assert clean.ok("rebuild", BY_RECORD, "--json").json["resumed"]
    assert set(states(clean, BY_RECORD)) == {"live", "ready"}


def test_a_load_that_is_killed_is_gone_on_with_from_what_it_had_read(clean: Inside, running: Cli, tmp_path: Path) -> None:
    files = running.cwd / ".emberlog" / "rebuilding"
    with standing(running, tmp_path, "rebuild", *IN_BULK, "--workers", "1", place=FOLDS) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(20)
    assert [set(states(clean, view)) for view in IN_BULK] == [{"live", "building"}] * 2
    assert len(list(files.glob("*/manifest.json"))) == 1
    reports = clean.ok("rebuild", *IN_BULK, "--json").json
    assert [(r["view"], r["resumed"], r["equal"]) for r in reports] == [(view, True, True) for view in IN_BULK]
    assert not files.exists()


@pytest.mark.parametrize(("place", "kept"), [(READ, "the log is read anew by"), (FOLDS, "what is done is kept; go on with")])
@pytest.mark.slow
def test_a_load_that_is_stopped_says_what_is_kept(clean: Inside, running: Cli, tmp_path: Path, place: str, kept: str) -> None:
    files = running.cwd / ".emberlog" / "rebuilding"
    with standing(running, tmp_path, "rebuild", *IN_BULK, "--promote", place=place) as process:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert err.decode().splitlines() == [
        "error: the rebuild of thermal, parked was stopped before its end",
        f"  {kept}: emberlog rebuild thermal parked --promote",
    ]
    assert files.exists() == (place == FOLDS)
    resumed = [report["resumed"] for report in clean.ok("rebuild", *IN_BULK, "--json").json]
    assert resumed == [place == FOLDS] * 2


@pytest.mark.slow
def test_processes_share_the_work_of_a_rebuild(clean: Inside) -> None:
    reports = clean.ok("rebuild", *IN_BULK, "graph", "brain", "--workers", "2", "--json").json
    assert [(report["view"], report["equal"]) for report in reports] == [(v, True) for v in (*IN_BULK, "graph", "brain")]
