"""What the audit log says of each type of event, and that nothing in it is about a person."""

from __future__ import annotations

from msgspec.structs import replace

from projections.views.audit_claims import Claims
from schemas import ids, types
from schemas.codec import decode, encode
from schemas.types import EVENTS, MemoryEvent
from tests.projections.harness import AUDIT_KEY, owner
from tests.projections.other_events import OTHERS, SECRET, uuid
from tests.projections.record_log import T0
from tests.projections.test_spec import spec_log
from tests.projections.test_splits import TOPICS

ANA = owner()
META = types.EventMeta(ANA, 9, 4, 1, T0, "a-command")
CLAIMS = Claims(AUDIT_KEY)
USER = f"user {CLAIMS.hash_of(ANA)}..."
SILENT = {types.CommandNoted, types.CommandRejected}


def test_events_about_owners_and_operations_have_their_claims() -> None:
    assert {type(event).__name__: CLAIMS.of(event) for make in OTHERS.values() for event in [make(META)]} == {
        "DaySummarised": f"Stored summary {ids.summary_id(ANA, '2024-03-01')} for {USER}",
        "CommandRejected": None,
        "AccessBegan": f"Began access {uuid(META, 'access')} for {USER}",
        "AccessEnded": f"Ended access {uuid(META, 'access')} for {USER}",
        "OwnerAliased": f"Added an alias for {USER}",
        "PolicySet": f"Set a policy for {USER}: version 2",
        "SettingSet": f"Set a setting for {USER}: version 3",
        "ApprovalRequested": f"Requested approval {uuid(META, 'approval')} for {USER}: 7 items",
        "ApprovalGranted": f"Granted approval {uuid(META, 'approval')}",
        "ApprovalDenied": f"Denied approval {uuid(META, 'approval')}",
        "ApprovalExpired": f"Expired approval {uuid(META, 'approval')}",
        "MemoriesExported": f"Exported 12 memories to {uuid(META, 'export')}",
        "ViewPromoted": "Promoted a view to generation 4",
        "StoreCleared": f"Cleared a store after deletion {uuid(META, 'forget')}: 3 items",
        "ReceiptIssued": f"Issued receipt {uuid(META, 'receipt')} of deletion {uuid(META, 'forget')}",
        "ParkedDropped": f"Dropped parked work {uuid(META, 'parked')}",
    }


def test_an_erasure_is_a_bulk_operation_with_its_count() -> None:
    assert CLAIMS.of(types.OwnerErased(META, 0, 31)) == f"Bulk erase for {USER}: 31 items"


def test_every_type_of_event_has_a_claim_but_those_that_changed_nothing() -> None:
    events = [decode(r.value) for r in spec_log().records if r.topic == TOPICS.events and r.value not in (None, b"rubbish")]
    silent = {type(e) for e in events if CLAIMS.of(e) is None}  # type: ignore[arg-type]
    assert {type(e) for e in events} == set(EVENTS)
    assert silent == SILENT


def test_no_claim_holds_names_reasons_paths_or_values() -> None:
    for make in OTHERS.values():
        event = make(META)
        assert SECRET.encode() in encode(event) or isinstance(event, types.ApprovalExpired)
        assert SECRET not in (CLAIMS.of(event) or "")
        assert ANA not in (CLAIMS.of(event) or "")


def test_events_about_memories_have_their_claims() -> None:
    one, other = owner(), owner()
    about: list[tuple[MemoryEvent, str]] = [
        (types.MemoryPinned(META, one, 75.0, T0), f"Pinned memory {one}"),
        (types.MemoryUnpinned(META, one, 75.0, T0), f"Unpinned memory {one}"),
        (types.MemoriesLinked(META, one, other, SECRET, 0.5), f"Linked memory {one} to {other}"),
        (types.MemoriesUnlinked(META, one, other, SECRET, 0.5), f"Unlinked memory {one} from {other}"),
        (types.MemoryDownshifted(META, one, SECRET, SECRET, (SECRET,)), f"Downshifted memory {one}"),
        (types.MemoryForgotten(META, one, 0, False, ()), f"Deleted memory {one}"),
    ]
    for event, claim in about:
        assert CLAIMS.of(event) == claim


def test_an_id_that_is_no_uuid_is_shown_by_its_hash() -> None:
    event = types.AccessEnded(META, "access of ana@example.org", "somebody", "session")
    assert CLAIMS.of(event) == f"Ended access {CLAIMS.hash_of('access of ana@example.org')} for {USER}"
    assert CLAIMS.of(replace(event, access_id="another")) != CLAIMS.of(event)
