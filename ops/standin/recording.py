"""Recorded facts by turn, and how a prompt of Mem0's finds its turn.

File format (JSON):

    {"format": "emberlog-recording/1",
     "turns": [{"turn": id, "text": "...message text...", "date": "2023-05-08" or null,
                "facts": [{"text": "...", "salience": 0.7, "evidence": ["D1:3"]}]}]}

`salience` and `evidence` are optional and go into the answer as they are.

Matching. Mem0's prompt holds one section "## New Messages" with a line "role: content" per message. The
section's messages, whitespace normalised, are looked up one by one and as a whole; in front of a content the
speaker ("Name: ") and behind it a picture ("[image: …]") may be left out. Every match adds its facts. Where
several recorded turns have the same text, those of the prompt's observation date win, and among equals the
first recorded. A turn that nothing matches has no facts and is counted as unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

FORMAT = "emberlog-recording/1"
_NEW_MESSAGES = "\n\n## New Messages\n"
_OBSERVATION_DATE = "\n\n## Observation Date\n"
_ROLE = re.compile(r"^(?:user|assistant|system): ", re.MULTILINE)
_SPEAKER = re.compile(r"^[^:\n]{1,60}: ")
_PICTURE = re.compile(r"\s*\[image: [^\]]*\]\s*$")


class RecordingError(ValueError):
    """A recording file that cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True)
class RecordedFact:
    """A fact as the model would answer it."""

    text: str
    salience: float | None = None
    evidence: tuple[str, ...] = ()

    def as_item(self, number: int) -> dict[str, Any]:
        """The item of an answer's "memory"."""
        item: dict[str, Any] = {"id": str(number), "text": self.text, "attributed_to": "user"}
        if self.salience is not None:
            item["salience"] = self.salience
        if self.evidence:
            item["evidence"] = list(self.evidence)
        return item


@dataclass(frozen=True, slots=True)
class RecordedTurn:
    """One recorded turn. `date` is ISO (YYYY-MM-DD) or None."""

    turn: str
    text: str
    date: str | None = None
    facts: tuple[RecordedFact, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a prompt asks about: its messages' contents and its observation date."""

    messages: tuple[str, ...]
    date: str | None

    @property
    def text(self) -> str:
        """All messages, as overrides and draws see them."""
        return "\n".join(self.messages)


@dataclass(slots=True)
class Recording:
    """Recorded turns with their index by text."""

    turns: tuple[RecordedTurn, ...] = ()
    _by_text: dict[str, list[RecordedTurn]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for turn in self.turns:
            if key := normalised(turn.text):
                self._by_text.setdefault(key, []).append(turn)

    def find(self, asked: Asked) -> list[RecordedTurn]:
        """The recorded turns that a prompt is about, each once, in the prompt's order."""
        found: list[RecordedTurn] = []
        contents = [*asked.messages]
        if len(asked.messages) > 1:
            contents.append(" ".join(asked.messages))
        for content in contents:
            turn = self._match(content, asked.date)
            if turn is not None and turn not in found:
                found.append(turn)
        return found

    def _match(self, content: str, date: str | None) -> RecordedTurn | None:
        bare = _PICTURE.sub("", content)
        for variant in (content, bare, _SPEAKER.sub("", content, count=1), _SPEAKER.sub("", bare, count=1)):
            turns = self._by_text.get(normalised(variant))
            if turns:
                return next((t for t in turns if date is not None and t.date == date), turns[0])
        return None


def normalised(text: str) -> str:
    """A text with every run of whitespace as one blank."""
    return " ".join(text.split())


def asked_by(prompt: str) -> Asked | None:
    """The new messages and the date of Mem0's user prompt; None where it is another prompt."""
    head, heading, tail = prompt.rpartition(_OBSERVATION_DATE)
    if not heading:
        return None
    _, heading, section = head.rpartition(_NEW_MESSAGES)
    if not heading:
        return None
    starts = [match.end() for match in _ROLE.finditer(section)]
    begins = [match.start() for match in _ROLE.finditer(section)] + [len(section)]
    messages = tuple(message for start, end in zip(starts, begins[1:], strict=True) if (message := section[start:end].strip()))
    date = tail.partition("\n")[0].strip()
    return Asked(messages or (section.strip(),), date or None)


def load_recording(path: Path | str) -> Recording:
    """Read a recording file. Raises `RecordingError`, or OSError where it cannot be read."""
    try:
        document = orjson.loads(Path(path).read_bytes())
    except orjson.JSONDecodeError as error:
        raise RecordingError(f"{path} is not valid JSON: {error}") from None
    return read_recording(document)


def read_recording(document: Any) -> Recording:
    """A recording from its parsed JSON. Raises `RecordingError`."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise RecordingError(f'a recording begins with "format": "{FORMAT}"')
    turns = document.get("turns")
    if not isinstance(turns, list):
        raise RecordingError('a recording needs a list "turns"')
    return Recording(tuple(_turn(number, turn) for number, turn in enumerate(turns)))


def as_document(turns: Iterable[RecordedTurn]) -> dict[str, Any]:
    """The JSON document of turns, as `read_recording` reads it."""
    return {
        "format": FORMAT,
        "turns": [
            {"turn": turn.turn, "text": turn.text, "date": turn.date, "facts": [_fact_document(f) for f in turn.facts]}
            for turn in turns
        ],
    }


def save_recording(turns: Sequence[RecordedTurn], path: Path | str) -> None:
    """Write a recording file."""
    Path(path).write_bytes(orjson.dumps(as_document(turns), option=orjson.OPT_INDENT_2) + b"\n")


def _fact_document(fact: RecordedFact) -> dict[str, Any]:
    document: dict[str, Any] = {"text": fact.text}
    if fact.salience is not None:
        document["salience"] = fact.salience
    if fact.evidence:
        document["evidence"] = list(fact.evidence)
    return document


def _turn(number: int, turn: Any) -> RecordedTurn:
    where = f"turn {number} of the recording"
    if not isinstance(turn, dict) or not isinstance(turn.get("text"), str):
        raise RecordingError(f'{where} needs a string "text"')
    facts = turn.get("facts", [])
    if not isinstance(facts, list) or not all(isinstance(f, dict) and isinstance(f.get("text"), str) for f in facts):
        raise RecordingError(f'{where} needs a list "facts" of objects with a string "text"')
    date = turn.get("date")
    if date is not None and not isinstance(date, str):
        raise RecordingError(f'{where} needs an ISO "date" or null')
    return RecordedTurn(
        turn=str(turn.get("turn", number)),
        text=turn["text"],
        date=date[:10] if date else None,
        facts=tuple(RecordedFact(f["text"], f.get("salience"), tuple(f.get("evidence", ()))) for f in facts),
    )
