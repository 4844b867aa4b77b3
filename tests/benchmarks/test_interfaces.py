"""Each benchmark as its users call it, at the smallest size: real broker, database and processes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from projections.view import ViewSettings
from projections.views import build_views

FIELDS = {"benchmark", "sizes", "figures", "ratios", "goals", "met", "machine", "date"}
DEADLINE_S = 480


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for a benchmark's own temporary one, open to other users: run by root, the database runs as one of them."""
    made = Path(tempfile.mkdtemp(prefix="emberlog-test-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def run(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    environment = {**os.environ, **({} if folder is None else {"TMPDIR": str(folder)})}
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False, env=environment)


def last_line(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def dialogue(number: int) -> list[dict[str, str]]:
    said = [
        ("Ada", "I finally adopted a greyhound called Pim."),
        ("Ben", "Lovely! I have started to learn the cello."),
        ("Ada", "Good luck with it."),
    ]
    return [{"speaker": who, "dia_id": f"D{number}:{i}", "text": f"{what} #{number}"} for i, (who, what) in enumerate(said, 1)]


def small_locomo() -> list[dict[str, Any]]:
    """Two sessions of three turns in the set's form; the second session's canoe is nowhere in the observations."""
    second = [*dialogue(2)[:2], {"speaker": "Ben", "dia_id": "D2:3", "text": "My canoe sank in the harbour."}]
    return [
        {
            "sample_id": "conv-1",
            "conversation": {
                "speaker_a": "Ada",
                "speaker_b": "Ben",
                "session_1_date_time": "1:56 pm on 8 May, 2023",
                "session_1": dialogue(1),
                "session_2_date_time": "9:10 am on 2 June, 2023",
                "session_2": second,
            },
            "observation": {
                "session_1_observation": {
                    "Ada": [["Ada adopted a greyhound called Pim.", "D1:1"]],
                    "Ben": [["Ben is learning to play the cello.", "D1:2"]],
                },
            },
            "qa": [
                {"question": "Which dog did Ada adopt?", "answer": "a greyhound", "category": 4, "evidence": ["D1:1"]},
                {"question": "Which instrument does Ben learn?", "answer": "cello", "category": 1, "evidence": ["D1:2"]},
                {"question": "What sank in the harbour?", "answer": "his canoe", "category": 4, "evidence": ["D2:3"]},
                {"question": "Who is Zoe?", "category": 5, "evidence": ["D"]},
            ],
        }
    ]


@pytest.mark.slow
def test_locomo_without_its_data_skips_with_a_word() -> None:
    assert "--data" in last_line(run("benchmarks.locomo", "--small"))["skipped"]
    assert "no file" in last_line(run("benchmarks.locomo", "--data", "nowhere.json"))["skipped"]


@pytest.mark.slow
def test_locomo_refuses_a_file_of_another_form(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"not": "locomo"}')
    done = run("benchmarks.locomo", "--data", str(other))
    assert done.returncode == 1
    assert done.stdout == ""
    assert "LoCoMo" in done.stderr


@pytest.mark.slow
def test_locomo_plays_a_conversation_through_the_line_and_scores_its_questions(tmp_path: Path, folder: Path) -> None:
    data = tmp_path / "small.json"
    data.write_text(json.dumps(small_locomo()))
    found = last_line(run("benchmarks.locomo", "--json", "--data", str(data), folder=folder))
    assert set(found) == FIELDS
    sizes, figures = found["sizes"], found["figures"]
    assert (sizes["turns"], sizes["memories"], sizes["questions"]) == (6, 2, 3)
    assert (sizes["questions_without_evidence"], sizes["evidence_left_out"]) == (1, 1)
    # two facts are remembered and found; the third question's turn has no memory, which plain BM25 on the turns finds
    assert figures["turn_r10"] == figures["answerable"] == pytest.approx(2 / 3, abs=1e-4)
    assert figures["bm25_turn_r10"] == 1
    assert figures["mrr"] == pytest.approx(2 / 3, abs=1e-4)
    assert {name: row["questions"] for name, row in figures["per_category"].items()} == {"multi-hop": 1, "single-hop": 2}
    for name in ("turn_r5", "session_hit1", "session_r5", "bm25_session_r5"):
        assert 0 <= figures[name] <= 1
    assert left_behind(folder) == []
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_freshness_measures_every_stage_and_leaves_nothing_running(folder: Path) -> None:
    found = last_line(run("benchmarks.freshness", "--json", "--rates", "5", "--seconds", "2", "--warm-up", "1", folder=folder))
    assert set(found) == FIELDS
    figures = found["figures"]
    # the main rate is measured too, whatever was asked for
    assert found["sizes"]["turns"] == {"5": 10, "10": 20}
    assert 0 < figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"]
    assert figures["p50_ms"] == figures["rates"]["10"]["p50_ms"]
    stages = figures["per_stage_ms"]
    beside = "decided_to_projected"
    assert sum(row["share"] for name, row in stages.items() if name != beside) == pytest.approx(1, abs=0.01)
    assert {"p50_ms", "p99_ms"} == set(found["goals"])
    assert figures["cpu_ms_per_turn"]["worker"] > 0
    assert left_behind(folder) == []
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_rebuild_finds_the_same_rows_by_every_way_and_times_each(folder: Path) -> None:
    found = last_line(run("benchmarks.rebuild", "--json", "--events", "300", "--part", "40", "--repeats", "1", folder=folder))
    assert set(found) == FIELDS
    sizes, figures = found["sizes"], found["figures"]
    assert (sizes["events"], figures["tenth"]["events"]) == (300, 30)
    assert 20 <= sizes["part"] <= 40
    assert set(found["goals"]) == {f"{name}_ratio" for name in found["ratios"]} | {"rss_mib"}
    assert all(value > 0 for value in found["ratios"].values())
    views = build_views(ViewSettings(audit_key=b"a key of thirty-two bytes, or so")).values()
    assert sizes["views"] == [view.name for view in views if view.name != "current"]
    assert figures["current_s"] > 0
    (hnsw,) = figures["hnsw_s"].values()
    assert 0 < hnsw["vectors"] < sizes["vectors"]
    assert left_behind(folder) == []
    assert list(folder.iterdir()) == []


def left_behind(folder: Path) -> list[str]:
    """Processes that still run in ``folder`` or name it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            places = [*process.cmdline(), process.cwd()]
            if any(str(folder) in place for place in places):
                found.append(" ".join(process.cmdline())[:200])
    return found
