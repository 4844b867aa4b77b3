"""Asking for forgettings, waiting for them, and looking at what an owner's topics and tables hold."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from ops.keyring import keys_dsn, open_keys
from ops.wiring import make_embedder, open_recall
from schemas.fingerprint import fingerprint
from schemas.ids import part_of
from schemas.sealing import open_all, seal
from schemas.types import (
    Command,
    FactsExtracted,
    MemoryEvent,
    MemoryForgotten,
    Remember,
    Revise,
    Sealed,
)
from streams.producers import request_meta
from tests.line.support.line import Line
from tests.line.support.process import EmberlogProcess
from tests.line.support.reading import read_all
from tests.line.support.speaker import Speaker
from tests.line.support.waiting import until

SHOWN = 50
"""Texts that are looked for in every table."""
_TABLES = """
SELECT table_schema, table_name FROM information_schema.tables
WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')
"""


class Forgetting(NamedTuple):
    """A request that forgot ``memories``."""

    id: str
    memories: int


async def forget(speaker: Speaker, *memory_ids: str) -> Forgetting:
    """Ask for memories to be forgotten, and do not wait."""
    async with speaker.line.commands() as producer:
        first, *_ = await producer.forget(speaker.reference, memory_ids)
    return Forgetting(part_of(first.meta.command_id).request_id, len(memory_ids))


async def send(speaker: Speaker, *commands: Command) -> None:
    """Commands in their order, sealed as every producer seals them."""
    line = speaker.line
    async with open_keys(line.as_settings, line.dsn) as ring, line.commands() as producer:
        for command in commands:
            await producer.send(await seal(ring.keys, command))


async def remember(speaker: Speaker, text: str) -> None:
    """Ask for a statement to be remembered, and do not wait."""
    print_ = (await fingerprints(speaker, [text]))[0]
    policy = speaker.line.as_settings.policy
    words = Sealed.of(speaker.owner.id), Sealed.of(text)
    await send(speaker, Remember(request_meta(speaker.reference), *words, print_, 1.0, policy))


async def revise(speaker: Speaker, memory_id: str, text: str) -> None:
    """Ask for other words of a memory, and do not wait."""
    print_ = (await fingerprints(speaker, [text]))[0]
    policy = speaker.line.as_settings.policy
    await send(speaker, Revise(request_meta(speaker.reference), memory_id, Sealed.of(text), print_, policy))


async def fingerprints(speaker: Speaker, texts: Iterable[str]) -> list[str]:
    """The owner's fingerprints of ``texts``."""
    line = speaker.line
    await line.know([speaker.owner])
    async with open_keys(line.as_settings, line.dsn) as ring:
        key = await ring.keys.fingerprint_key(speaker.reference)
    assert key is not None
    return [fingerprint(key, text) for text in texts]


async def memory_that_says(speaker: Speaker, text: str) -> str:
    """Id of the live memory of these words."""
    return next(str(row["id"]) for row in await speaker.archive() if row["original_content"] == text)


async def events_of(speaker: Speaker) -> list[MemoryEvent]:
    """The owner's accepted events, opened."""
    async with speaker.line.log() as log:
        await log.to_the_end()
    assert (log.gaps, log.broken) == (0, 0)
    return log.owners.get(speaker.reference, [])


async def forgotten(speaker: Speaker, forgetting: Forgetting) -> None:
    """Wait until the log says that it is forgotten."""

    async def there() -> bool:
        return any(
            type(e) is MemoryForgotten and part_of(e.meta.command_id).request_id == forgetting.id
            for e in await events_of(speaker)
        )

    await until(there, "the forgetting is decided", 60)


async def carried_out(speaker: Speaker, forgetting: Forgetting) -> None:
    """Wait until its keys are destroyed and the views have followed."""
    query = "SELECT 1 FROM forgetting WHERE request_id = %s"
    await until(lambda: key_store_rows(speaker.line, query, (forgetting.id,)), "the keys are destroyed", 60)
    await speaker.line.projected()


