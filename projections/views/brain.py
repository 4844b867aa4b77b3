"""brain: the memories of users and companies by slug, and who may read a company's.

A row per live memory: in ``user_brain`` where its owner is a user, in ``company_brain`` where it is a company; other owners have
none. A memory without a slug has one made of its id. ``brain_access`` holds which users were let in to which company. Ids of
owners stand in clear, as the key store's directory has them. Row-level security decides what a reader sees (``brain_readers``).

Once an owner is erased nothing about it makes rows, not even what comes later or from another partition. So the end is the same
whether the directory still knew it or not.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from projections.folding import FoldingView
from projections.records import Kind, Placed, Source, refuse_nul
from projections.rows import Rows, Wanted, uuid_of
from projections.view import ViewSettings
from projections.views import brain_rows as make
from projections.views.brain_rows import ACCESS, COMPANY, ERASED, USER, Access, Erased, OfCompany, OfUser
from schemas.errors import BrokenRecord
from schemas.ids import is_uuid
from schemas.types import AccessBegan, AccessEnded, MemoryAdded, MemoryForgotten, MemoryRevised, OwnerErased

_OF_A_MEMORY = (MemoryAdded, MemoryRevised, MemoryForgotten)


class BrainView(FoldingView):
    """Memories of users and companies, and accesses."""

    name = "brain"
    version = 1
    tables = (USER, COMPANY, ACCESS, ERASED)
    # an access is the company's, and goes with its user too
    mended = ("DELETE FROM {schema}.brain_access AS a USING {schema}.brain_erased AS e WHERE a.subject = e.owner",)

    def __init__(self, settings: ViewSettings) -> None:
        topics = settings.topics
        self.sources = (Source(topics.events, topics.partitions, Kind.EVENTS),)

    def owners_in(self, placed: Placed) -> Iterable[str]:
        """The owner of a new memory; company and user of an access."""
        match placed.record:
            case MemoryAdded(meta=meta):
                yield meta.owner
            case AccessBegan(meta=meta, subject=subject):
                yield from (meta.owner, subject)

    def check(self, placed: Placed) -> None:
        """Of the events that change rows: memory ids are UUIDs, texts are texts that PostgreSQL takes."""
        if isinstance(placed.record, (*_OF_A_MEMORY, AccessBegan, AccessEnded)):
            refuse_nul(placed.record)
            if isinstance(placed.record, _OF_A_MEMORY) and not is_uuid(placed.record.memory_id):
                raise BrokenRecord("memory_id is not a UUID")

    def wants(self, wanted: Wanted, placed: Placed) -> None:
        """The memory or access that changes, and whether an owner was erased."""
        match placed.record:
            case MemoryAdded(meta=meta) | OwnerErased(meta=meta):
                wanted.key(ERASED, uuid_of(meta.owner))
            case MemoryRevised(memory_id=id):
                for table in (USER, COMPANY):
                    wanted.key(table, uuid_of(id))
            case AccessBegan(meta=meta, subject=subject, access_id=id) if subject in placed.owners:
                wanted.key(ACCESS, uuid_of(meta.owner), id)
                for reference in (meta.owner, subject):
                    wanted.key(ERASED, uuid_of(reference))
            case AccessEnded(meta=meta, access_id=id):
                wanted.key(ACCESS, uuid_of(meta.owner), id)

    def fold(self, rows: Rows, placed: Placed) -> None:
        """Add, revise, forget, erase; begin and end accesses."""
        match placed.record:
            case MemoryAdded() as event:
                _add(rows, placed, event)
            case MemoryRevised() as event:
                _revise(rows, event)
            case MemoryForgotten(memory_id=id):
                for table in (USER, COMPANY):
                    rows.remove_where(table, "memory_id", uuid_of(id))
            case AccessBegan() as event:
                _begin(rows, placed, event)
            case AccessEnded(meta=meta, access_id=id) as event:
                access = rows.get(Access, ACCESS, uuid_of(meta.owner), id)
                if access is not None:
                    rows.put(ACCESS, make.ended(access, event))
            case OwnerErased(meta=meta):
                _erase(rows, uuid_of(meta.owner))


def _add(rows: Rows, placed: Placed, event: MemoryAdded) -> None:
    owner = placed.owners.get(event.meta.owner)
    if owner is None or _is_erased(rows, event.meta.owner):
        return
    row = make.added(event, owner)
    if row is not None:
        rows.add(USER if isinstance(row, OfUser) else COMPANY, row)


def _revise(rows: Rows, event: MemoryRevised) -> None:
    id = uuid_of(event.memory_id)
    if (of_user := rows.get(OfUser, USER, id)) is not None:
        rows.put(USER, make.revised(of_user, event))
    elif (of_company := rows.get(OfCompany, COMPANY, id)) is not None:
        rows.put(COMPANY, make.revised(of_company, event))


def _begin(rows: Rows, placed: Placed, event: AccessBegan) -> None:
    company, user = placed.owners.get(event.meta.owner), placed.owners.get(event.subject)
    if company is None or company.kind != "company" or user is None or user.kind != "user":
        return
    if not _is_erased(rows, event.meta.owner) and not _is_erased(rows, event.subject):
        rows.put(ACCESS, make.began(event, company, user))


def _erase(rows: Rows, owner: UUID) -> None:
    for table in (USER, COMPANY, ACCESS):
        rows.remove_where(table, "owner", owner)
    rows.remove_where(ACCESS, "subject", owner)
    rows.put(ERASED, Erased(owner))


def _is_erased(rows: Rows, reference: str) -> bool:
    return rows.get(Erased, ERASED, uuid_of(reference)) is not None
