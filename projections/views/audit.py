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

from msgspec.structs import astuple, replace
from psycopg import AsyncConnection

from projections.folding import FoldingView
from projections.records import Kind, Placed, Source
from projections.rows import Int4, Row, Rows, Wanted, table_of
from projections.view import ViewSettings
from projections.views.audit_claims import Claims
from schemas.errors import BrokenRecord
from schemas.ids import is_uuid
from schemas.types import CommandNoted, CommandRejected, MemoryAdded, MemoryReheated, MemoryRevised, SourceRef

GENESIS = "0" * 64
"""The hash before a partition's first entry."""
HASHED = 7
"""So many fields of an entry, the first ones, are in its hash."""


class Entry(Row, frozen=True):
    """One claim in its chain."""

    partition: Int4
    offset: int
    owner_hash: str
    sequence: int
    event_type: str
    claim: str
    occurred_at: datetime
    prev_hash: str
    hash: str


class Head(Row, frozen=True):
    """The end of a partition's chain."""

    partition: Int4
    entries: int
    hash: str


class Outcome(Row, frozen=True):
    """What a turn brought."""

    turn_id: str
    owner_hash: str
    extracted: int
    new: int
    updated: int
    errors: int
    occurred_at: datetime


AUDIT_LOG = table_of(Entry, "audit_log", key=("partition", "offset"))
AUDIT_HEAD = table_of(Head, "audit_head", key=("partition",))
TURN_OUTCOME = table_of(Outcome, "turn_outcome", key=("turn_id",))


class AuditView(FoldingView):
    """One claim per event that changed something, one outcome per turn."""

    name = "audit"
    version = 3
    tables = (AUDIT_LOG, AUDIT_HEAD, TURN_OUTCOME)
    forgets = False
    chained = (AUDIT_LOG,)

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

    def wants(self, wanted: Wanted, placed: Placed) -> None:
        """The end of the partition's chain, and what is counted of the turn."""
        wanted.key(AUDIT_HEAD, placed.partition)
        source = _source(placed.record)
        if source is not None:
            wanted.key(TURN_OUTCOME, source.turn_id)

    def fold(self, rows: Rows, placed: Placed) -> None:
        """Chain the claim behind the last one, and count."""
        self.chain(rows, placed)
        self.fold_apart(rows, placed)

    def chain(self, rows: Rows, placed: Placed) -> None:
        """The claim behind the last one."""
        claim = self._claims.of(placed.record)
        if claim is not None:
            head = rows.get(Head, AUDIT_HEAD, placed.partition) or Head(placed.partition, 0, GENESIS)
            entry = self._entry(placed, claim, head.hash)
            rows.add(AUDIT_LOG, entry)
            rows.put(AUDIT_HEAD, Head(placed.partition, head.entries + 1, entry.hash))

    def fold_apart(self, rows: Rows, placed: Placed) -> None:
        """Count."""
        source = _source(placed.record)
        if source is not None:
            self._count(rows, placed.record, source)

    def _entry(self, placed: Placed, claim: str, before: str) -> Entry:
        event = placed.record
        entry = Entry(
            placed.partition,
            placed.offset,
            self.owner_hash(event.meta.owner),
            event.meta.sequence,
            type(event).__name__,
            claim,
            event.meta.occurred_at,
            before,
            "",
        )
        return replace(entry, hash=entry_hash(before, astuple(entry)[:HASHED]))

    def _count(self, rows: Rows, event: Any, source: SourceRef) -> None:
        new, updated = isinstance(event, MemoryAdded), isinstance(event, MemoryReheated | MemoryRevised)
        row = rows.get(Outcome, TURN_OUTCOME, source.turn_id)
        if row is not None and not (new or updated):
            return  # what was only noted makes a row where there is none
        if row is None:
            row = Outcome(source.turn_id, self.owner_hash(event.meta.owner), 0, 0, 0, 0, event.meta.occurred_at)
        counts = {"new": row.new + new, "updated": row.updated + updated}
        rows.put(TURN_OUTCOME, replace(row, extracted=source.facts_in_turn, errors=source.failed_in_turn, **counts))


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
