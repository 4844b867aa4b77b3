"""The one interface of all benchmarks: arguments, progress, machine, and the JSON object that is the last line on stdout.

    def measure(args: argparse.Namespace, progress: Progress) -> Report: ...

    if __name__ == "__main__":
        sys.exit(main("freshness", __doc__, add_arguments, measure))

The object: ``benchmark``, ``sizes`` (what was run), ``figures`` (what was measured), ``ratios`` (against something else, in the
same run), ``goals`` (per figure: the bound, the value, whether it holds), ``met`` (whether all hold), ``machine``, ``date``.
A benchmark that cannot run says why in ``skipped`` and exits with 0.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table


class Skip(Exception):
    """The benchmark cannot run here; the text says what it needs."""


class Failed(Exception):
    """The measurement is worthless (work lost, parked, late); the text says what happened."""


@dataclass(frozen=True, slots=True)
class AtMost:
    """A goal: the figure stays under ``bound``."""

    bound: float


@dataclass(frozen=True, slots=True)
class AtLeast:
    """A goal: the figure reaches ``bound``."""

    bound: float


Goal = AtMost | AtLeast


@dataclass(frozen=True, slots=True)
class Report:
    """What a benchmark found. ``goals`` bound figures by name."""

    sizes: Mapping[str, Any]
    figures: Mapping[str, Any]
    ratios: Mapping[str, float] = field(default_factory=dict)
    goals: Mapping[str, Goal] = field(default_factory=dict)


class Progress:
    """Progress on stderr: bars on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(text, style="dim", highlight=False, markup=False)

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar; call what it gives with the number done so far."""
        if not self.console.is_terminal:
            self.say(f"{title} ({total})")
            yield lambda _: None
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Bars(*columns, console=self.console, transient=True) as bars:
            task = bars.add_task(title, total=total)
            yield lambda done: bars.update(task, completed=done)


Measure = Callable[[argparse.Namespace, Progress], Report]


def main(
    name: str,
    description: str | None,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    measure: Measure,
    argv: Sequence[str] | None = None,
) -> int:
    """Run a benchmark from the command line; its exit code: 0, also where it is skipped or misses a goal, else 1."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON object on stdout")
    parser.add_argument("--small", action="store_true", help="a small size: a check that it runs, not a measurement")
    add_arguments(parser)
    args = parser.parse_args(argv)
    progress = Progress(Console(stderr=True))
    try:
        report = measure(args, progress)
    except Skip as skip:
        progress.say(f"skipped: {skip}")
        _print_line({"benchmark": name, "skipped": str(skip), "date": _now()})
        return 0
    except Failed as failure:
        progress.say(f"failed: {failure}")
        return 1
    document = as_document(name, report)
    if not args.json:
        _print_tables(document)
    _print_line(document)
    return 0


def as_document(name: str, report: Report) -> dict[str, Any]:
    """The JSON object of a report."""
    goals = {figure: _judged(goal, report.figures[figure]) for figure, goal in report.goals.items()}
    return {
        "benchmark": name,
        "sizes": dict(report.sizes),
        "figures": dict(report.figures),
        "ratios": dict(report.ratios),
        "goals": goals,
        "met": all(goal["met"] for goal in goals.values()),
        "machine": machine(),
        "date": _now(),
    }


def _judged(goal: Goal, value: float) -> dict[str, Any]:
    if isinstance(goal, AtMost):
        return {"at_most": goal.bound, "value": value, "met": value <= goal.bound}
    return {"at_least": goal.bound, "value": value, "met": value >= goal.bound}


def machine() -> dict[str, Any]:
    """Cores that this process may use, memory in GiB, load, Python, platform; no names of hosts.

    ``load_5m`` is the load average over five minutes: well above ``cores``, others worked too, and latencies are worth less.
    """
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_5m": round(os.getloadavg()[1], 1),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` (0 to 1) of ``values`` do not exceed (nearest rank).

    Raises ValueError where there are no values.
    """
    if not values:
        raise ValueError("there is no percentile of nothing")
    ordered = sorted(values)
    # ceil by floor of the negative: exact for whole numbers, where a rounded product may be a hair above
    rank = -int(-round(share * len(ordered), 9) // 1)
    return ordered[min(max(rank, 1), len(ordered)) - 1]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _print_line(document: Mapping[str, Any]) -> None:
    sys.stdout.write(orjson.dumps(document).decode() + "\n")
    sys.stdout.flush()


def _print_tables(document: Mapping[str, Any]) -> None:
    console = Console()
    flat = Table("figure", "value", "goal", title=f"{document['benchmark']}", title_justify="left")
    nested = {}
    for name, value in {**document["figures"], **document["ratios"]}.items():
        if isinstance(value, Mapping):
            nested[name] = value
            continue
        goal = document["goals"].get(name)
        wanted = "" if goal is None else f"{_bound(goal)}: {'met' if goal['met'] else 'missed'}"
        flat.add_row(name, _short(value), wanted)
    console.print(flat)
    for name, rows in nested.items():
        console.print(_nested_table(name, rows))


def _nested_table(name: str, rows: Mapping[str, Any]) -> Table:
    inner = [row for row in rows.values() if isinstance(row, Mapping)]
    columns = [key for key, value in inner[0].items() if not isinstance(value, Mapping)] if inner else ["value"]
    table = Table("", *columns, title=name, title_justify="left")
    for key, row in rows.items():
        table.add_row(str(key), *(_short(row.get(c)) if isinstance(row, Mapping) else _short(row) for c in columns))
    return table


def _bound(goal: Mapping[str, Any]) -> str:
    return f"at most {goal['at_most']:g}" if "at_most" in goal else f"at least {goal['at_least']:g}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
