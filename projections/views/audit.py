"""audit: what was done to whose memory, without saying whose or what, and the counts of each turn.

Claims (``audit_claims``) hold ids, counts and 8 hex digits of a keyed hash of the owner reference, never content or an owner's
id. Per partition they are chained: hash = SHA-256(hash before || fields of the entry), so a changed, inserted or removed entry
shows (``verify_chain``), also after the memories it speaks of are gone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection

from projections.records import Kind, Placed, Source
from projections.view import Column, Table, Target, ViewSettings
from projections.views.audit_claims import Claims
from schemas.errors import BrokenRecord
from schemas.ids import is_uuid
from schemas.types import CommandNoted, CommandRejected, MemoryAdded, MemoryReheated, MemoryRevised, SourceRef

GENESIS = "0" * 64
"""The hash before a partition's first entry."""

AUDIT_LOG = Table(
    "audit_log",
    (
        Column("partition", "int4"),
        Column("offset", "int8"),
        Column("owner_hash", "text"),
        Column("sequence", "int8"),
        Column("event_type", "text"),
        Column("claim", "text"),
        Column("occurred_at", "timestamptz"),
        Column("prev_hash", "text"),
        Column("hash", "text"),
    ),
    ("partition", "offset"),
)
AUDIT_HEAD = Table(
    "audit_head",
    (Column("partition", "int4"), Column("entries", "int8"), Column("hash", "text")),
    ("partition",),
)
TURN_OUTCOME = Table(
    "turn_outcome",
    (
        Column("turn_id", "text"),
        Column("owner_hash", "text"),
        Column("extracted", "int8"),
        Column("new", "int8"),
        Column("updated", "int8"),
        Column("errors", "int8"),
        Column("occurred_at", "timestamptz"),
    ),
    ("turn_id",),
)


class AuditView:
    """One claim per event that changed something, one outcome per turn."""

    name = "audit"
    version = 2
    tables = (AUDIT_LOG, AUDIT_HEAD, TURN_OUTCOME)

    def __init__(self, settings: ViewSettings) -> None:
        if not settings.audit_key:
            raise ValueError("the audit view needs ViewSettings.audit_key: the key that owner hashes are made under")
        topics = settings.topics
        self.sources = (Source(topics.events, topics.partitions, Kind.EVENTS),)
        self._claims = Claims(settings.audit_key)

    def owner_hash(self, owner: str) -> str:
        """8 hex digits that stand for an owner reference in claims."""
        return self._claims.hash_of(owner)

    def check(self, placed: Placed) -> None:
        """What the decider makes is a UUID: anything else could be personal."""
        memory_id = getattr(placed.record, "memory_id", None)
        if memory_id is not None and not is_uuid(memory_id):
            raise BrokenRecord("memory_id is not a UUID")
        source = _source(placed.record)
        if source is not None and not is_uuid(source.turn_id):
            raise BrokenRecord("turn_id is not a UUID")

    async def apply(self, target: Target, batch: Sequence[Placed]) -> None:
        """Chain the claims of a batch behind the last ones, and count its turns."""
        claims = [(placed, self._claims.of(placed.record)) for placed in batch]
        await self._chain(target, [(placed, claim) for placed, claim in claims if claim is not None])
        await self._count(target, batch)

    async def _chain(self, target: Target, batch: Sequence[tuple[Placed, str]]) -> None:
        if not batch:
            return
        cursor = await target.conn.execute(
            f"SELECT partition, entries, hash FROM {target.name(AUDIT_HEAD)} WHERE partition = ANY(%s)",
            (list({placed.partition for placed, _ in batch}),),
        )
        heads: dict[int, tuple[int, str]] = {r[0]: (r[1], r[2]) for r in await cursor.fetchall()}
        rows = []
        for placed, claim in batch:
            entries, before = heads.get(placed.partition, (0, GENESIS))
            row = self._entry(placed, claim, before)
            rows.append(row)
            heads[placed.partition] = (entries + 1, row[-1])
        await target.upsert(AUDIT_LOG, rows)
        await target.run(AUDIT_HEAD.upsert(target.schema), [(partition, *head) for partition, head in heads.items()])

    def _entry(self, placed: Placed, claim: str, before: str) -> list[Any]:
        event = placed.record
        fields = [
            placed.partition,
            placed.offset,
            self.owner_hash(event.meta.owner),
            event.meta.sequence,
            type(event).__name__,
            claim,
            event.meta.occurred_at,
        ]
        return [*fields, before, entry_hash(before, fields)]

    async def _count(self, target: Target, batch: Sequence[Placed]) -> None:
        turns: dict[str, list[Any]] = {}
        changed: dict[str, None] = {}
        for placed in batch:
            event, source = placed.record, _source(placed.record)
            if source is None:
                continue
            new, updated = isinstance(event, MemoryAdded), isinstance(event, MemoryReheated | MemoryRevised)
            known = source.turn_id in turns
            fresh = [source.turn_id, self.owner_hash(event.meta.owner), 0, 0, 0, 0, event.meta.occurred_at]
            row = turns.setdefault(source.turn_id, fresh)
            if new or updated or not known:
                row[2], row[5] = source.facts_in_turn, source.failed_in_turn
            if new or updated:
                row[3] += new
                row[4] += updated
                changed[source.turn_id] = None
        marks = ", ".join(["%s"] * len(TURN_OUTCOME.names))
        insert = f"INSERT INTO {target.name(TURN_OUTCOME)} AS o ({TURN_OUTCOME.quoted}) VALUES ({marks}) ON CONFLICT (turn_id) "
        # what was only noted makes a row where there is none
        await target.run(insert + "DO NOTHING", [row for turn, row in turns.items() if turn not in changed])
        add = (
            'DO UPDATE SET extracted = EXCLUDED.extracted, errors = EXCLUDED.errors, "new" = o."new" + EXCLUDED."new", '
            "updated = o.updated + EXCLUDED.updated"
        )
        await target.run(insert + add, [turns[turn] for turn in changed])


