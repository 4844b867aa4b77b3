"""Asking LoCoMo's questions: recall through the projection, BM25 on the raw turns, and their scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from psycopg import AsyncConnection

from benchmarks.locomo.baseline import TurnsByBm25, english_words, spoken
from benchmarks.locomo.metrics import Scores, in_order, score
from benchmarks.locomo.playing import owner_of
from benchmarks.owners import fixed_reference
from ops.standin.locomo import LocomoConversation
from projections.recall import Recall, Recalled
from streams.extraction.ports import Embedder

MEMORIES_ASKED = 100
"""Memories recalled for each question: deep enough for ten turns and five sessions; an MRR below 1 in 100 counts as 0."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One question's scores. ``answerable``: the share of its evidence that any memory of the conversation stands for."""

    category: int
    ours: Scores
    bm25: Scores
    answerable: float
    recall_ms: float


def evidence_turns(memory: Recalled, known: Container[str]) -> list[str]:
    """The turns behind a memory: its messages, whose producer's ids are the set's turn ids, its first mention's first."""
    why = memory.provenance
    mentions = sorted(why.mentions, key=lambda m: m.sequence)
    every = (turn for ids in (why.producer_message_ids, *(m.producer_message_ids for m in mentions)) for turn in ids)
    return [turn for turn in dict.fromkeys(every) if turn in known]


async def ask(
    recall: Recall,
    conn: AsyncConnection[Any],
    embedder: Embedder,
    conversation: LocomoConversation,
    on_answer: Callable[[], None],
) -> list[Answered]:
    """Ask every question with valid evidence. Temperatures are those of the day after the conversation."""
    session_of = {turn.dia_id: f"session-{session.number}" for session in conversation.sessions for turn in session.turns}
    owner = fixed_reference(owner_of(conversation.conversation))
    turns = list(conversation.turns())
    bm25 = TurnsByBm25([turn.dia_id for turn in turns], await english_words(conn, [spoken(turn) for turn in turns]))
    now = max(session.at for session in conversation.sessions) + timedelta(days=1)
    remembered = await _remembered_turns(conn, owner)
    questions = [question for question in conversation.questions if question.evidence]
    words = await english_words(conn, [question.question for question in questions])
    answered = []
    for question, asked in zip(questions, words, strict=True):
        began = time.perf_counter()
        (vector,) = await embedder.embed([question.question])
        memories = await recall.search(owner, question.question, vector, MEMORIES_ASKED, now)
        spent = 1000 * (time.perf_counter() - began)
        ranked = in_order(evidence_turns(memory, session_of) for memory in memories)
        answered.append(
            Answered(
                category=question.category,
                ours=score(ranked, question.evidence, session_of),
                bm25=score(bm25.rank(asked), question.evidence, session_of),
                answerable=len(remembered.intersection(question.evidence)) / len(set(question.evidence)),
                recall_ms=spent,
            )
        )
        on_answer()
    return answered


async def _remembered_turns(conn: AsyncConnection[Any], owner: str) -> set[str]:
    """Turns that at least one memory stands for."""
    cursor = await conn.execute(
        "SELECT DISTINCT unnest(m.producer_message_ids) FROM memory_mention m JOIN thermal_memory_archive a ON a.id = m.memory_id"
        " WHERE a.owner = %s",
        (owner,),
    )
    return {row[0] for row in await cursor.fetchall()}


def questions_of(conversations: Sequence[LocomoConversation]) -> int:
    """Questions with valid evidence."""
    return sum(bool(question.evidence) for conversation in conversations for question in conversation.questions)
