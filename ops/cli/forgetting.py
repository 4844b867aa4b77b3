"""Forgetting memories or a whole owner, and waiting until archive and graph have done it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg

from ops.cli.asking import asking
from ops.cli.errors import CliError, UsageError
from ops.cli.target import Target
from schemas import ids
from schemas.fingerprint import normalise
from schemas.owner import Owner
from schemas.types import CommandNoted, CommandRejected, EraseOwner, MemoryForgotten, OwnerErased
from streams.producers import forget_commands


@dataclass(slots=True)
class Forgotten:
    """What a forget brought: memory ids with the messages that taught them (named as their producers name them), or the reason
    why nothing changed. ``include_source`` says whether these messages are to go, too."""

    forgotten: dict[str, list[str]] = field(default_factory=dict)
    noted: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    include_source: bool = False
    forget_id: str | None = None
    """Id of the request, by which `emberlog receipt` knows it."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure brought: how many memories went, and where that stands on the log."""

    memories: int
    event_id: str
    sequence: int
    command_id: str


async def forget(
    target: Target, owner: Owner, memory_ids: Sequence[str], timeout_s: float, *, include_source: bool = False
) -> Forgotten:
    """Ask for the memories to be forgotten; returns once archive and graph have followed. Raises TimedOut."""
    taught = await _taught_by(target, memory_ids)
    async with asking(target, owner, timeout_s) as request:
        end = await request.producer.conversation_end(request.reference)
        meta = request.meta()
        commands = forget_commands(meta, memory_ids, end, include_source=include_source)
        events = [event for command in commands for event in await request.ask(command)]
    result = Forgotten(include_source=include_source)
    for event in events:
        match event:
            case MemoryForgotten():
                result.forget_id = meta.command_id
                result.forgotten[event.memory_id] = taught.get(event.memory_id, [])
            case CommandNoted():
                result.noted.append(event.reason)
            case CommandRejected():
                result.rejected.append(event.reason)
    return result


async def erase(target: Target, owner: Owner, timeout_s: float) -> Erased:
    """Ask for everything of the owner to go; returns once archive and graph have followed.

    Raises TimedOut, and CliError where it was rejected.
    """
    async with asking(target, owner, timeout_s) as request:
        end = await request.producer.conversation_end(request.reference)
        [event] = await request.ask(EraseOwner(request.meta(), end))
    if not isinstance(event, OwnerErased):
        raise CliError(getattr(event, "reason", "the owner was not erased"))
    meta = event.meta
    return Erased(event.memories, ids.event_id(meta.owner, meta.sequence), meta.sequence, meta.command_id)


async def by_slug(target: Target, reference: str, slug: str) -> str:
    """Id of the owner's live memory with this slug, compared as the decider does. Raises UsageError where there is none."""
    wanted = _comparable(slug)
    async with await psycopg.AsyncConnection.connect(target.dsn, autocommit=True) as connection:
        cursor = await connection.execute(
            "SELECT id::text, metadata ->> 'slug' FROM thermal_memory_archive WHERE owner = %s::uuid AND metadata ? 'slug'",
            (reference,),
        )
        for memory_id, known in await cursor.fetchall():
            if _comparable(known) == wanted:
                return str(memory_id)
    raise UsageError("this owner has no live memory with that slug", "see what there is with: emberlog recall … --json")


def _comparable(slug: str) -> str:
    """What the fingerprint of a slug is made of."""
    return normalise("slug\x1f" + slug)


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
