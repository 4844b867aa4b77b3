"""Words for people: short ids, the beginnings of texts, who found a fact, what a sealed value says."""

from __future__ import annotations

from ops.cli.out import clean
from schemas.errors import SealedValue
from schemas.sealed import Sealed

EXCERPT = 200
SHORT_ID = 8
BY_REQUEST = "request"
"""Extractor of memories that a request asked for."""


def excerpt(text: str, limit: int = EXCERPT) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(clean(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def said(value: Sealed | str) -> str:
    """The beginning of a text about a person; of one that cannot be opened only that it is there."""
    try:
        return excerpt(value if isinstance(value, str) else value.text)
    except SealedValue:
        return repr(value)


def extracted_by(extractor: str, model: str, rules: bool) -> str:
    """Who found a fact; of rules it is said that they are no model."""
    if extractor == BY_REQUEST:
        return "asked for by a request"
    return "rules, not a model" if rules else f"{extractor}, {model}"


def short(id: str | None) -> str:
    """The first digits of an id."""
    return (id or "")[:SHORT_ID]
