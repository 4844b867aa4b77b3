"""What came of several views: reports to show, and one error for all that went wrong."""

from __future__ import annotations

from collections.abc import Sequence

from ops.cli.bars import Begin, Progress
from ops.cli.errors import explain
from projections.building import Report
from projections.together import Outcome, Watch


class Rebuilt(Watch):
    """Shows progress by ``begin`` and remembers what was found. ``is_reading``: who stops it now reads the log anew."""

    def __init__(self, begin: Begin) -> None:
        self.is_reading = False
        self._begin = begin
        self._found: dict[str, Outcome] = {}

    def begin(self, what: str) -> Progress:
        """A bar for each piece of work."""
        return self._begin(what)

    def reads(self, on: bool) -> None:
        """Remember it."""
        self.is_reading = on

    def found(self, outcome: Outcome) -> None:
        """Remember it."""
        self._found[outcome.view] = outcome

    def left_of(self, names: Sequence[str], between: str = ", ") -> str:
        """The views that are not done."""
        return between.join(name for name in names if name not in self._found or self._found[name].report is None)

    def reports_of(self, names: Sequence[str]) -> list[Report]:
        """Of the views that are done, in this order."""
        outcomes = [self._found[name] for name in names if name in self._found]
        return [outcome.report for outcome in outcomes if outcome.report is not None]

    def must_be_sound(self) -> None:
        """Raise what went wrong: one error as it is, several as one, with the code and the hint of the first."""
        errors = [(view, found.error) for view, found in self._found.items() if found.error is not None]
        if not errors:
            return
        texts: dict[str, list[str]] = {}
        for view, error in errors:
            explained = explain(error)
            if explained is None or len(errors) == 1:
                raise error
            texts.setdefault(str(explained), []).append(view)
        first = explain(errors[0][1])
        assert first is not None
        lines = [text if len(views) == 1 and views[0] in text else f"{', '.join(views)}: {text}" for text, views in texts.items()]
        raise type(first)("\n".join(lines), first.hint)
