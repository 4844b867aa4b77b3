"""Forgetting memories and waiting until every store has done it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg

from ops.cli.asking import asking
from ops.cli.target import Target
from schemas.owner import Owner
from schemas.types import CommandNoted, CommandRejected, Forget, MemoryForgotten


@dataclass(slots=True)
class Forgotten:
    """What a forget brought: memory ids with the messages that taught them (they stay, named as their producers name them), or
    the reason why nothing changed."""

    forgotten: dict[str, list[str]] = field(default_factory=dict)
    noted: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)


async def forget(target: Target, owner: Owner, memory_ids: Sequence[str], timeout_s: float) -> Forgotten:
    """Ask for the memories to be forgotten; returns once archive and embeddings have followed. Raises TimedOut."""
    taught = await _taught_by(target, memory_ids)
    async with asking(target, owner, timeout_s) as request:
        end = await request.producer.conversation_end(owner.reference)
        command = Forget(meta=request.meta(), memory_ids=tuple(memory_ids), conversation_end_offset=end)
        events = await request.ask(command)
    result = Forgotten()
    for event in events:
        match event:
            case MemoryForgotten():
                result.forgotten[event.memory_id] = taught.get(event.memory_id, [])
            case CommandNoted():
                result.noted.append(event.reason)
            case CommandRejected():
                result.rejected.append(event.reason)
    return result


async def _taught_by(target: Target, memory_ids: Sequence[str]) -> dict[str, list[str]]:
    """The messages behind each memory, the first first."""
    async with await psycopg.AsyncConnection.connect(target.dsn, autocommit=True) as connection:
        cursor = await connection.execute(
            "SELECT memory_id::text, producer_message_ids FROM memory_mention WHERE memory_id = ANY(%s::uuid[]) "
            "ORDER BY sequence",
            (list(memory_ids),),
        )
        messages: dict[str, dict[str, None]] = {}
        for memory_id, labels in await cursor.fetchall():
            messages.setdefault(memory_id, {}).update(dict.fromkeys(labels))
    return {memory_id: list(labels) for memory_id, labels in messages.items()}
