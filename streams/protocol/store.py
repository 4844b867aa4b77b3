"""The decider's materialised state in Postgres. Its only writer is the decider; it is a cache of the log's fold, never truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import orjson
import psycopg
from immutables import Map

from schemas.types import ThermalPolicy
from streams.decider import MemoryState, OwnerState

TABLES = """
CREATE TABLE IF NOT EXISTS emberlog_decider_position (
    topic text NOT NULL, partition int NOT NULL, position bigint NOT NULL, PRIMARY KEY (topic, partition)
);
CREATE TABLE IF NOT EXISTS emberlog_decider_owner (
    topic text NOT NULL, owner uuid NOT NULL, partition int NOT NULL, last_sequence bigint NOT NULL,
    last_cause bigint NOT NULL, state bytea NOT NULL, PRIMARY KEY (topic, owner)
);
"""


class PositionLost(RuntimeError):
    """Another decider materialised this partition: this one is a zombie and stops."""


def dump(state: OwnerState) -> bytes:
    """``state`` as JSON bytes."""
    return orjson.dumps(
        {
            "memories": [asdict(m) for m in state.memories.values()],
            "turns": dict(state.turns),
            "forgotten": dict(state.forgotten),
            "held_fingerprints": dict(state.held_fingerprints),
            "held_messages": dict(state.held_messages),
        }
    )


def load(last_sequence: int, last_cause: int, data: bytes) -> OwnerState:
    """The state that ``dump`` wrote."""
    raw: dict[str, Any] = orjson.loads(data)
    memories = [_memory(m) for m in raw["memories"]]
    return OwnerState(
        last_sequence=last_sequence,
        last_cause=last_cause,
        memories=Map({m.memory_id: m for m in memories}),
        by_fingerprint=Map({m.fingerprint: m.memory_id for m in memories}),
        turns=Map(raw["turns"]),
        forgotten=Map(raw["forgotten"]),
        held_fingerprints=Map(raw["held_fingerprints"]),
        held_messages=Map(raw["held_messages"]),
    )


def _memory(raw: dict[str, Any]) -> MemoryState:
    return MemoryState(
        memory_id=raw["memory_id"],
        fingerprint=raw["fingerprint"],
        temperature=raw["temperature"],
        warmed_at=datetime.fromisoformat(raw["warmed_at"]),
        access_count=raw["access_count"],
        policy=ThermalPolicy(**raw["policy"]),
        message_ids=tuple(raw["message_ids"]),
    )


class DeciderStore:
    """State of the owners of one partition of ``topic`` (the memory.events topic); one connection of its own."""

    def __init__(self, dsn: str, topic: str, partition: int) -> None:
        self._dsn, self._topic, self._partition = dsn, topic, partition
        self._conn: psycopg.AsyncConnection[tuple[Any, ...]] | None = None

    async def open(self) -> int:
        """Connect; the position up to which the log is folded in. Raises psycopg.OperationalError while Postgres is away."""
        self._conn = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)
        await self._conn.execute(
            "INSERT INTO emberlog_decider_position VALUES (%s, %s, 0) ON CONFLICT DO NOTHING", (self._topic, self._partition)
        )
        row = await (
            await self._conn.execute(
                "SELECT position FROM emberlog_decider_position WHERE topic = %s AND partition = %s",
                (self._topic, self._partition),
            )
        ).fetchone()
        assert row is not None
        return int(row[0])

    async def close(self) -> None:
        if self._conn is not None:
            await self._conn.close()
            self._conn = None

    async def load(self, owners: Iterable[str]) -> dict[str, OwnerState]:
        """Materialised states of those of ``owners`` that have one."""
        assert self._conn is not None
        cursor = await self._conn.execute(
            "SELECT owner::text, last_sequence, last_cause, state FROM emberlog_decider_owner"
            " WHERE topic = %s AND owner = ANY(%s::uuid[])",
            (self._topic, list(owners)),
        )
        return {owner: load(seq, cause, data) async for owner, seq, cause, data in cursor}

    async def save(self, expected: int, position: int, states: Mapping[str, OwnerState]) -> None:
        """Write confirmed states with their position, in one transaction; raises PositionLost where ``expected`` is not there."""
        assert self._conn is not None
        async with self._conn.transaction():
            cursor = await self._conn.execute(
                "UPDATE emberlog_decider_position SET position = %s WHERE topic = %s AND partition = %s AND position = %s",
                (position, self._topic, self._partition, expected),
            )
            if cursor.rowcount != 1:
                raise PositionLost(f"another decider materialised partition {self._partition}; this one stops")
            async with self._conn.cursor() as many:
                await many.executemany(
                    "INSERT INTO emberlog_decider_owner VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (topic, owner) DO UPDATE"
                    " SET last_sequence = excluded.last_sequence, last_cause = excluded.last_cause, state = excluded.state",
                    [
                        (self._topic, owner, self._partition, s.last_sequence, s.last_cause, dump(s))
                        for owner, s in states.items()
                    ],
                )