async def receipted(speaker: Speaker, *forgettings: Forgetting, deadline_s: float = 90) -> None:
    """Wait for the receipts, as the key store has read them from the log."""
    line, missing = speaker.line, {f.id for f in forgettings}

    async def there() -> bool:
        found = await key_store_rows(line, "SELECT request_id FROM forgetting WHERE receipt_id IS NOT NULL")
        missing.difference_update(row[0] for row in found)
        return not missing

    await until(there, lambda: f"{len(missing)} of {len(forgettings)} forgettings have no receipt", deadline_s)


async def key_store_rows(line: Line, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Rows from the key store's database."""
    async with await psycopg.AsyncConnection.connect(keys_dsn(line.as_settings, line.dsn)) as connection:
        return await (await connection.execute(query.encode(), parameters)).fetchall()


async def recalled(speaker: Speaker, question: str) -> list[str]:
    """Contents that recall finds, by the line's embedder."""
    settings = speaker.line.as_settings
    embedder = make_embedder(settings)
    try:
        [vector] = await embedder.embed([question])
        async with open_recall(settings, speaker.line.dsn, embedder, connections=1) as recall:
            found = await recall.search(speaker.reference, question, vector, 5, datetime.now(UTC))
    finally:
        await embedder.close()
    return [answer.content for answer in found]


async def both(line: Line) -> tuple[EmberlogProcess, EmberlogProcess]:
    """One worker and one projector at work, ready: those that are there, and new ones for those that were killed."""
    alive = {p.name.partition("-")[0]: p for p in reversed(line.processes) if p.alive}
    # together: a worker is not ready before a projector has destroyed what was forgotten
    missing = [kind for kind in ("worker", "project") if kind not in alive]
    alive |= dict(zip(missing, await line.start(*missing), strict=True))
    found = alive["worker"], alive["project"]
    for process in [p for p in line.processes if p not in found]:
        await asyncio.to_thread(process.close)
        line.processes.remove(process)
    return found


async def begin_anew(line: Line) -> None:
    """New processes with empty databases; topics and keys stay."""
    for process in line.processes:
        process.kill()
    line.processes.clear()
    await line.new_database()
    await line.start("worker", "project")


async def commands_of(speaker: Speaker) -> list[tuple[str, Sealed]]:
    """Every statement on the command topic: its fingerprint, and its words as far as they can be opened."""
    line = speaker.line
    records = [r for _, r in await read_all(line.bootstrap, line.topics.commands, line.topics.partitions)]
    told = [r for r in records if isinstance(r, FactsExtracted | Remember | Revise) and r.meta.owner == speaker.reference]
    async with open_keys(line.as_settings, line.dsn) as ring:
        opened = await open_all(ring.keys, told)
    facts = [(f.fingerprint, f.text) for r in opened if isinstance(r, FactsExtracted) for f in r.facts]
    return facts + [(r.fingerprint, r.content) for r in opened if isinstance(r, Remember | Revise)]


async def words_in_tables(line: Line, words: Collection[str]) -> list[str]:
    """Tables of the views' database (every generation of a view, whatever its state) and the key store's that hold any.

    Rows that are messages do not count: a conversation is not a memory, and stays where it is not forgotten with one.
    """
    return [
        f"{schema}.{name}"
        for dsn in (line.dsn, keys_dsn(line.as_settings, line.dsn))
        for schema, name in await _holding(dsn, [f"%{word}%" for word in list(words)[:SHOWN]])
    ]


async def _holding(dsn: str, patterns: list[str]) -> list[tuple[str, str]]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        found = []
        for schema, name in await (await connection.execute(_TABLES)).fetchall():
            query = sql.SQL(
                "SELECT EXISTS (SELECT FROM {} t WHERE t::text LIKE ANY (%s) "
                "AND to_jsonb(t) ->> 'kind' IS DISTINCT FROM 'message')"
            ).format(sql.Identifier(schema, name))
            row = await (await connection.execute(query, (patterns,))).fetchone()
            if row is not None and row[0]:
                found.append((schema, name))
    return found
