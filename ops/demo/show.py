"""What the demo prints: a few panels for people, one JSON object for programs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from ops.cli.out import clean, degrees, moment, plain, table
from ops.cli.rebuilding import as_json
from ops.cli.recalling import why_lines
from ops.demo.play import Claim, Played

RULES = "rules, not a model"


def show(out: Console, played: Played, now: datetime) -> None:
    """Print everything that happened."""
    panel(out, "The conversation", _conversation(played))
    out.print(_memories(played, now))
    panel(out, "Mentioned again", _reheat(played))
    panel(out, "Forgotten", _forgotten(played))
    panel(out, "Recall, and why", _answers(played))
    panel(out, "Rebuilt from the log alone", _rebuilt(played))


def panel(out: Console, title: str, body: RenderableType) -> None:
    """A panel on a terminal, a headed paragraph elsewhere."""
    if out.is_terminal:
        out.print(Panel(body, title=title, title_align="left", border_style="cyan"))
    else:
        out.print(Text(f"== {title}"))
        out.print(body, soft_wrap=True)
        out.print()


def _conversation(played: Played) -> RenderableType:
    totals = played.outcomes.totals
    counts = ", ".join(f"{name} {number}" for name, number in totals.items())
    owners = {row.user_id for row in played.memories}
    said = f"{played.turns} turns read, {len(played.memories)} memories made for {len(owners)} owners\ncounts: {counts}"
    by_rules = any(row.rules for row in played.memories)
    return Text.assemble(said, ("\nfacts by: " + RULES, "yellow") if by_rules else "")


def _memories(played: Played, now: datetime) -> RenderableType:
    rows = [(row.user_id, row.content, degrees(row.temperature(now)), row.access_count) for row in played.memories]
    return table("Memories made", ("owner", "memory", "°", "mentions"), rows, right=("°", "mentions"))


def _reheat(played: Played) -> RenderableType:
    reheat = played.reheat
    first, second = reheat.said_at
    return Text.assemble(
        (clean(reheat.memory.content), "bold"),
        f"\n{degrees(reheat.new)} when first said, {moment(first)}",
        f"\n{degrees(reheat.cooled)} when said again, {moment(second)}: it had cooled",
        f"\n{degrees(reheat.after)} after that: one memory, two mentions",
    )


def _forgotten(played: Played) -> RenderableType:
    before = played.before[0].memory.content if played.before else ""
    return Text.assemble(
        (clean(played.forgotten.content), "bold"),
        f"\nrecall before: “{clean(before)}”",
        f"\nrecall after:  not among its {len(played.after)} answers; gone from archive and graph too",
    )


def _answers(played: Played) -> RenderableType:
    parts: list[RenderableType] = []
    for question, answer in played.answers:
        text = Text.assemble((f"“{clean(question)}”", "bold"), f"\n{clean(answer.memory.content)}", style="")
        text.append(f"  ({degrees(answer.memory.temperature)} now)", style="dim")
        parts.append(text)
        parts.append(plain("\n".join(f"  {line}" for line in why_lines(answer)), "dim"))
    return Group(*parts)


def _rebuilt(played: Played) -> RenderableType:
    report = played.rebuild
    return Text.assemble(
        f"thermal archive, {report.records} events folded into an empty table in {report.seconds:.2f} s",
        f"\ndigest live     {report.live.digest}",
        f"\ndigest rebuilt  {report.rebuilt.digest}",
        ("\nequal; the rebuilt archive is the live one now", "green") if report.equal else ("\nNOT equal", "bold red"),
    )


def show_claims(out: Console, claims: list[Claim]) -> None:
    """All is well in one line, or every claim that does not hold."""
    false = [claim for claim in claims if not claim.holds]
    if not false:
        out.print(plain(f"{len(claims)} claims checked on what was read back, all hold", "green"))
    for claim in false:
        out.print(plain(f"DOES NOT HOLD: {claim.says}", "bold red"))


def to_json(played: Played, now: datetime, seconds: float) -> dict[str, Any]:
    """Everything as plain JSON types."""
    reheat = played.reheat
    return {
        "turns": played.turns,
        "counts": played.outcomes.totals,
        "extractor": RULES if any(row.rules for row in played.memories) else "model",
        "memories": [
            {
                "memory_id": row.memory_id,
                "owner": row.user_id,
                "content": row.content,
                "temperature": row.temperature(now),
                "mentions": row.access_count,
            }
            for row in played.memories
        ],
        "reheated": {
            "content": reheat.memory.content,
            "new": reheat.new,
            "cooled": reheat.cooled,
            "after": reheat.after,
            "said_at": [at.isoformat() for at in reheat.said_at],
        },
        "forgotten": {
            "content": played.forgotten.content,
            "recalled_before": [a.memory.content for a in played.before],
            "recalled_after": [a.memory.content for a in played.after],
        },
        "recall": [
            {
                "question": question,
                "answer": answer.memory.content,
                "event": why_lines(answer)[1].strip(" └"),
                "turns": [source.turn_id for source in answer.sources],
                "said": [message["content"] for source in answer.sources for message in source.messages],
            }
            for question, answer in played.answers
        ],
        "rebuild": as_json(played.rebuild),
        "claims": [{"says": claim.says, "holds": claim.holds} for claim in played.claims],
        "seconds": round(seconds, 2),
    }
