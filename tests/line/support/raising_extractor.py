"""Installed by ``launch --with``: the extractor raises, on turns that say so, for as long as the file is there and names them.

No endpoint can make an extractor raise what it does not foresee; a fault in its own code can.
"""

from __future__ import annotations

import os
from pathlib import Path

from streams.extraction.extractor import ModelExtractor
from streams.extraction.ports import Extraction, TurnToExtract

FILE = "EMBERLOG_TEST_RAISING"
WORD = "unforeseen"
SECRET = "what the turn said stands in this text"

_extract = ModelExtractor.extract


def _named(said: str) -> bool:
    file = Path(os.environ[FILE])
    return WORD in said and file.exists() and file.read_text() in said


async def _raise_or_extract(self: ModelExtractor, turn: TurnToExtract) -> Extraction:
    said = " ".join(message.content for message in turn.messages)
    if _named(said):
        raise ZeroDivisionError(f"{SECRET}: {said}")
    return await _extract(self, turn)


def install() -> None:
    """Make this process's extractor raise. Not on import: the tests import this module for its names."""
    ModelExtractor.extract = _raise_or_extract  # type: ignore[method-assign, assignment]
