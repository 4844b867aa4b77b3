"""Recall with its reasons: memory → event → turn → what was said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

from ops.cli.errors import NotRunning
from ops.cli.out import moment
from ops.cli.owners import find
from ops.cli.show import messages_of
from ops.cli.target import Target
from ops.cli.topics import turns_at
from ops.cli.words import excerpt, extracted_by, short
from ops.wiring import make_embedder, open_recall
from projections.recall import Recalled
from schemas.owner import Owner
from streams.extraction.errors import ExtractionError


@dataclass(frozen=True, slots=True)
class Source:
    """A turn that mentioned a memory, with the messages that say so; ``messages`` is empty where the turn cannot be read."""

    turn_id: str
    session_id: str
    occurred_at: datetime
    sequence: int
    partition: int
    offset: int
    messages: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A recalled memory and the turns behind it, oldest first."""

    memory: Recalled
    sources: tuple[Source, ...]


async def ask(target: Target, owner: Owner, question: str, k: int) -> list[Answer]:
    """The best ``k`` memories of ``owner`` with their sources. Raises NotRunning where the embeddings endpoint is away."""
    reference = await find(target, owner)
    if reference is None:
        return []
    embedder = make_embedder(target.settings)
    try:
        [vector] = await embedder.embed([question])
        async with open_recall(target.settings, target.dsn, embedder, connections=1) as recall:
            found = await recall.search(reference, question, vector, k, datetime.now(UTC))
    except ExtractionError as error:
        raise NotRunning(f"the question could not be embedded: {error.reason}", "check EMBEDDING_BASE_URL") from None
    finally:
        await embedder.close()
    offsets = await _source_offsets(target, [memory.memory_id for memory in found])
    # all turns of an owner stand in one partition of conversation.events
    partition = found[0].provenance.partition if found else 0
    turns = await turns_at(target, partition, offsets.values()) if found else {}

    def sources(memory: Recalled) -> tuple[Source, ...]:
        made = []
        for mention in sorted(memory.provenance.mentions, key=lambda m: m.sequence):
            offset = offsets.get((memory.memory_id, mention.sequence), -1)
            said = messages_of(turns.get(offset), mention.message_ids)
            made.append(
                Source(mention.turn_id, mention.session_id, mention.occurred_at, mention.sequence, partition, offset, said)
            )
        return tuple(made)

    return [Answer(memory, sources(memory)) for memory in found]


async def _source_offsets(target: Target, memory_ids: Sequence[str]) -> dict[tuple[str, int], int]:
    """Offset in conversation.events by memory id and sequence of the mention."""
    async with await psycopg.AsyncConnection.connect(target.dsn, autocommit=True) as connection:
        cursor = await connection.execute(
            "SELECT memory_id::text, sequence, source_offset FROM memory_mention WHERE memory_id = ANY(%s::uuid[])",
            (list(memory_ids),),
        )
        return {(row[0], row[1]): row[2] for row in await cursor.fetchall()}


def why_lines(answer: Answer) -> list[str]:
    """The reasons, for people."""
    why = answer.memory.provenance
    by = extracted_by(why.extractor, why.model, why.rules)
    lines = [
        f"memory {answer.memory.memory_id}",
        f"└ event {why.sequence} of its owner, {why.topic} {why.partition}@{why.offset}  ({by})",
    ]
    for source in answer.sources:
        lines.append(f"  └ turn {short(source.turn_id)} of session {source.session_id}, {moment(source.occurred_at)}")
        lines += [f"    └ {m['name'] or m['role']}: “{excerpt(m['content'])}”" for m in source.messages]
        if not source.messages:
            lines.append("    └ its messages are no longer on the log")
    return lines
