"""Looking receipts up in the key store."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg
from psycopg.rows import dict_row

from ops.cli.errors import UsageError
from ops.cli.target import Target
from ops.keyring import keys_dsn

POLL_S = 0.1
BY_HAND = {"deleted rows in the databases' files": "emberlog vacuum"}
"""What comes on no date of its own, and by which command."""
_FIND = """
SELECT request_id AS forget_id, owner::text, min(asked_at) AS asked_at, sum(memories)::bigint AS memories,
    sum(keys)::bigint AS keys, receipt_id, receipt
FROM forgetting WHERE request_id = %(id)s OR receipt_id = %(id)s GROUP BY request_id, owner, receipt_id, receipt
"""


async def find(target: Target, id: str, wait_s: float) -> dict[str, Any]:
    """A forgetting with its receipt, by the id of either; ``receipt_id`` is None where there is none within ``wait_s``.

    Raises UsageError for an id that nobody knows.
    """
    deadline = time.monotonic() + wait_s
    async with await psycopg.AsyncConnection.connect(keys_dsn(target.settings, target.dsn), autocommit=True) as connection:
        while True:
            async with connection.cursor(row_factory=dict_row) as cursor:
                row = await (await cursor.execute(_FIND, {"id": id})).fetchone()
            if row is not None and row["receipt_id"] is not None:
                break
            if time.monotonic() >= deadline:
                break
            await asyncio.sleep(POLL_S)
    if row is None:
        raise UsageError("there is no forgetting and no receipt of this id", "`emberlog forget` and `emberlog erase` say the ids")
    told = row.pop("receipt") or {"stores": [], "remaining_message_ids": [], "at": None}
    return {**row, "asked_at": row["asked_at"].isoformat(), **told, "until_command": BY_HAND if told["stores"] else {}}
