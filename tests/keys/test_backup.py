"""Backups of the key store, and its check."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from ops.keys import backup as module
from ops.keys.backup import BackupError, backup, restore, verify
from ops.keys.checking import check
from ops.keys.database import Connection, KeyDatabase
from ops.keys.destroying import Destroyer
from ops.keys.directory import PostgresDirectory
from ops.keys.master import LocalMasterKey, Masters
from ops.keys.store import PostgresKeys
from ops.local.postgres import dsn_with, ensure_database
from ops.local.services import ServiceAddresses
from schemas.owner import Owner
from schemas.subjects import Subject
from tests.keys.spec import ANA, BEN, NICK, Bench, said


def bench_of(database: KeyDatabase) -> Bench:
    return Bench(PostgresKeys(database), PostgresDirectory(database), Destroyer(database))


@pytest.fixture
async def empty(services: ServiceAddresses, master: LocalMasterKey) -> AsyncIterator[KeyDatabase]:
    """A second database, empty."""
    name = f"emb_test_{secrets.token_hex(6)}"
    ensure_database(services.postgres_dsn, name)
    try:
        async with KeyDatabase(dsn_with(services.postgres_dsn, name), Masters(master), cache_s=0) as database:
            yield database
    finally:
        async with await psycopg.AsyncConnection.connect(services.postgres_dsn, autocommit=True) as connection:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


async def test_a_restored_backup_has_every_key_owner_alias_and_tombstone(
    database: KeyDatabase, empty: KeyDatabase, tmp_path: Path
) -> None:
    bench, path = bench_of(database), tmp_path / "keys.backup"
    odd = Owner.parse('odd "name" \\ with\u2028 ☃ lines')
    ana, ben, gone = [await bench.owners.reference_of(o) for o in (ANA, odd, BEN)]
    await bench.owners.alias(ana, NICK)
    values = [await bench.seal(s) for s in (Subject(ana, "message", "m"), said(ben, "f", 3), Subject("", "parked", "p"))]
    dead = [await bench.seal(s) for s in (said(ana, "f", 3), Subject(gone, "owner"))]
    await bench.destroyer.destroy_statements(ana, ["f"], 4, 0)
    assert await bench.key(said(ana, "f", 1)) is None
    await bench.destroyer.destroy_owner(gone)
    counts = {
        "emberlog_owner": 4,
        "emberlog_owner_alias": 1,
        "emberlog_item_key": 5,
        "emberlog_forgotten": 1,
        "emberlog_refused": 1,
    }
    assert await backup(database, path) == verify(path) == counts
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["keys.backup"], "no draft is left"

    assert await restore(empty, path) == counts
    await empty.prepare()
    again = tmp_path / "again"
    await backup(empty, again)
    assert sorted(again.read_bytes().splitlines()[:-1]) == sorted(path.read_bytes().splitlines()[:-1])
    other = bench_of(empty)
    assert [await other.opened(v) for v in values] == [b"words"] * 3
    assert [await other.opened(v) for v in dead] == [None] * 2
    assert [await other.owners.find(o) for o in (ANA, NICK, odd, BEN)] == [ana, ana, ben, None]
    assert await other.key(said(ana, "f", 2)) is None
    assert await other.keys.fingerprint_key(ana) == await bench.keys.fingerprint_key(ana)


async def test_a_backup_that_was_changed_or_cut_off_is_refused_before_a_row_is_restored(
    database: KeyDatabase, empty: KeyDatabase, tmp_path: Path
) -> None:
    bench, path = bench_of(database), tmp_path / "keys.backup"
    ana = await bench.owners.reference_of(ANA)
    await bench.keys.for_sealing([Subject(ana, "message", str(i)) for i in range(20)])
    await backup(database, path)
    lines = path.read_bytes().splitlines(keepends=True)
    text = path.read_bytes()
    wrong = {
        "cut off": b"".join(lines[:-1]),
        "cut off within a line": text[: len(text) // 2],
        "a row left out": b"".join(lines[:5] + lines[6:]),
        "a row twice": b"".join([*lines[:5], lines[4], *lines[5:]]),
        "a byte changed": text.replace(b"default", b"defauld", 1),
        "something behind": text + b"[]\n",
        "another format": text.replace(b"emberlog keys 1", b"emberlog keys 9"),
        "no backup": b"\xff\x00",
        "empty": b"",
    }
    for what, changed in wrong.items():
        path.write_bytes(changed)
        with pytest.raises(BackupError) as error:
            await restore(empty, path)
        assert "ana" not in str(error.value), what
    path.write_bytes(text)
    assert (await restore(empty, path))["emberlog_item_key"] == 20


async def test_a_backup_is_restored_into_an_empty_store_only(database: KeyDatabase, tmp_path: Path) -> None:
    path = tmp_path / "keys.backup"
    await backup(database, path)
    before = path.read_bytes()
    with pytest.raises(BackupError, match="not empty"):
        await restore(database, path)
    with pytest.raises(FileNotFoundError):
        await backup(database, tmp_path / "nowhere" / "keys.backup")
    assert path.read_bytes() == before


async def test_a_backup_is_one_snapshot_though_keys_are_made_meanwhile(
    database: KeyDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, snapshot = bench_of(database), module._snapshot

    @asynccontextmanager
    async def beside_a_maker(database: KeyDatabase) -> AsyncIterator[Connection]:
        async with snapshot(database) as connection:
            await connection.execute("SELECT FROM emberlog_owner")
            await bench.seal(Subject(await bench.owners.reference_of(ANA), "message", "m"))
            yield connection

    monkeypatch.setattr(module, "_snapshot", beside_a_maker)
    counts = await backup(database, tmp_path / "keys.backup")
    assert list(counts.values()) == [1, 0, 0, 0, 0], "the owner that came meanwhile is in it as little as its key"


async def test_the_check_counts_what_comes_out_and_what_does_not(database: KeyDatabase, fresh_database: str) -> None:
    bench = bench_of(database)
    ana, ben, gone = [await bench.owners.reference_of(o) for o in (ANA, BEN, NICK)]
    values = [await bench.seal(Subject(owner, "message", name)) for owner in (ana, ben, gone) for name in "mno"]
    await bench.destroyer.destroy_messages(ana, ["m"])
    await bench.destroyer.destroy_owner(gone)
    found = await check(database)
    assert found.is_well
    assert (found.owners, found.erased_owners, found.items, found.destroyed_items) == (3, 1, 9, 4)
    assert sum(found.masters.values()) == 3
    async with await psycopg.AsyncConnection.connect(fresh_database, autocommit=True) as other:
        await other.execute(
            "UPDATE emberlog_item_key SET wrapped = substring(wrapped FROM 2) WHERE key_id = %s", (values[1].key_id,)
        )
        await other.execute("UPDATE emberlog_owner SET wrapped = '\\x00' WHERE reference = %s", (ben,))
    found = await check(database)
    assert not found.is_well
    assert (found.broken_owners, found.broken_items, found.stray_items) == (1, 4, 0)
    async with await psycopg.AsyncConnection.connect(fresh_database, autocommit=True) as other:
        await other.execute("DELETE FROM emberlog_owner WHERE reference = %s", (ben,))
    found = await check(database)
    assert (found.broken_owners, found.broken_items, found.stray_items) == (0, 1, 3)
