"""Edges and entities of the graph, and who tells of them.

An edge is there as long as somebody tells of it: a memory or a summary, a link the memory that it begins at. Its weight is the
highest of theirs and its time the newest. A memory tells with its salience, a link with its own weight. What a memory or summary
tells follows from its newest words; evidence and links stay when these change.

| edge | type | told by |
|---|---|---|
| memory → message that it was learnt from | ``evidence`` | the memory |
| memory → other memory | the link's kind | the memory |
| memory or summary → entity that it names | ``mentions`` | it |
| entity → entity | the predicate | the memory or summary that says so |
| summary → memory or message that it was made from | ``summarises`` | the summary |

An entity is there as long as somebody mentions it, and goes by its normalised name: a spelling would be that of a teller, who may
be forgotten while others still name it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID, uuid5

from msgspec.structs import replace

from projections.rows import Int4, Row, Rows, Wanted, table_of, uuid_of
from schemas.fingerprint import normalise
from schemas.ids import NAMESPACE
from schemas.sealed import Sealed, left_of
from schemas.types import Entity, MemoriesLinked, MemoriesUnlinked, SourceRef, Triple

EVIDENCE, LINK, MENTION, TRIPLE, SUMMARISES = "evidence", "link", "mention", "triple", "summarises"
"""How an edge is told."""
SAID = (MENTION, TRIPLE)
"""What follows from words."""
MENTIONS = "mentions"
LONGEST_TYPE = 200
"""Characters of a predicate; further ones are cut off, as PostgreSQL's indexes hold short values only."""


class Edge(Row, frozen=True):
    """An edge between two traces, or entities."""

    src: UUID
    dst: UUID
    type: str
    owner: UUID
    weight: float
    ts: datetime


class Telling(Row, frozen=True):
    """Somebody tells of an edge; ``edge`` is the UUIDv5 of its ends and type."""

    edge: UUID
    told_by: UUID
    owner: UUID
    src: UUID
    dst: UUID
    type: str
    how: str
    weight: float
    ts: datetime


class Named(Row, frozen=True):
    """An entity; ``tellers`` memories and summaries mention it."""

    id: UUID
    owner: UUID
    name: str
    tellers: Int4


EDGE = table_of(Edge, "memory_edge", key=("src", "dst", "type"), lookups=("dst", "owner"), indexes=("(dst)", "(owner)"))
TELLING = table_of(
    Telling,
    "memory_edge_source",
    key=("edge", "told_by"),
    lookups=("edge", "told_by", "dst", "owner"),
    indexes=("(told_by)", "(dst)", "(owner)"),
)
ENTITY = table_of(Named, "memory_entity", key=("id",), lookups=("owner",), indexes=("(owner)",))


class Teller(NamedTuple):
    """Who tells, how much that weighs, and when it was told."""

    id: UUID
    owner: UUID
    weight: float
    at: datetime


class Tellings(NamedTuple):
    """What an event tells, and the names of the entities in it."""

    edges: list[Telling]
    names: dict[UUID, str]


def entity_id(owner: UUID, name: str) -> UUID:
    """Id of an entity from its owner and normalised name."""
    return uuid5(NAMESPACE, f"entity\x1f{owner}\x1f{name}")


def from_words(teller: Teller, entities: Iterable[Entity], triples: Iterable[Triple]) -> Tellings:
    """What somebody's words tell. Destroyed values tell nothing: their teller goes later on the log."""
    names: dict[UUID, str] = {}
    edges: dict[UUID, Telling] = {}

    def named(value: Sealed) -> UUID | None:
        name = normalise(left_of(value))
        if not name:
            return None
        found = entity_id(teller.owner, name)
        names[found] = name
        return found

    for entity in entities:
        named(entity.name)
    for triple in triples:
        predicate = normalise(left_of(triple.predicate))[:LONGEST_TYPE]
        src, dst = named(triple.subject), named(triple.object)
        if predicate and src is not None and dst is not None:
            telling = _telling(teller, src, dst, predicate, TRIPLE)
            edges[telling.edge] = telling
    mentions = [_telling(teller, teller.id, entity, MENTIONS, MENTION) for entity in names]
    return Tellings([*mentions, *edges.values()], names)


