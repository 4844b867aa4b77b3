"""Output: Rich on stdout for people, one JSON document or JSON lines on stdout for programs, errors on stderr.

Everything that comes from a record passes ``clean``: what somebody wrote into a chat must not steer the reader's terminal.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.errors import SealedValue
from schemas.sealed import PLAIN, Sealed
from schemas.value import Value

PIPE_WIDTH = 140
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def _console(stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else PIPE_WIDTH, highlight=False)


def console() -> Console:
    """The console on stdout; without a terminal plain text, wide enough for the tables."""
    return _console(stderr=False)


def error_console() -> Console:
    """The console on stderr, for progress and errors."""
    return _console(stderr=True)


def clean(text: object) -> str:
    """Text without control characters (terminal sequences, overriding of writing direction)."""
    return _CONTROL.sub("·", str(text))


def plain(text: object, style: str = "") -> Text:
    """Cleaned text that Rich takes as it is: square brackets in it are no markup."""
    return Text(clean(text), style=style)


def moment(at: datetime | None) -> str:
    """A time in UTC to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if at else ""


def degrees(value: float) -> str:
    """A temperature."""
    return f"{value:.1f}°"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[str] = ()) -> Table:
    """A table of cleaned cells; columns named in ``right`` are numbers, ids do not wrap."""
    made = Table(title=title or None, title_justify="left", title_style="bold", header_style="bold", expand=False)
    to_the_right = set(right)
    for column in columns:
        narrow = column in to_the_right or column.endswith(("id", "at", "time")) or column in ("owner", "°")
        made.add_column(column, justify="right" if column in to_the_right else "left", no_wrap=narrow, overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else plain("" if cell is None else cell) for cell in row))
    return made


def to_jsonable(value: Any) -> Any:
    """Records, dataclasses, tuples, times, bytes (base64) and opened values as what JSON knows."""
    if isinstance(value, Sealed):
        return _opened(value)
    if isinstance(value, Value):
        return {name: to_jsonable(getattr(value, name)) for name in value.__struct_fields__}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_jsonable(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): to_jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_jsonable(v) for v in value]
    if isinstance(value, bytes):
        import base64

        return base64.b64encode(value).decode()
    if isinstance(value, date):  # a datetime is one
        return value.isoformat()
    if isinstance(value, str | int | float | bool | None):
        return value
    return str(value)


def _opened(value: Sealed) -> Any:
    """A value's text; base64 of what is no text; of one that cannot be opened here only under which key it is sealed."""
    if value.cipher != PLAIN:
        return {"cipher": value.cipher, "key_id": value.key_id}
    try:
        return value.text
    except SealedValue:
        return to_jsonable(value.raw)


def print_json(value: Any, *, indent: bool = True) -> None:
    """One JSON document on stdout; ``indent`` False gives one line, for streams."""
    import orjson

    option = orjson.OPT_INDENT_2 if indent else 0
    sys.stdout.write(orjson.dumps(to_jsonable(value), option=option).decode() + "\n")
    sys.stdout.flush()
