"""BM25 on the raw turns: what recall has to be better than to be worth anything.

The words are PostgreSQL's English ones, stop words left out and stemmed: the words that recall itself searches by. Measured on
five conversations: turn R@10 0.626, session R@5 0.866, as the reference on all ten has it (0.614, 0.865). With nothing but
lower-case words it is 0.545 and 0.798, a baseline that would flatter whatever stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from psycopg import AsyncConnection
from rank_bm25 import BM25Okapi

from ops.standin.locomo import LocomoTurn

Words = Sequence[str]

_ENGLISH = """
SELECT ARRAY(
    SELECT w.lexeme FROM unnest(to_tsvector('english', t.text)) w, generate_series(1, cardinality(w.positions))
)
FROM unnest(%s::text[]) WITH ORDINALITY AS t(text, place) ORDER BY t.place
"""


async def english_words(conn: AsyncConnection[Any], texts: Sequence[str]) -> list[Words]:
    """The stems of each text, each as often as it occurs."""
    cursor = await conn.execute(_ENGLISH, (list(texts),))
    return [row[0] for row in await cursor.fetchall()]


def spoken(turn: LocomoTurn) -> str:
    """A turn as text: "speaker: text", with the caption of its picture."""
    return f"{turn.speaker}: {turn.text} {turn.image_caption or ''}".strip()


class TurnsByBm25:
    """Turns of one conversation, ranked by Okapi BM25 with rank-bm25's own constants."""

    def __init__(self, ids: Sequence[str], words: Sequence[Words]) -> None:
        self._ids = list(ids)
        self._index = BM25Okapi([list(w) for w in words])

    def rank(self, question: Words) -> list[str]:
        """All turn ids, best first; equal scores in the order of ``ids``."""
        order = np.argsort(-self._index.get_scores(list(question)), kind="stable")
        return [self._ids[i] for i in order]
