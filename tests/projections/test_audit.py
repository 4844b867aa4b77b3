"""The audit log: claims without personal data, a chain that shows every change, the counts of each turn."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from projections.view import View, ViewSettings
from projections.views.audit import AuditView, verify_chain
from schemas import ids
from schemas.codec import decode_as
from schemas.sealed import Sealed
from schemas.topics import Topics
from schemas.types import CommandNoted, CommandRejected, EventMeta, MemoryAdded, SourceRef
from tests.projections.harness import AUDIT_KEY, Fold, owner
from tests.projections.logs import T0, LogMaker


@pytest.fixture
def audit(views: dict[str, View]) -> View:
    return views["audit"]


async def test_claims_have_their_exact_forms_and_hold_no_owner_and_no_content(database: str, audit: View, log: LogMaker) -> None:
    ana = owner()
    [memory] = log.add(ana, "Ana's secret", user_id="ana@example.org")
    log.reheat(ana, memory)
    log.revise(ana, memory, "Ana's new secret")
    log.forget(ana, memory)
    log.note(ana)
    digits = hmac.new(AUDIT_KEY, ana.encode(), hashlib.sha256).hexdigest()[:8]
    async with Fold.of(database, audit) as fold:
        await fold.take(log.records)
        rows = await fold.rows('claim, owner_hash, event_type, sequence, "offset" FROM {s}.audit_log ORDER BY sequence')
        assert rows == [
            (f"Stored memory {memory} for user {digits}...", digits, "MemoryAdded", 1, 0),
            (f"Updated memory {memory}", digits, "MemoryReheated", 2, 1),
            (f"Updated memory {memory}", digits, "MemoryRevised", 3, 2),
            (f"Deleted memory {memory}", digits, "MemoryForgotten", 4, 3),
        ]
        texts = await fold.rows("(SELECT string_agg(t::text, ' ') FROM {s}.audit_log t)")
        texts += await fold.rows("(SELECT string_agg(t::text, ' ') FROM {s}.turn_outcome t)")
        assert not any(word in text for (text,) in texts for word in (ana, "secret", "ana@example.org", "s-1", "agent-1"))


async def test_the_owner_hash_follows_from_the_audit_key_alone() -> None:
    ana = owner()
    hashes = {AuditView(ViewSettings(Topics(), key)).owner_hash(ana) for key in (b"a" * 32, b"b" * 32)}
    assert len(hashes) == 2
    with pytest.raises(ValueError, match="audit_key"):
        AuditView(ViewSettings(Topics()))
    assert "aaaa" not in repr(ViewSettings(Topics(), b"aaaaaaaa"))


TAMPERINGS = {
    "a changed claim": "UPDATE {s}.audit_log SET claim = replace(claim, 'Stored', 'Seen') WHERE sequence = 3",
    "a changed time": "UPDATE {s}.audit_log SET occurred_at = occurred_at + interval '1 microsecond' WHERE sequence = 3",
    "a changed owner": "UPDATE {s}.audit_log SET owner_hash = '00000000' WHERE sequence = 3",
    "a removed entry": "DELETE FROM {s}.audit_log WHERE sequence = 3",
    "a removed first entry": "DELETE FROM {s}.audit_log WHERE sequence = 1",
    "a removed last entry": "DELETE FROM {s}.audit_log WHERE sequence = 5",
    "a moved entry": 'UPDATE {s}.audit_log SET "offset" = "offset" + 100 WHERE sequence = 3',
    "an inserted entry": (
        "INSERT INTO {s}.audit_log SELECT partition, 99, owner_hash, 9, event_type, claim, occurred_at, hash, "
        "repeat('ab', 32) FROM {s}.audit_log WHERE sequence = 5"
    ),
    "an emptied log": "DELETE FROM {s}.audit_log",
}


@pytest.mark.parametrize("what", sorted(TAMPERINGS))
async def test_a_changed_chain_is_found(database: str, audit: View, log: LogMaker, what: str) -> None:
    ana = owner()
    for i in range(5):
        log.add(ana, f"fact {i}")
        log.add(owner(), "another's")
    async with Fold.of(database, audit) as fold:
        await fold.take(log.records, [3, 4])
        report = await verify_chain(fold.conn, fold.schema)
        assert (report.ok, report.entries) == (True, 10)
        await fold.conn.execute(f"DELETE FROM {fold.schema}.audit_log WHERE false")
        cursor = await fold.conn.execute(TAMPERINGS[what].format(s=fold.schema) + _only(what, audit, ana))
        assert cursor.rowcount > 0
        report = await verify_chain(fold.conn, fold.schema)
        assert not report.ok
        assert report.reason


def _only(what: str, audit: View, ana: str) -> str:
    """Restrict a statement to Ana's entries."""
    assert isinstance(audit, AuditView)
    condition = f"owner_hash = '{audit.owner_hash(ana)}'"
    return "" if what == "an emptied log" else f" AND {condition}"


