"""Progress of the demo: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn

LINE_EVERY_S = 1.0


class Steps(Protocol):
    """Use as a context manager around the whole demo."""

    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
    def say(self, text: str) -> None:
        """A step begins."""

    def count(self, turns: int, of: int, memories: int) -> None:
        """Turns done so far, and memories made."""


class LineSteps:
    """Plain lines, the counts at most once a second."""

    def __init__(self, console: Console) -> None:
        self._console, self._last, self._shown = console, 0.0, -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def say(self, text: str) -> None:
        self._console.print(f"  {text}", markup=False)

    def count(self, turns: int, of: int, memories: int) -> None:
        due = turns == of or time.monotonic() - self._last > LINE_EVERY_S
        if due and turns != self._shown:
            self._last, self._shown = time.monotonic(), turns
            self._console.print(f"  turns read {turns}/{of}, memories made {memories}")


class BarSteps:
    """A spinner with the step, and bars for turns and memories once there are any."""

    def __init__(self, console: Console) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn())
        self._bars = Progress(*columns, console=console, transient=True)
        self._step: TaskID = self._bars.add_task("starting", total=None)
        self._turns: TaskID | None = None
        self._memories: TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        self._bars.update(self._step, description=text)

    def count(self, turns: int, of: int, memories: int) -> None:
        if self._turns is None or self._memories is None:
            self._turns = self._bars.add_task("turns read", total=of)
            self._memories = self._bars.add_task("memories made", total=None)
        self._bars.update(self._turns, completed=turns)
        self._bars.update(self._memories, completed=memories)


def steps_for(console: Console) -> Steps:
    """Bars where ``console`` is a terminal, else lines."""
    return BarSteps(console) if console.is_terminal else LineSteps(console)
