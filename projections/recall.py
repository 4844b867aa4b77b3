"""Recall: the memories of one owner that answer a question best, each with why it is there.

    recall = Recall(pool, topics, model=embedder.name)
    answers = await recall.search(owner_reference, "where does Ana live?", vector, k=5, now=now)

``pool`` is an open psycopg AsyncConnectionPool on the database of the views. The query's vector comes from the caller, by the
same model as the stored vectors; without one (None) text alone decides. A memory without a vector yet is found by its text.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from psycopg_pool import AsyncConnectionPool

from projections import recall_sql as sql
from projections.checkpoint import position_of
from projections.errors import NotFollowed
from projections.records import Positions
from schemas import ids
from schemas.temperature import temperature_at
from schemas.topics import Topics
from schemas.types import ThermalPolicy

DEFAULT_HEAD = "semantic"
MAX_K = 1_000
PATIENCE_S = 5.0
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class ScoreParts:
    """What a score is made of: cosine similarity (-1 to 1) and BM25 (0 and up), None where that part found nothing."""

    similarity: float | None
    bm25: float | None


@dataclass(frozen=True, slots=True)
class Mention:
    """One turn that brought a memory up: the one that it was found in, or a later one."""

    sequence: int
    event_id: str
    offset: int
    turn_id: str
    session_id: str
    message_ids: tuple[str, ...]
    producer_message_ids: tuple[str, ...]
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Provenance:
    """Why a memory is there: the event that added it, and the turn and messages behind that.

    ``message_ids`` are our references, ``producer_message_ids`` the ids that their producers gave (the reference, where one gave
    none). A memory that a request asked for has no turn, no session and no messages.
    """

    topic: str
    partition: int
    offset: int
    sequence: int
    event_id: str
    cause: int
    turn_id: str | None
    session_id: str | None
    message_ids: tuple[str, ...]
    producer_message_ids: tuple[str, ...]
    occurred_at: datetime
    extractor: str
    model: str
    rules: bool
    mentions: tuple[Mention, ...]
    """Newest first, at most recall_sql.MENTIONS of them; mentions by a request are counted but not among them."""

    @property
    def requested(self) -> bool:
        """True where a request asked for the memory, False where it was found in a turn."""
        return self.turn_id is None


@dataclass(frozen=True, slots=True)
class Recalled:
    """One answer. ``score`` is 0 to 1, relative to the best of this query; temperatures in degrees; ``version`` from 1."""

    memory_id: str
    content: str
    score: float
    parts: ScoreParts
    temperature: float
    temperature_at_last_access: float
    last_access: datetime
    created_at: datetime
    access_count: int
    version: int
    salience: float
    sacred: bool
    tags: tuple[str, ...]
    metadata: Mapping[str, Any]
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class NearestRow:
    """A live memory; ``score`` is its cosine similarity, None while it has no vector."""

    memory_id: str
    text: str
    score: float | None


@dataclass(frozen=True, slots=True)
class Nearest:
    """Nearest memories and newest ones without a vector. ``last_cause`` is the offset of the last command of this owner that the
    archive has taken in (-1: none): facts of later commands are not among ``rows`` yet."""

    rows: tuple[NearestRow, ...]
    last_cause: int


class Forgettings(Protocol):
    """What is forgotten, from a source that may know more of it than the views do, as after these came back from a backup."""

    async def last(self, owner_ref: str) -> tuple[int, int] | None:
        """Partition and offset on the log of the last event by which the owner forgot anything; None where there is none."""
        ...


class Recall:
    """Searches the live views. ``model`` and ``head`` name the vectors to compare with.

    With ``forgettings`` it answers for no owner before the archive has followed the last of them: it waits ``patience_s`` seconds
    for that, then raises NotFollowed.
    """

    def __init__(
        self,
        pool: AsyncConnectionPool[Any],
        topics: Topics,
        *,
        model: str,
        head: str = DEFAULT_HEAD,
        forgettings: Forgettings | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._pool = pool
        self._topics = topics
        self._model = model
        self._head = head
        self._forgettings = forgettings
        self._patience_s = patience_s

    async def search(
        self, owner_ref: str, query_text: str, query_vector: Sequence[float] | None, k: int, now: datetime
    ) -> list[Recalled]:
        """At most ``k`` memories of the owner, best first. Temperatures are those at ``now`` (aware).

        Any text will do. Raises ValueError for an owner that is no owner reference, NotFollowed.
        """
        _must_be_owner(owner_ref)
        parameters = {
            "owner": owner_ref,
            "text": _searchable(query_text),
            "k": max(0, min(k, MAX_K)),
            **self._vector(query_vector),
        }
        statement = sql.SEARCH_BY_TEXT if parameters["vector"] is None else sql.SEARCH
        await self._followed(owner_ref)
        async with self._pool.connection() as conn:
            cursor = await conn.execute(statement, parameters, prepare=True)
            rows = await cursor.fetchall()
        return [self._recalled(owner_ref, row, now) for row in rows]

    async def nearest(self, owner_ref: str, vector: Sequence[float], limit: int) -> Nearest:
        """Up to ``limit`` live memories nearest to ``vector``, then up to ``limit`` of the newest without a vector, and how far
        the archive has read this owner's commands; all of one moment. Raises as ``search`` does.
        """
        _must_be_owner(owner_ref)
        parameters = {"owner": owner_ref, "limit": max(0, min(limit, MAX_K)), **self._vector(vector)}
        await self._followed(owner_ref)
        async with self._pool.connection() as conn:
            cursor = await conn.execute(sql.NEAREST, parameters, prepare=True)
            rows = await cursor.fetchall()
        found = tuple(NearestRow(r[1], r[2], r[3]) for r in rows if r[1] is not None)
        return Nearest(found, -1 if rows[0][0] is None else rows[0][0])

    async def positions(self) -> dict[str, Positions]:
        """How far the views behind recall have read: next offsets by view name."""
        found: dict[str, Positions] = {}
        async with self._pool.connection() as conn:
            for view in ("thermal", "graph"):
                cursor = await conn.execute(f"SELECT topic, partition, next_offset FROM emberlog_{view}_checkpoint")
                found[view] = {(r[0], r[1]): r[2] for r in await cursor.fetchall()}
        return found

    async def _followed(self, owner_ref: str) -> None:
        """Wait until the archive has passed the owner's last forgetting. Raises NotFollowed."""
        last = None if self._forgettings is None else await self._forgettings.last(owner_ref)
        if last is None:
            return
        deadline = time.monotonic() + self._patience_s
        while not await self._has_passed(*last):
            if time.monotonic() > deadline:
                raise NotFollowed(
                    "the archive still has what its owner had forgotten since, so nothing of it is shown: "
                    "let a projector catch up (emberlog status), or rebuild it: emberlog rebuild thermal"
                )
            await asyncio.sleep(POLL_S)

    async def _has_passed(self, partition: int, offset: int) -> bool:
        async with self._pool.connection() as conn:
            return await position_of(conn, "thermal", self._topics.events, partition) > offset

    def _vector(self, vector: Sequence[float] | None) -> dict[str, Any]:
        known = vector is not None and len(vector) > 0 and all(map(math.isfinite, vector)) and any(vector)
        values = [float(v) for v in vector] if known and vector is not None else None
        return {
            "vector": None if values is None else str(values),
            "dimensions": 0 if values is None else len(values),
            "head": self._head,
            "model": self._model,
        }

    def _recalled(self, owner: str, row: tuple[Any, ...], now: datetime) -> Recalled:
        (memory, content, score, similarity, bm25, t0, last_access, created_at, count, version, salience, sacred) = row[:12]
        tags, metadata, policy = row[12], row[13], ThermalPolicy(*row[14:19])
        (partition, offset, sequence, cause, turn_id, session_id, message_ids, labels, extractor, model, rules, mentions) = row[
            19:
        ]
        why = Provenance(
            topic=self._topics.events,
            partition=partition,
            offset=offset,
            sequence=sequence,
            event_id=ids.event_id(owner, sequence),
            cause=cause,
            turn_id=turn_id,
            session_id=session_id,
            message_ids=tuple(message_ids),
            producer_message_ids=tuple(labels),
            occurred_at=created_at.astimezone(UTC),
            extractor=extractor,
            model=model,
            rules=rules,
            mentions=tuple(_mention(owner, m) for m in mentions),
        )
        return Recalled(
            memory_id=memory,
            content=content,
            score=float(score),
            parts=ScoreParts(similarity, None if bm25 is None else float(bm25)),
            temperature=temperature_at(t0, last_access, now, policy, sacred),
            temperature_at_last_access=t0,
            last_access=last_access.astimezone(UTC),
            created_at=created_at.astimezone(UTC),
            access_count=count,
            version=version,
            salience=salience,
            sacred=sacred,
            tags=tuple(tags),
            metadata=metadata,
            provenance=why,
        )


def _mention(owner: str, row: Mapping[str, Any]) -> Mention:
    return Mention(
        sequence=row["sequence"],
        event_id=ids.event_id(owner, row["sequence"]),
        offset=row["offset"],
        turn_id=row["turn_id"],
        session_id=row["session_id"],
        message_ids=tuple(row["message_ids"]),
        producer_message_ids=tuple(row["producer_message_ids"]),
        occurred_at=datetime.fromisoformat(row["occurred_at"]).astimezone(UTC),
    )


def _searchable(text: str) -> str:
    """The text without what PostgreSQL's text cannot hold: NUL bytes and lone surrogates."""
    return text[: sql.MAX_QUERY_CHARACTERS].replace("\0", " ").encode("utf-8", "replace").decode()


def _must_be_owner(owner_ref: str) -> None:
    if not ids.is_uuid(owner_ref):
        raise ValueError("not an owner reference: pass Owner.parse(...).reference")
