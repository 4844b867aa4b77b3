"""Evidence recall on LoCoMo, through the whole line and beside BM25 on the raw turns in the same run.

Every turn goes through the inbox with its own date, one owner per conversation; extraction asks the stand-in, which answers with
the set's recorded observations (a real model's output); vectors are the embedded default's. Each question is then put to recall.
A retrieved memory stands for its evidence turns, each taking a rank; each turn counts once; a session ranks by its best turn; all
five categories; questions without valid evidence are left out and counted. Our memories can only lead to turns that an
observation names: "answerable" is the share of evidence within their reach, so the most that turn recall could be.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import psycopg

from benchmarks.harness import Failed, Progress, Report, Skip, main, percentile
from benchmarks.line import Line, running_line
from benchmarks.locomo.asking import MEMORIES_ASKED, Answered, ask, questions_of
from benchmarks.locomo.metrics import CATEGORIES, mean
from benchmarks.locomo.playing import Played, play
from ops.standin.locomo import LocomoConversation, LocomoData, LocomoError, load_locomo
from ops.wiring import make_embedder, open_recall


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="FILE", help="LoCoMo's JSON file; without it the benchmark is skipped")
    parser.add_argument(
        "--conversations", nargs="+", metavar="ID", help="only these, such as conv-26 (default: all; --small: the first)"
    )


def measure(args: argparse.Namespace, progress: Progress) -> Report:
    """Play, ask, score."""
    data = _load(args.data)
    conversations = _chosen(data, args.conversations, small=args.small)
    names = [conversation.conversation for conversation in conversations]
    with running_line(data.recorded_turns(names), progress) as line:
        played, answered = asyncio.run(_run(line, conversations, progress))
    return _report(data, conversations, played, answered)


def _load(path: Path | None) -> LocomoData:
    if path is None:
        raise Skip("needs LoCoMo's file: give it with --data FILE")
    if not path.is_file():
        raise Skip(f"there is no file {path}")
    try:
        return load_locomo(path)
    except LocomoError as error:
        raise Failed(str(error)) from None


def _chosen(data: LocomoData, names: Sequence[str] | None, *, small: bool) -> list[LocomoConversation]:
    if not names:
        return list(data.conversations[:1] if small else data.conversations)
    try:
        return [data.conversation(name) for name in names]
    except LocomoError as error:
        raise Failed(str(error)) from None


async def _run(line: Line, conversations: Sequence[LocomoConversation], progress: Progress) -> tuple[Played, list[Answered]]:
    played = await play(line, conversations, progress)
    embedder = make_embedder(line.settings)
    answered: list[Answered] = []
    done = 0
    async with (
        open_recall(line.settings, line.dsn, embedder) as recall,
        await psycopg.AsyncConnection.connect(line.dsn, autocommit=True) as conn,
    ):
        with progress.bar("questions", questions_of(conversations)) as show:

            def one_more() -> None:
                nonlocal done
                done += 1
                show(done)

            for conversation in conversations:
                answered += await ask(recall, conn, embedder, conversation, one_more)
    return played, answered


def _report(
    data: LocomoData, conversations: Sequence[LocomoConversation], played: Played, answered: Sequence[Answered]
) -> Report:
    if not answered:
        raise Failed("no question of these conversations has valid evidence")
    ours, bm25 = mean([a.ours for a in answered]), mean([a.bm25 for a in answered])
    waits = [a.recall_ms for a in answered]
    questions = sum(len(conversation.questions) for conversation in conversations)
    return Report(
        sizes={
            "conversations": [conversation.conversation for conversation in conversations],
            "turns": played.turns,
            "memories": played.memories,
            "questions": len(answered),
            "questions_without_evidence": questions - len(answered),
            "evidence_mended": len(data.repairs.mended),
            "evidence_left_out": len(data.repairs.left_out),
            "memories_asked": MEMORIES_ASKED,
            "ingest_s": round(played.seconds, 1),
        },
        figures={
            **ours.as_dict(),
            **{f"bm25_{name}": value for name, value in bm25.as_dict().items()},
            "answerable": round(fmean(a.answerable for a in answered), 4),
            "recall_p50_ms": round(percentile(waits, 0.5), 2),
            "recall_p95_ms": round(percentile(waits, 0.95), 2),
            "per_category": per_category(answered),
        },
        ratios={
            "turn_r10_to_bm25": round(ours.turn_r10 / bm25.turn_r10, 3) if bm25.turn_r10 else 0.0,
            "session_r5_to_bm25": round(ours.session_r5 / bm25.session_r5, 3) if bm25.session_r5 else 0.0,
        },
    )


def per_category(answered: Sequence[Answered]) -> dict[str, dict[str, float]]:
    """Scores by category name, with the number of questions and BM25's beside them."""
    found = {}
    for number, name in CATEGORIES.items():
        group = [a for a in answered if a.category == number]
        if group:
            bm25 = mean([a.bm25 for a in group])
            found[name] = {
                "questions": len(group),
                **mean([a.ours for a in group]).as_dict(),
                "bm25_turn_r10": round(bm25.turn_r10, 4),
                "bm25_session_r5": round(bm25.session_r5, 4),
                "answerable": round(fmean(a.answerable for a in group), 4),
            }
    return found


if __name__ == "__main__":
    sys.exit(main("locomo", __doc__, add_arguments, measure))
