"""``emberlog receipt``: what a receipt says that stands in the key store. No broker is needed for that."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from ops.forgetting.stores import WORKING_SET
from ops.keyring import set_up_keys
from ops.local.addresses import ServiceAddresses
from ops.local.postgres import dsn_with, ensure_database
from ops.receipts import VIEWS, Open, commands
from ops.settings import load_settings
from schemas import ids
from schemas.topics import Topics
from schemas.types import ConfirmCleared, IssueReceipt
from tests.cli.support import Inside

ASKED = datetime.now(UTC) - timedelta(days=3)
FORGOTTEN = Open("f-1", str(uuid4()), 0, 7, ASKED, memories=2, keys=5, remaining=["m-1"])


def issued(backups_days: int | None) -> IssueReceipt:
    *_, receipt = commands(FORGOTTEN, Topics(), backups_days)
    assert isinstance(receipt, IssueReceipt)
    return receipt


@pytest.fixture
def store(services: ServiceAddresses, fresh_database: str, tmp_path: Path) -> Iterator[Inside]:
    """Commands on a key store that is set up; what else is named is not there."""
    name = f"emb_test_{secrets.token_hex(6)}"
    ensure_database(services.postgres_dsn, name)
    keys = dsn_with(services.postgres_dsn, name)
    asyncio.run(set_up_keys(load_settings(data_dir=tmp_path, keys_dsn=keys), fresh_database))
    yield Inside(
        tmp_path,
        {"EMBERLOG_KEYS_DSN": keys, "EMBERLOG_POSTGRES_DSN": fresh_database, "EMBERLOG_KAFKA_BOOTSTRAP": "127.0.0.1:9"},
    )
    with psycopg.connect(services.postgres_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def keep(store: Inside, receipt: IssueReceipt | None) -> None:
    """Note the forgetting and its receipt, as the projection does."""
    told: dict[str, Any] = {"remaining_message_ids": [], "at": ASKED.isoformat()}
    if receipt is not None:
        told["stores"] = [
            {"store": o.store, "removed": o.removed, "pending_until": o.pending_until and o.pending_until.isoformat()}
            for o in receipt.outcomes
        ]
    id = FORGOTTEN.forget_id
    row: tuple[object, ...] = (id, id, True, FORGOTTEN.owner, 0, 7, ASKED, 2, 5, [])
    with psycopg.connect(store.environment["EMBERLOG_KEYS_DSN"]) as connection:
        connection.execute(
            "INSERT INTO keys_g1.forgetting VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (*row, receipt and receipt.receipt_id, Jsonb(told) if receipt else None),
        )


def line_of(out: str, store: str) -> str:
    return " ".join(next(line for line in out.splitlines() if store in line).replace("│", " ").split())


def test_backups_are_said_to_hold_it_until_they_expire(store: Inside) -> None:
    keep(store, issued(30))
    out = store.ok("receipt", "f-1").out
    assert line_of(out, "backups") == f"backups until {ASKED + timedelta(days=30):%Y-%m-%d}, as you keep them 30 days"
    assert "EMBERLOG_BACKUP_RETENTION_DAYS" not in out
    assert line_of(out, "keys") == "keys 5 done"
    assert line_of(out, "deleted rows").endswith("until emberlog vacuum, where none ran since")
    assert "over since" in line_of(out, "conversation.inbox.v1"), "a day has passed"
    told = store.ok("receipt", "f-1", "--json").json
    assert told["stores"][-1] == {"store": "backups", "removed": 0, "pending_until": (ASKED + timedelta(days=30)).isoformat()}
    assert told["until_command"] == {"deleted rows in the databases' files": "emberlog vacuum"}


def test_backups_that_have_expired_are_said_to_be_over(store: Inside) -> None:
    keep(store, issued(2))
    said = line_of(store.ok("receipt", "f-1").out, "backups")
    assert said == f"backups over since {ASKED + timedelta(days=2):%Y-%m-%d}, as you kept them 2 days"


def test_the_working_set_is_named_only_where_there_is_one() -> None:
    without = commands(FORGOTTEN, Topics(), None)
    beside = commands(FORGOTTEN, Topics(), None, (*VIEWS, WORKING_SET))
    confirmed = [command.outcome.store for command in beside if isinstance(command, ConfirmCleared)]
    assert [command.outcome.store for command in without if isinstance(command, ConfirmCleared)] == ["keys", *VIEWS]
    assert confirmed == ["keys", *VIEWS, WORKING_SET]


def test_where_nobody_said_how_long_backups_live_a_line_says_how_to_have_the_date(store: Inside) -> None:
    keep(store, issued(None))
    told = " ".join(store.ok("receipt", "f-1").out.split())
    assert "hold it until they expire; to have the date here, set EMBERLOG_BACKUP_RETENTION_DAYS for the projector" in told


def test_a_forgetting_without_a_receipt_promises_nothing(store: Inside) -> None:
    keep(store, None)
    done = store.run("receipt", "f-1")
    assert done.code == 1
    assert "there is no receipt yet" in done.err
    assert "backups" not in done.out
    assert store.run("receipt", "f-1", "--json").json["until_command"] == {}


def test_the_commands_of_a_forgetting_are_the_same_whenever_they_are_sent() -> None:
    first, again = (commands(FORGOTTEN, Topics(), 30) for _ in range(2))
    assert [c.meta.command_id for c in first] == [c.meta.command_id for c in again]
    assert [ids_of.meta.command_id for ids_of in commands(FORGOTTEN, Topics(), None)] == [c.meta.command_id for c in first]
    assert first[-1].meta.command_id == ids.receipt_command_id("f-1")
    assert issued(30).outcomes == issued(30).outcomes
    assert issued(30).outcomes[:-1] == issued(None).outcomes
