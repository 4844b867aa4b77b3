"""Progress bars: on a terminal, with rate and time left; elsewhere nothing, as the report says it all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from ops.cli.out import error_console

Progress = Callable[[int, int], None]
"""Called with records done, and records in all."""
Begin = Callable[[str], Progress]
"""Begins a bar: called with what is done."""


class _Rate(ProgressColumn):
    """Records per second."""

    def render(self, task: Task) -> Text:
        """Nothing before the first two records."""
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s", style="progress.data.speed")


@contextmanager
def bars(console: Console) -> Iterator[Begin]:
    """One display with a bar for each piece of work: records done and in all, rate, time left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Bars(*columns, console=console, transient=True) as shown:

        def begin(what: str) -> Progress:
            task = shown.add_task(what, total=None)
            return lambda done, total: shown.update(task, completed=done, total=total)

        yield begin


@contextmanager
def bar(console: Console, what: str) -> Iterator[Progress]:
    """A display with one bar."""
    with bars(console) as begin:
        yield begin(what)


def shown_bars(quiet: bool) -> AbstractContextManager[Begin]:
    """Bars on a terminal, else nothing."""
    console = error_console()
    return nullcontext(lambda what: lambda done, total: None) if quiet or not console.is_terminal else bars(console)


def shown_bar(what: str, quiet: bool) -> AbstractContextManager[Progress]:
    """A bar on a terminal, else nothing."""
    console = error_console()
    return nullcontext(lambda done, total: None) if quiet or not console.is_terminal else bar(console, what)