async def test_the_chain_of_an_empty_log_is_whole(database: str, audit: View) -> None:
    async with Fold.of(database, audit) as fold:
        assert (await verify_chain(fold.conn, fold.schema)).ok


async def test_the_chain_still_holds_after_memories_are_forgotten_and_the_runner_restarted(
    database: str, audit: View, log: LogMaker
) -> None:
    ana = owner()
    memories = log.add(ana, "one", "two", "three")
    log.forget(ana, *memories)
    async with Fold.of(database, audit) as fold:
        for record in log.records:
            await fold.take([record])
            if record.offset == 2:
                await fold.restart()
        report = await verify_chain(fold.conn, fold.schema)
        assert (report.ok, report.entries) == (True, 6)


async def test_each_turn_has_its_counts_extracted_new_updated_errors(database: str, audit: View, log: LogMaker) -> None:
    ana = owner()
    memories = log.add(ana, "one", "two", "three")
    log.reheat(ana, memories[0], memories[2])
    log.note(ana, failed=2)
    log.note(ana, with_source=False)
    log.forget(ana, memories[1])
    async with Fold.of(database, audit) as fold:
        await fold.take(log.records, range(1, len(log.records)))
        rows = await fold.rows('extracted, "new", updated, errors FROM {s}.turn_outcome ORDER BY occurred_at')
        assert rows == [(3, 3, 0, 0), (2, 0, 2, 0), (0, 0, 0, 2)]


async def test_a_revision_by_a_turn_counts_as_updated_and_a_rejection_makes_its_turn_known(
    database: str, audit: View, log: LogMaker
) -> None:
    ana = owner()
    [memory] = log.add(ana, "one")
    log.revise(ana, memory, "two", by_request=False)
    log.revise(ana, memory, "three")  # by a request: no turn
    meta = EventMeta(ana, 4, 9, 1, T0, ids.turn_id(ana, "rejected"))
    source = SourceRef(meta.command_id, Sealed.of("s"), "agent-1", (), 9, 2, 1)
    log.append(ana, [CommandRejected(meta, "FactsExtracted", "impossible numbers", source)])
    async with Fold.of(database, audit) as fold:
        await fold.take(log.records)
        rows = await fold.rows('extracted, "new", updated, errors FROM {s}.turn_outcome ORDER BY "new" DESC, updated DESC')
        assert rows == [(1, 1, 0, 0), (1, 0, 1, 0), (2, 0, 0, 1)]


async def test_a_turn_that_was_seen_before_keeps_its_counts(database: str, audit: View, log: LogMaker) -> None:
    ana = owner()
    log.add(ana, "one", "two")
    value = log.records[0].value
    assert value is not None
    source = decode_as(MemoryAdded, value).source
    meta = EventMeta(ana, 3, 7, 1, T0, ids.turn_id(ana, "1"))
    log.append(ana, [CommandNoted(meta, "FactsExtracted", "it was decided before", source)])
    for cuts in ([], [1, 2]):
        async with Fold.of(database, audit) as fold:
            await fold.take(log.records, cuts)
            assert await fold.rows('extracted, "new", updated, errors FROM {s}.turn_outcome') == [(2, 2, 0, 0)]
