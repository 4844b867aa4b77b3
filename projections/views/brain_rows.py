"""Rows of the brain tables: what each event makes of them."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from msgspec.structs import replace

from projections.rows import Json, Row, table_of, uuid_of
from projections.views.brain_readers import COMPANIES_WITH_ACCESS, OWN_ACCESSES, OWN_MEMORIES
from projections.views.thermal_rows import SEARCHED_CHARACTERS, json_of
from schemas.owner import Owner
from schemas.sealed import Sealed, left_of, text_of
from schemas.types import AccessBegan, AccessEnded, MemoryAdded, MemoryRevised

DERIVED = "memory:"
"""Begins slugs that no request gave."""
MAX_SLUG_CHARS = 512
"""More may not fit into an index entry (2,704 bytes)."""

_SEARCHED = f"left(content, {SEARCHED_CHARACTERS})"
_GENERATED = (
    ("id", "uuid GENERATED ALWAYS AS (memory_id) STORED"),
    (
        "tsv",
        f"tsvector GENERATED ALWAYS AS (to_tsvector('english', {_SEARCHED}) || to_tsvector('spanish', {_SEARCHED})) STORED",
    ),
)


class Remembered(Row, frozen=True):
    """A live memory. Times are event times; ``updated_at`` is that of its newest words."""

    memory_id: UUID
    slug: str
    content: str
    extra_metadata: Json
    created_at: datetime
    updated_at: datetime
    owner: UUID
    tenant: str


class OfUser(Remembered, frozen=True):
    """A memory of a user."""

    user_id: str


class OfCompany(Remembered, frozen=True):
    """A memory of a company."""

    company_id: str


class Access(Row, frozen=True):
    """A user who may read a company's memories, or might until ``ended_at``. ``owner`` is the company, ``subject`` the user."""

    owner: UUID
    access_id: str
    company_id: str
    subject: UUID
    tenant: str
    user_id: str
    kind: str
    began_at: datetime
    ended_at: datetime | None


class Erased(Row, frozen=True):
    """An owner who was erased: nothing that comes later about this reference makes rows again."""

    owner: UUID


_OF_OWNERS: dict[str, Any] = {
    "key": ("memory_id",),
    "lookups": ("memory_id", "owner"),
    # not (user_id, slug): who comes back after an erasure has another reference, and its first memory may be here before the
    # erasure is, which stands on another partition
    "unique": (("owner", "slug"),),
    "generated": _GENERATED,
}
USER = table_of(OfUser, "user_brain", indexes=("(user_id)",), guard=OWN_MEMORIES, **_OF_OWNERS)
COMPANY = table_of(OfCompany, "company_brain", indexes=("(company_id)",), guard=COMPANIES_WITH_ACCESS, **_OF_OWNERS)
ACCESS = table_of(
    Access,
    "brain_access",
    key=("owner", "access_id"),
    lookups=("owner", "subject"),
    indexes=("(subject)", "(user_id)"),
    guard=OWN_ACCESSES,
)
ERASED = table_of(Erased, "brain_erased", key=("owner",))

B = TypeVar("B", OfUser, OfCompany)


def added(event: MemoryAdded, owner: Owner) -> OfUser | OfCompany | None:
    """The row of a new memory; None for an owner who is neither a user nor a company."""
    memory, at = uuid_of(event.memory_id), event.meta.occurred_at
    values: dict[str, Any] = {
        "memory_id": memory,
        "slug": _slug(memory, event.slug),
        "content": left_of(event.content),
        "extra_metadata": _extra(event),
        "created_at": at,
        "updated_at": at,
        "owner": uuid_of(event.meta.owner),
        "tenant": owner.tenant,
    }
    match owner.kind:
        case "user":
            return OfUser(**values, user_id=owner.id)
        case "company":
            return OfCompany(**values, company_id=owner.id)
    return None


def revised(row: B, event: MemoryRevised) -> B:
    """Other words. What the event leaves out stays as it is."""
    return replace(
        row,
        slug=row.slug if event.slug is None else _slug(row.memory_id, event.slug),
        content=left_of(event.content),
        extra_metadata=row.extra_metadata | _extra(event),
        updated_at=event.meta.occurred_at,
    )


def began(event: AccessBegan, company: Owner, user: Owner) -> Access:
    """An access that began."""
    return Access(
        owner=uuid_of(event.meta.owner),
        access_id=event.access_id,
        company_id=company.id,
        subject=uuid_of(event.subject),
        tenant=user.tenant,
        user_id=user.id,
        kind=event.kind,
        began_at=event.meta.occurred_at,
        ended_at=None,
    )


def ended(row: Access, event: AccessEnded) -> Access:
    """The same access, ended."""
    return replace(row, ended_at=event.meta.occurred_at)


def _slug(memory: UUID, given: Sealed | None) -> str:
    """The slug of a memory, unique within its owner if the given ones are: no given slug comes out as a derived one."""
    # of a memory that is forgotten later, a replay can no longer read it
    slug = text_of(given)
    if not slug:
        return f"{DERIVED}{memory}"
    if len(slug) > MAX_SLUG_CHARS:
        return f"{DERIVED}sha256:{hashlib.sha256(slug.encode()).hexdigest()}"
    return DERIVED + slug if slug.startswith(DERIVED) else slug


def _extra(event: MemoryAdded | MemoryRevised) -> dict[str, Any]:
    """Category, tags and further metadata, as far as the event has them."""
    found: dict[str, Any] = {}
    if event.category is not None:
        found["category"] = left_of(event.category)
    if event.tags:
        found["tags"] = [left_of(tag) for tag in event.tags]
    elif event.tags is not None and isinstance(event, MemoryRevised):
        found["tags"] = []
    if event.extra is not None:
        found["extra"] = json_of(left_of(event.extra))
    return found
