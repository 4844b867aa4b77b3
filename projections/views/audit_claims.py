"""What the audit log says of each event, and nothing that is about a person.

A claim holds ids, counts and the 8 digits that stand for its owner. Ids that the decider makes are UUIDs. An id that somebody
gave could be anything: one that is no UUID is shown as 8 digits of its keyed hash. Names, reasons, paths and values stay out.
"""

from __future__ import annotations

import hashlib
import hmac

from schemas import types
from schemas.ids import is_uuid
from schemas.types import MemoryEvent

HASH_DIGITS = 8


class Claims:
    """``key`` makes the hashes of owners and of ids that are no UUIDs; it is none of the owners' keys."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def hash_of(self, text: str) -> str:
        """8 hex digits that stand for ``text``."""
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()[:HASH_DIGITS]

    def of(self, event: MemoryEvent) -> str | None:
        """The claim of an event; None where it changed nothing."""
        if type(event) not in _CLAIMS:
            return None
        text, *names = _CLAIMS[type(event)]
        ids = [self._id(getattr(event, name)) for name in names]
        return text.format(*ids, event=event, user=f"user {self.hash_of(event.meta.owner)}...")

    def _id(self, given: str) -> str:
        return given if is_uuid(given) else self.hash_of(given)


# the claim's text, then the fields with the ids in it; ``event`` gives counts only
_CLAIMS: dict[type[MemoryEvent], tuple[str, ...]] = {
    types.MemoryAdded: ("Stored memory {} for {user}", "memory_id"),
    types.MemoryReheated: ("Updated memory {}", "memory_id"),
    types.MemoryRevised: ("Updated memory {}", "memory_id"),
    types.MemoryPinned: ("Pinned memory {}", "memory_id"),
    types.MemoryUnpinned: ("Unpinned memory {}", "memory_id"),
    types.MemoriesLinked: ("Linked memory {} to {}", "source_id", "target_id"),
    types.MemoriesUnlinked: ("Unlinked memory {} from {}", "source_id", "target_id"),
    types.MemoryDownshifted: ("Downshifted memory {}", "memory_id"),
    types.MemoryForgotten: ("Deleted memory {}", "memory_id"),
    types.DaySummarised: ("Stored summary {} for {user}", "summary_id"),
    types.OwnerErased: ("Bulk erase for {user}: {event.memories} items",),
    types.AccessBegan: ("Began access {} for {user}", "access_id"),
    types.AccessEnded: ("Ended access {} for {user}", "access_id"),
    types.OwnerAliased: ("Added an alias for {user}",),
    types.PolicySet: ("Set a policy for {user}: version {event.version}",),
    types.SettingSet: ("Set a setting for {user}: version {event.version}",),
    types.ApprovalRequested: ("Requested approval {} for {user}: {event.items} items", "request_id"),
    types.ApprovalGranted: ("Granted approval {}", "request_id"),
    types.ApprovalDenied: ("Denied approval {}", "request_id"),
    types.ApprovalExpired: ("Expired approval {}", "request_id"),
    types.MemoriesExported: ("Exported {event.memories} memories to {}", "export_id"),
    types.ViewPromoted: ("Promoted a view to generation {event.generation}",),
    types.StoreCleared: ("Cleared a store after deletion {}: {event.outcome.removed} items", "forget_id"),
    types.ReceiptIssued: ("Issued receipt {} of deletion {}", "receipt_id", "forget_id"),
    types.ParkedDropped: ("Dropped parked work {}", "parked_id"),
}
