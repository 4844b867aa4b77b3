"""What the demo prints of a LoCoMo conversation."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from ops.cli.out import plain, table
from ops.cli.words import excerpt
from ops.demo.locomo import Asked, PlayedLocomo, chosen

FACTS_BY = "facts recorded from a large model (LoCoMo's observations), served by the stand-in endpoint through Mem0"
K_NOTE = "a hit: one of the ten best memories rests on a message that the set names as evidence"


def show(out: Console, played: PlayedLocomo) -> None:
    """Counts, a few questions, and how many found their evidence."""
    counts = ", ".join(f"{name} {number}" for name, number in played.outcomes.totals.items())
    out.print(plain(f"{played.conversation}: {played.turns} turns read, each at its own date\ncounts: {counts}\n{FACTS_BY}"))
    rows = [(a.question.question, _best(a), a.question.answer or "", _word(a)) for a in chosen(played.asked)]
    out.print(table("Some of its questions", ("question", "best memory", "the set's answer", "evidence"), rows))
    if played.asked:
        share = played.hits / len(played.asked)
        out.print(plain(f"of {len(played.asked)} questions {played.hits} found evidence ({share:.0%}); {K_NOTE}"))


def _best(asked: Asked) -> str:
    return excerpt(asked.answers[0].content, 100) if asked.answers else "nothing"


def _word(asked: Asked) -> Any:
    return plain("hit", "green") if asked.hit else plain("miss", "yellow")


def to_json(played: PlayedLocomo, seconds: float) -> dict[str, Any]:
    """Everything as plain JSON types."""
    return {
        "conversation": played.conversation,
        "turns": played.turns,
        "counts": played.outcomes.totals,
        "extractor": FACTS_BY,
        "questions": len(played.asked),
        "hits_at_10": played.hits,
        "shown": [
            {
                "question": asked.question.question,
                "answer": asked.question.answer,
                "memories": [memory.content for memory in asked.answers],
                "hit": asked.hit,
            }
            for asked in chosen(played.asked)
        ],
        "claims": [{"says": claim.says, "holds": claim.holds} for claim in played.claims],
        "seconds": round(seconds, 2),
    }
