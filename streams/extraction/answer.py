"""Reads a model's answer before Mem0 does, because Mem0 turns a broken answer into "no facts".

The answer must be a JSON object with a list "memory" of objects that have a string "text". As Mem0 does,
code fences and `<think>` blocks are taken off, and prose around the object is tolerated. `{"memory": []}`
is a legal "no facts"; everything else that is not the shape raises `MalformedAnswer`. One bad item among
good ones is a `FactFailure` and the others survive.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.extraction.errors import MalformedAnswer
from streams.extraction.guards import mem0
from streams.extraction.ports import FactFailure

SHORTEST_FACT = 10
"""Facts under this many characters are skipped and counted."""

LONGEST_FACT = 8_000
"""Facts over this many characters are failures: a model that runs away, never a fact."""

_utils = mem0.memory.utils


@dataclass(frozen=True, slots=True)
class Item:
    """One usable fact of an answer. `evidence` is as the answer gave it, not yet checked."""

    text: str
    salience: float
    attributed_to: str | None
    evidence: tuple[str, ...]


@dataclass(slots=True)
class Answer:
    """What an answer held. `items` are distinct by text, in order."""

    items: list[Item] = field(default_factory=list)
    failures: list[FactFailure] = field(default_factory=list)
    skipped_short: int = 0

    def for_mem0(self) -> str:
        """The answer again as the JSON that Mem0 parses, with usable items only.

        "<" is escaped, because Mem0 cuts `<think>…</think>` out of the raw answer, facts included.
        """
        memory = [
            {"id": str(at), "text": item.text, "attributed_to": item.attributed_to or "user"}
            for at, item in enumerate(self.items)
        ]
        return json.dumps({"memory": memory}).replace("<", "\\u003c")


def read_answer(raw: str | None) -> Answer:
    """Validate a model's answer. Raises `MalformedAnswer` with a content-free reason."""
    entries = _entries(raw)
    answer = Answer()
    seen: dict[str, int] = {}
    shaped = 0
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("text"), str):
            answer.failures.append(FactFailure(_shape_of(entry)))
            continue
        shaped += 1
        text = entry["text"].strip()
        reason = unusable(text)
        if reason is not None:
            answer.failures.append(FactFailure(reason))
        elif len(text) < SHORTEST_FACT:
            answer.skipped_short += 1
        elif text in seen:
            answer.items[seen[text]] = _merged(answer.items[seen[text]], _item(text, entry))
        else:
            seen[text] = len(answer.items)
            answer.items.append(_item(text, entry))
    if entries and not shaped:
        raise MalformedAnswer('the answer\'s "memory" holds no object with a text')
    return answer


def unusable(text: str) -> str | None:
    """Why a text cannot be a fact, or None. Postgres refuses NUL, UTF-8 refuses lone surrogates."""
    if "\x00" in text:
        return "the fact's text holds a NUL character"
    if len(text) > LONGEST_FACT:
        return f"the fact's text is longer than {LONGEST_FACT} characters"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "the fact's text is not valid Unicode"
    return None


def _entries(raw: str | None) -> list[Any]:
    if raw is None or not raw.strip():
        raise MalformedAnswer("the answer is empty")
    document = _parse(raw)
    if not isinstance(document, dict):
        raise MalformedAnswer(f"the answer is JSON of type {_kind(document)} and not an object")
    if "memory" not in document:
        raise MalformedAnswer('the answer\'s object has no "memory"')
    memory = document["memory"]
    if not isinstance(memory, list):
        raise MalformedAnswer(f'the answer\'s "memory" is of type {_kind(memory)} and not a list')
    return memory


def _parse(raw: str) -> Any:
    text = _utils.remove_code_blocks(raw)
    # As it came first: cleaning would cut "<think>" out of a fact that quotes it.
    for candidate in (raw, text, _utils.extract_json(text)):
        try:
            return json.loads(candidate, strict=False)
        except (ValueError, RecursionError):
            continue
    if "{" not in text:
        raise MalformedAnswer("the answer is prose and not JSON")
    raise MalformedAnswer("the answer is not valid JSON (cut off, or prose around broken JSON)")


def _item(text: str, entry: dict[str, Any]) -> Item:
    attributed = entry.get("attributed_to")
    attributed_to = attributed if isinstance(attributed, str) else None
    given = _given_salience(entry)
    evidence = entry.get("evidence")
    return Item(
        text=text,
        salience=estimated_salience(text, attributed_to) if given is None else given,
        attributed_to=attributed_to,
        evidence=tuple(e for e in evidence if isinstance(e, str)) if isinstance(evidence, list) else (),
    )


def _merged(first: Item, again: Item) -> Item:
    """The same text twice in one answer is one fact with the evidence of both."""
    evidence = first.evidence + tuple(e for e in again.evidence if e not in first.evidence)
    return Item(first.text, max(first.salience, again.salience), first.attributed_to, evidence)


def _given_salience(entry: dict[str, Any]) -> float | None:
    """The item's own "salience" or "importance" where it is a number in 0..1.

    Another scale cannot be told from one number, so a value outside counts as not given.
    """
    for key in ("salience", "importance"):
        value = entry.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            number = float(value) if abs(value) <= 1 else math.nan
            if 0.0 <= number <= 1.0:
                return number
    return None


def estimated_salience(text: str, attributed_to: str | None) -> float:
    """A small rule for models that give no salience, in 0..1.

    0.5 to begin with; +0.15 for what the user said of themselves, −0.1 for what the assistant said;
    +0.1 with a digit (dates, amounts, numbers); +0.05 with a name inside; −0.1 under 30 characters.
    """
    salience = 0.5
    if attributed_to == "user":
        salience += 0.15
    elif attributed_to == "assistant":
        salience -= 0.1
    if any(character.isdigit() for character in text):
        salience += 0.1
    if any(word[:1].isupper() for word in text.split()[1:]):
        salience += 0.05
    if len(text) < 30:
        salience -= 0.1
    return round(min(max(salience, 0.0), 1.0), 4)


def known_evidence(evidence: Sequence[str], known: Sequence[str], otherwise: tuple[str, ...]) -> tuple[str, ...]:
    """Evidence ids that are messages of the session, in order; `otherwise` where none is."""
    return tuple(dict.fromkeys(e for e in evidence if e in known)) or otherwise


def _shape_of(entry: Any) -> str:
    if isinstance(entry, dict):
        return "an item has no text" if "text" not in entry else "an item's text is not a string"
    return f"an item is of type {_kind(entry)} and not an object"


def _kind(value: Any) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