def from_turn(teller: Teller, source: SourceRef | None) -> list[Telling]:
    """That a memory was learnt from the messages of a turn."""
    messages = () if source is None else source.messages
    return [_telling(teller, teller.id, uuid_of(message.message_id), EVIDENCE, EVIDENCE) for message in messages]


def from_day(teller: Teller, sources: Iterable[UUID]) -> list[Telling]:
    """That a summary was made from these memories and messages."""
    return [_telling(teller, teller.id, source, SUMMARISES, SUMMARISES) for source in sources]


def from_link(event: MemoriesLinked | MemoriesUnlinked) -> Telling:
    """That two memories are connected."""
    meta, src = event.meta, uuid_of(event.source_id)
    teller = Teller(src, uuid_of(meta.owner), event.weight, meta.occurred_at)
    return _telling(teller, src, uuid_of(event.target_id), event.kind[:LONGEST_TYPE], LINK)


def _telling(teller: Teller, src: UUID, dst: UUID, type: str, how: str) -> Telling:
    edge = uuid5(NAMESPACE, f"edge\x1f{src}\x1f{dst}\x1f{type}")
    return Telling(edge, teller.id, teller.owner, src, dst, type, how, teller.weight, teller.at)


def want(wanted: Wanted, telling: Telling) -> None:
    """What ``tell`` and ``untell`` look at."""
    wanted.where(TELLING, "edge", telling.edge)
    wanted.key(EDGE, telling.src, telling.dst, telling.type)
    if telling.how == MENTION:
        wanted.key(ENTITY, telling.dst)


def tell(rows: Rows, telling: Telling, names: dict[UUID, str] | None = None) -> None:
    """Somebody tells of an edge, maybe once more. ``names`` are those of the entities that are mentioned."""
    before = rows.get(Telling, TELLING, telling.edge, telling.told_by)
    rows.put(TELLING, telling if before is None else replace(telling, ts=max(before.ts, telling.ts)))
    _derive(rows, telling)
    if before is None and telling.how == MENTION:
        known = rows.get(Named, ENTITY, telling.dst)
        if known is None:
            known = Named(telling.dst, telling.owner, (names or {})[telling.dst], 0)
        rows.put(ENTITY, replace(known, tellers=known.tellers + 1))


def untell(rows: Rows, telling: Telling) -> None:
    """Somebody tells of an edge no more; what nobody tells of is gone."""
    if rows.get(Telling, TELLING, telling.edge, telling.told_by) is None:
        return
    rows.remove(TELLING, telling.edge, telling.told_by)
    _derive(rows, telling)
    if telling.how == MENTION:
        known = rows.get(Named, ENTITY, telling.dst)
        assert known is not None, "whoever mentions an entity is counted there"
        if known.tellers > 1:
            rows.put(ENTITY, replace(known, tellers=known.tellers - 1))
        else:
            rows.remove(ENTITY, known.id)


def lead_nowhere(rows: Rows, trace: UUID) -> None:
    """Remove the edges that lead to a trace which is gone for good."""
    rows.remove_where(TELLING, "dst", trace)
    rows.remove_where(EDGE, "dst", trace)


def _derive(rows: Rows, telling: Telling) -> None:
    left = rows.where(Telling, TELLING, "edge", telling.edge)
    if not left:
        rows.remove(EDGE, telling.src, telling.dst, telling.type)
        return
    weight, newest = max(each.weight for each in left), max(each.ts for each in left)
    rows.put(EDGE, Edge(telling.src, telling.dst, telling.type, telling.owner, weight, newest))
