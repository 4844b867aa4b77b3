"""The end of a forgetting, which must be the same whatever went on and whatever was killed meanwhile.

One receipt for each request that forgot something; what was forgotten cannot be opened wherever it stands, and the rest can; no
table holds it; the log is what its commands lead to, and the views are what the log leads to. After all processes have begun
anew with empty databases nothing of it is back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ops.keyring import open_keys
from schemas.ids import part_of
from schemas.sealing import open_all
from schemas.types import MemoryAdded, MemoryEmbedding, MemoryEvent, MemoryForgotten, MemoryRevised, ReceiptIssued
from streams.redeciding import Findings, redecide
from tests.line.support.forgetting import (
    Forgetting,
    begin_anew,
    commands_of,
    events_of,
    fingerprints,
    key_store_rows,
    recalled,
    receipted,
    words_in_tables,
)
from tests.line.support.line import Line
from tests.line.support.reading import read_all
from tests.line.support.rebuilt import live_digest, rebuilt_digest
from tests.line.support.speaker import Speaker
from tests.line.support.waiting import until


@dataclass
class End:
    """What one owner's memory must come to: ``gone`` and ``kept`` are all the statements that were ever made."""

    speaker: Speaker
    forgettings: Sequence[Forgetting]
    gone: Collection[str]
    kept: Collection[str]

    async def prove(self, *, anew: bool = False, alone: bool = True) -> None:
        """``prove`` for this owner."""
        await prove([self], anew=anew, alone=alone)

    async def now(self) -> None:
        """Look at this owner's part."""
        gone, kept = [set(await fingerprints(self.speaker, texts)) for texts in (self.gone, self.kept)]
        events = await events_of(self.speaker)
        self._counted(events)
        said = [e for e in events if isinstance(e, MemoryAdded | MemoryRevised)]
        assert {e.fingerprint for e in said} <= gone | kept
        wrong = [type(e).__name__ for e in said if e.content.is_destroyed != (e.fingerprint in gone)]
        assert wrong == [], "destroyed is what is gone, and nothing else"
        await self._commands(gone, kept)
        await self._vectors({e.memory_id for e in events if isinstance(e, MemoryForgotten)})
        await self._keys(events)
        assert sorted(await self.speaker.contents()) == sorted(self.kept)
        assert await words_in_tables(self.speaker.line, self.gone) == []
        for text in list(self.gone)[:3]:
            assert set(await recalled(self.speaker, text)) <= set(self.kept)

    def _counted(self, events: Iterable[MemoryEvent]) -> None:
        receipts = [e for e in events if isinstance(e, ReceiptIssued)]
        assert Counter(e.forget_id for e in receipts) == {f.id: 1 for f in self.forgettings}, "one receipt each"
        for receipt, forgetting in ((r, f) for r in receipts for f in self.forgettings if f.id == r.forget_id):
            counted = {o.store: o.removed for o in receipt.outcomes if o.pending_until is None}
            assert (counted["thermal"], counted["graph"]) == (forgetting.memories, forgetting.memories)
        taken = [e for e in events if isinstance(e, MemoryForgotten)]
        assert Counter(part_of(e.meta.command_id).request_id for e in taken) == {f.id: f.memories for f in self.forgettings}
        assert len({e.memory_id for e in taken}) == len(taken), "each memory was forgotten once"

    async def _commands(self, gone: set[str], kept: set[str]) -> None:
        statements = await commands_of(self.speaker)
        assert {print_ for print_, _ in statements} <= gone | kept
        assert all(value.is_destroyed == (print_ in gone) for print_, value in statements)

    async def _vectors(self, gone: set[str]) -> None:
        """Of what is gone no vector can be opened, and none keeps the last word on the topic; of what is kept there is one."""
        line, newest = self.speaker.line, dict[bytes, Any]()
        records: list[MemoryEmbedding] = []

        async def tombstones() -> bool:
            records.clear()
            for message, record in await read_all(line.bootstrap, line.topics.embeddings, line.topics.partitions):
                newest[message.key] = record
                if isinstance(record, MemoryEmbedding) and record.owner == self.speaker.reference:
                    records.append(record)
            return gone.isdisjoint(key[:36].decode() for key, record in newest.items() if record is not None)

        # nobody waits for them but compaction: a receipt does not
        await until(tombstones, "every vector has its tombstone", 120)
        async with open_keys(line.as_settings, line.dsn) as ring:
            opened = await open_all(ring.keys, records)
        assert all(r.vector.is_destroyed for r in opened if r.memory_id in gone)
        assert sum(not r.vector.is_destroyed for r in opened) >= len(self.kept)
        rows = await line.rows(
            "SELECT trace_id::text FROM memory_embedding WHERE owner = %s AND kind = 'memory'", (self.speaker.reference,)
        )
        assert len(rows) == len(self.kept)
        assert gone.isdisjoint(row[0] for row in rows)

    async def _keys(self, events: Iterable[MemoryEvent]) -> None:
        """The receipts count every key that was destroyed, each once."""
        counted = [o.removed for e in events if isinstance(e, ReceiptIssued) for o in e.outcomes if o.store == "keys"]
        query = "SELECT count(*) FROM emberlog_item_key WHERE owner = %s AND destroyed_at IS NOT NULL"
        [(destroyed,)] = await key_store_rows(self.speaker.line, query, (self.speaker.reference,))
        assert sum(counted) == destroyed


async def prove(ends: Sequence[End], *, anew: bool = False, alone: bool = True, deadline_s: float = 120) -> None:
    """Wait for the ends of several owners of one line, and look at everything.

    ``anew``: look again after new processes have begun with empty databases. ``alone``: nobody else's commands wait on the line.
    """
    line = ends[0].speaker.line
    for end in ends:
        await receipted(end.speaker, *end.forgettings, deadline_s=deadline_s)
    await _look(ends, alone, deadline_s)
    live = await live_digest(line)
    assert live == await rebuilt_digest(line)
    if anew:
        await begin_anew(line)
        await _look(ends, alone, deadline_s)
        assert await live_digest(line) == live


async def _look(ends: Sequence[End], alone: bool, deadline_s: float) -> None:
    line = ends[0].speaker.line
    await _level(line, deadline_s)
    await _as_decided(line, alone)
    for end in ends:
        await end.now()


async def _level(line: Line, deadline_s: float) -> None:
    """Wait until the views and the key store are level with the log."""
    await line.projected(deadline_s)

    async def level() -> bool:
        ends = await line.ends(line.topics.events)
        rows = await key_store_rows(line, "SELECT topic, partition, next_offset FROM emberlog_keys_checkpoint")
        at = {(topic, partition): offset for topic, partition, offset in rows}
        return all(at[place] >= end for place, end in ends.items())

    await until(level, "the key store is level with the log", deadline_s)


async def _as_decided(line: Line, alone: bool) -> None:
    """What ``emberlog redecide --verify`` looks at: every command is decided, as its rules say."""
    found = Findings()

    async def nothing_waits() -> bool:
        nonlocal found
        found = Findings()
        for partition in range(line.topics.partitions):
            found += await redecide(line.bootstrap, line.topics, partition)
        return found.open == 0 or not alone

    await until(nothing_waits, lambda: f"{found.open} commands still wait", 60)
    assert (found.differing, found.unreadable, found.passed_over * alone) == (0, 0, 0), found.differences[:5]
    assert found.same == found.decided
