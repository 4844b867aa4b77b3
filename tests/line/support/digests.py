"""Digests of what the views hold: exact ones, and ones of content alone.

``exact`` covers every published table of every view and every column, but those that others than the fold write: it must equal a
rebuild of the same log.

``content`` is for two runs of the same turns. A killed worker extracts some turns a second time; the log then holds further
commands (noted, as "decided before"), so what counts positions on topics may differ between two right runs. Left out are:
- ids that follow from a command's offset: thermal_memory_archive.id, memory_mention.memory_id, memory_embedding.trace_id
- positions: sequence, added_sequence, event_offset, added_offset, cause, added_cause, source_offset, partition (of all tables)
- audit_log as a whole but for its number of claims by kind and owner: its claims name memory ids, its chain covers offsets
- parked work, problems and alarms, of which a right run has none (tests assert that for itself)

The audit key must be the same for both runs, as owner hashes follow from it. Everything else is in: contents, hashes,
temperatures, policies, times, counts, tags, metadata, turn, session and message ids of each mention in order, vectors, and the
counts of each turn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import psycopg

from ops.keys import audit_key
from projections import tables
from projections.view import ViewSettings
from projections.views import build_views
from schemas.topics import Topics

_CONTENT = {
    "archive": """
        SELECT owner, memory_hash, original_content, temperature_score, memory_type, metadata, tags, created_at, last_access,
               access_count, version, sacred, salience, floor, half_life_days, reheat, maximum, initial, turn_id, session_id,
               message_ids, producer_message_ids, extractor, model, rules
        FROM thermal_memory_archive WHERE owner = ANY(%(owners)s::uuid[])""",
    "mentions": """
        SELECT a.owner, a.memory_hash, row_number() OVER (PARTITION BY m.memory_id ORDER BY m.sequence), m.turn_id, m.session_id,
               m.message_ids, m.producer_message_ids, m.occurred_at
        FROM memory_mention m JOIN thermal_memory_archive a ON a.id = m.memory_id WHERE a.owner = ANY(%(owners)s::uuid[])""",
    "vectors": """
        SELECT a.owner, a.memory_hash, e.head, e.model, e.dimensions, e.vec::text
        FROM memory_embedding e JOIN thermal_memory_archive a ON a.id = e.trace_id WHERE a.owner = ANY(%(owners)s::uuid[])""",
    "turns": """
        SELECT turn_id, owner_hash, extracted, new, updated, errors, occurred_at
        FROM turn_outcome WHERE turn_id::text = ANY(%(turns)s)""",
}


def _hash(
    connection: psycopg.Connection[tuple[object, ...]], query: str, parameters: Mapping[str, Any] | None = None
) -> tuple[int, str]:
    digest, count = hashlib.sha256(), 0
    rows = connection.execute(f'SELECT t::text FROM ({query}) t ORDER BY t::text COLLATE "C"', parameters)
    for (row,) in rows:
        digest.update(str(row).encode() + b"\n")
        count += 1
    return count, digest.hexdigest()


def exact(dsn: str, topics: Topics, data_dir: Path) -> dict[str, tuple[int, str]]:
    """By published table: its rows and the digest of all its columns; checkpoints are no part of it."""
    found = {}
    with psycopg.connect(dsn, autocommit=True) as connection:
        for view in build_views(ViewSettings(topics=topics, audit_key=audit_key(data_dir))).values():
            passing = {"checkpoint", *(table.name for table in view.tables if not table.digested)}
            for public, (table, columns) in tables.published(view).items():
                if table not in passing:
                    listed = ", ".join(f'"{c}"' for c in columns)
                    found[public] = _hash(connection, f"SELECT {listed} FROM {public}")
    return found


def content(dsn: str, owners: Collection[str], turns: Collection[str]) -> dict[str, tuple[int, str]]:
    """By kind: rows and digest of what two right runs of the same turns agree in."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        parameters = {"owners": list(owners), "turns": list(turns)}
        return {name: _hash(connection, query, parameters) for name, query in _CONTENT.items()}