def _source(record: Any) -> SourceRef | None:
    kinds = MemoryAdded | MemoryReheated | MemoryRevised | CommandNoted | CommandRejected
    return record.source if isinstance(record, kinds) else None


def entry_hash(before: str, fields: Sequence[Any]) -> str:
    """Hash of an entry: SHA-256 over the hash before (32 bytes) and its fields, partition to time, joined by unit separators.

    Times count as ISO 8601 in UTC with microseconds.
    """
    texts = [f.astimezone(UTC).isoformat(timespec="microseconds") if isinstance(f, datetime) else str(f) for f in fields]
    return hashlib.sha256(bytes.fromhex(before) + "\x1f".join(texts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ChainReport:
    """Outcome of ``verify_chain``: how many entries were read, and the first that is wrong (partition, offset; -1 for the chain's
    end), with the reason."""

    entries: int
    broken_at: tuple[int, int] | None = None
    reason: str = ""

    @property
    def ok(self) -> bool:
        return self.broken_at is None


async def verify_chain(conn: AsyncConnection[Any], schema: str = "public") -> ChainReport:
    """Compute every hash anew, partition by partition. ``schema`` is public (the live log) or a generation's.

    Finds changed, inserted, removed and reordered entries, also at the end of the chain. Memory stays constant. ``conn`` must not
    be inside a transaction: all is read as of one moment.
    """
    async with conn.transaction():
        await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor = await conn.execute(f"SELECT partition, entries, hash FROM {schema}.audit_head ORDER BY partition")
        heads = {r[0]: (r[1], r[2]) for r in await cursor.fetchall()}
        seen: dict[int, tuple[int, str]] = {}
        entries = 0
        names = ", ".join(f'"{n}"' for n in AUDIT_LOG.names)
        async with conn.cursor(name="audit_chain") as rows:
            rows.itersize = 5_000
            await rows.execute(f'SELECT {names} FROM {schema}.audit_log ORDER BY partition, "offset"')
            async for *fields, before, own in rows:
                entries += 1
                partition, offset = fields[0], fields[1]
                count, last = seen.get(partition, (0, GENESIS))
                if before != last:
                    return ChainReport(entries, (partition, offset), "an entry before it was removed, inserted or changed")
                if entry_hash(before, fields) != own:
                    return ChainReport(entries, (partition, offset), "the entry was changed")
                seen[partition] = (count + 1, own)
    for partition in sorted({*heads, *seen}):
        if heads.get(partition, (0, GENESIS)) != seen.get(partition, (0, GENESIS)):
            return ChainReport(entries, (partition, -1), "the chain's end is missing or was rewritten")
    return ChainReport(entries)
