"""Turns as people and files give them: JSON in the inbox's form, checked before anything is sent."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
from msgspec.structs import replace

from ops.cli.errors import UsageError
from schemas.types import InboxTurn
from streams.agents.admit import InboxPosition, admit
from streams.agents.inbox_form import read_form
from streams.failures import Refused

SHOWN_PROBLEMS = 10
EXAMPLE = '{"owner": "u-1", "session_id": "s-1", "messages": [{"role": "user", "content": "…"}]}'


def read_turn(data: Any) -> InboxTurn:
    """A turn from parsed JSON, with an id if it came without one. Raises ValueError with what admission would park it for."""
    now = datetime.now(UTC)
    try:
        value = orjson.dumps(data)
    except TypeError:
        raise ValueError("holds text that is no Unicode") from None
    try:
        admit(value, InboxPosition("cli", 0, 0, now), now)
        turn = read_form(value).turn()
    except Refused as error:
        raise ValueError(str(error)) from None
    return turn if turn.id else replace(turn, id=str(uuid.uuid4()))


def read_lines(lines: Iterable[bytes], name: str) -> list[InboxTurn]:
    """All turns of JSON lines. Raises UsageError that names every wrong line (the first ten): then nothing is sent."""
    turns, problems = [], []
    for number, line in _numbered(lines):
        try:
            turns.append(read_turn(orjson.loads(line)))
        except orjson.JSONDecodeError as error:
            problems.append(f"{name}:{number}: not JSON ({str(error).partition(':')[0]})")
        except ValueError as error:
            problems.append(f"{name}:{number}: {error}")
    if problems:
        more = f"\n… and {len(problems) - SHOWN_PROBLEMS} more" if len(problems) > SHOWN_PROBLEMS else ""
        raise UsageError(
            "\n".join(problems[:SHOWN_PROBLEMS]) + more,
            f"nothing was published. A line is {EXAMPLE}",
        )
    if not turns:
        raise UsageError(f"{name} holds no turns")
    return turns


def _numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, line
