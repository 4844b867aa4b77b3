"""Evidence metrics, as every system on LoCoMo is measured here.

A retrieved memory stands for its evidence turns, each taking a rank; each turn counts once; a session ranks by its best turn.
Questions of all five categories count; those without valid evidence are left out by the caller, and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one question, or their means: shares from 0 to 1."""

    turn_r5: float
    turn_r10: float
    session_hit1: float
    session_r5: float
    mrr: float

    def as_dict(self) -> dict[str, float]:
        return {name: round(getattr(self, name), 4) for name in self.__slots__}


def in_order(groups: Iterable[Iterable[str]]) -> list[str]:
    """Ranked items of ranked groups: each item once, at its best rank."""
    return list(dict.fromkeys(item for group in groups for item in group))


def score(ranked_turns: Sequence[str], evidence: Sequence[str], session_of: Mapping[str, str]) -> Scores:
    """Scores of one question. ``ranked_turns`` are distinct, best first; ``evidence`` is not empty.

    ``turn_rK`` and ``session_rK``: the share of evidence turns (sessions) among the first K. ``session_hit1``: 1 where the first
    session holds evidence. ``mrr``: 1 ÷ rank of the first evidence turn, 0 where none was found.
    """
    wanted = set(evidence)
    sessions = in_order([session_of[turn]] for turn in ranked_turns)
    wanted_sessions = {session_of[turn] for turn in wanted}
    first = next((rank for rank, turn in enumerate(ranked_turns, 1) if turn in wanted), None)
    return Scores(
        turn_r5=_recall(ranked_turns[:5], wanted),
        turn_r10=_recall(ranked_turns[:10], wanted),
        session_hit1=float(bool(sessions) and sessions[0] in wanted_sessions),
        session_r5=_recall(sessions[:5], wanted_sessions),
        mrr=0.0 if first is None else 1.0 / first,
    )


def mean(scores: Sequence[Scores]) -> Scores:
    """Means over questions. Raises ValueError where there are none."""
    if not scores:
        raise ValueError("there is no mean of no questions")
    return Scores(*(fmean(getattr(s, name) for s in scores) for name in Scores.__slots__))


def _recall(found: Sequence[str], wanted: set[str]) -> float:
    return len(wanted.intersection(found)) / len(wanted)
