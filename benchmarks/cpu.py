"""CPU time of the line's processes: it says what a turn costs, and hardly depends on what else the machine does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import psutil

PARTS: tuple[tuple[str, Callable[[Sequence[str]], bool]], ...] = (
    ("worker", lambda c: "ops.cli.main" in c and "worker" in c),
    ("projector", lambda c: "ops.cli.main" in c and "project" in c),
    ("standin", lambda c: "ops.standin" in c),
    ("kafka", lambda c: any("kafka.Kafka" in argument for argument in c)),
    ("postgres", lambda c: bool(c) and ("postgres:" in c[0] or c[0].endswith("/postgres"))),
)


class CpuMeter:
    """CPU seconds of this process and its children by part, from the last ``start`` on."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, int], float] = {}

    def start(self) -> None:
        """Count from here."""
        self._before = _seconds()

    def spent(self) -> dict[str, float]:
        """Seconds since ``start``. A process that ended meanwhile is left out; one that began counts from its start."""
        found = dict.fromkeys([*(name for name, _ in PARTS), "benchmark"], 0.0)
        for place, now in _seconds().items():
            found[place[0]] += now - self._before.get(place, 0.0)
        return found

    def ms_per(self, count: int) -> dict[str, float]:
        """Milliseconds since ``start`` for each of ``count`` turns, by part; idle work is in it too."""
        return {part: round(1000 * seconds / count, 2) for part, seconds in self.spent().items()}


def _seconds() -> dict[tuple[str, int], float]:
    """CPU seconds, user and system, by part and process id."""
    me = psutil.Process()
    found = {("benchmark", me.pid): _cpu(me)}
    for child in me.children(recursive=True):
        try:
            command = child.cmdline()
            part = next((name for name, belongs in PARTS if belongs(command)), None)
            if part is not None:
                found[part, child.pid] = _cpu(child)
        except psutil.Error:
            continue  # it ended while we looked
    return found


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
