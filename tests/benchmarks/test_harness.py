"""The one interface: percentiles, goals, the JSON line, skips and failures."""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time

import pytest

from benchmarks.cpu import CpuMeter
from benchmarks.harness import AtMost, Failed, Measure, Progress, Report, Skip, as_document, machine, main, percentile

FIELDS = {"benchmark", "sizes", "figures", "ratios", "goals", "met", "machine", "date"}


def run(measure: Measure, *argv: str) -> int:
    return main("example", "An example.", lambda parser: None, measure, argv)


def example(args: argparse.Namespace, progress: Progress) -> Report:
    progress.say("measuring")
    with progress.bar("things", 2) as show:
        show(1)
    stages = {"first": {"p50": 1.5, "share": 0.5}, "second": {"p50": 1.0, "share": 0.5}}
    return Report(sizes={"small": args.small}, figures={"p50_ms": 2.5, "per_stage_ms": stages}, goals={"p50_ms": AtMost(3.0)})


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([7.0], 0.99, 7.0),
        ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0),
        ([4.0, 3.0, 2.0, 1.0], 0.75, 3.0),
        ([float(i) for i in range(1, 101)], 0.99, 99.0),
        ([float(i) for i in range(1, 101)], 0.995, 100.0),
        ([float(i) for i in range(1, 21)], 0.95, 19.0),
        ([1.0, 2.0, 3.0], 0.0, 1.0),
        ([1.0, 2.0, 3.0], 1.0, 3.0),
    ],
)
def test_a_percentile_is_the_nearest_rank(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed() -> None:
    draw = random.Random(5)
    for _ in range(200):
        values = [draw.uniform(0, 100) for _ in range(draw.randint(1, 300))]
        share = draw.choice([0.01, 0.5, 0.9, 0.95, 0.99])
        found = percentile(values, share)
        assert sum(v <= found for v in values) >= share * len(values) - 1e-9
        assert sum(v < found for v in values) < share * len(values)


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)


def test_the_document_has_every_field_and_judges_each_goal() -> None:
    report = Report(sizes={}, figures={"a": 1.0, "b": 9.0, "c": 5.0}, goals={"a": AtMost(2), "b": AtMost(3), "c": AtMost(5)})
    document = as_document("example", report)
    assert set(document) == FIELDS
    assert document["goals"]["a"] == {"at_most": 2, "value": 1.0, "met": True}
    assert document["goals"]["b"]["met"] is False
    assert document["goals"]["c"]["met"] is True
    assert document["met"] is False


def test_the_machine_is_described_without_a_host_name() -> None:
    found = machine()
    assert set(found) == {"cores", "memory_gib", "load_5m", "python", "platform"}
    assert found["cores"] >= 1


def test_with_json_stdout_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(example, "--json", "--small") == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    document = json.loads(out)
    assert set(document) == FIELDS
    assert document["sizes"] == {"small": True}
    assert document["met"] is True
    assert "measuring" in err


def test_without_json_tables_come_before_the_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(example) == 0
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[-1])["benchmark"] == "example"
    tables = "\n".join(lines[:-1])
    assert "p50_ms" in tables
    assert "at most 3: met" in tables
    assert "second" in tables


def test_a_skip_says_why_and_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    def skips(_: argparse.Namespace, __: Progress) -> Report:
        raise Skip("needs a file")

    assert run(skips) == 0
    out = capsys.readouterr().out
    assert json.loads(out.splitlines()[-1])["skipped"] == "needs a file"


def test_a_worthless_measurement_gives_no_figures_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(_: argparse.Namespace, __: Progress) -> Report:
        raise Failed("work was parked")

    assert run(fails) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "work was parked" in err


def test_cpu_is_counted_for_ourselves_and_for_a_part_that_runs() -> None:
    burn = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\nprint(1, flush=True)\ninput()"
    meter = CpuMeter()
    meter.start()
    command = [sys.executable, "-c", burn, "ops.standin"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        # the kernel counts in ticks of 10 ms: what was waited for so far may be none
        end = time.process_time() + 0.1
        while time.process_time() < end:
            pass
        spent, each = meter.spent(), meter.ms_per(10)
        child.communicate(b"\n")
    assert 0.25 <= spent["standin"] < 5
    assert each["standin"] >= 25
    assert spent["benchmark"] >= 0.05
    assert spent["worker"] == 0
