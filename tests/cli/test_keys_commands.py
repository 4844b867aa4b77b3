"""Checking, backing up, restoring and rotating keys: on a running set, and on key stores of their own."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from ops.keyring import Keyring
from ops.keys.database import KeyDatabase
from ops.keys.master import LocalMasterKey, Masters, master_from_file
from ops.keys.rotation import rotate
from ops.local.addresses import ServiceAddresses
from ops.local.postgres import dsn_with
from schemas.owner import Owner
from schemas.subjects import Subject
from tests.cli.support import Inside

OWNERS = 5
OLD, NEW = "old.key", "new.key"
LOUD = "Losing the key store or its master key is losing the content of the whole log"


def commands(folder: Path, dsn: str, master: Path, **more: str) -> Inside:
    """Commands on a key store of its own; nothing else runs."""
    return Inside(folder, {"EMBERLOG_KEYS_DSN": dsn, "EMBERLOG_MASTER_KEY_FILE": str(master), **more})


def fill(dsn: str, master: LocalMasterKey, count: int = OWNERS) -> None:
    """A key store with ``count`` owners, two keys each, an alias among them."""

    async def work() -> None:
        async with KeyDatabase(dsn, Masters(master), connections=1) as database:
            await database.prepare()
            ring = Keyring(database)
            owners = [await ring.directory.reference_of(Owner.parse(f"k-{n}")) for n in range(count)]
            await ring.directory.alias(owners[0], Owner.parse("k-zero"))
            await ring.keys.for_sealing([Subject(owner, "message", name) for owner in owners for name in ("m-1", "m-2")])

    asyncio.run(work())


@pytest.fixture
def store(fresh_database: str, tmp_path: Path) -> Inside:
    """Commands on a filled key store under the master key in ``OLD``."""
    fill(fresh_database, master_from_file(tmp_path / OLD))
    return commands(tmp_path, fresh_database, tmp_path / OLD)


@pytest.fixture
def another(services: ServiceAddresses) -> Iterator[str]:
    """Address of a database that is not there yet; dropped after the test."""
    name = f"emb_test_{secrets.token_hex(6)}"
    yield dsn_with(services.postgres_dsn, name)
    with psycopg.connect(services.postgres_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def test_the_keys_of_a_running_set_are_well_and_their_worth_is_told_loudly(inside: Inside, tmp_path: Path) -> None:
    inside.ok("remember", "Kai keeps keys", "--owner", "k-kai")
    told = inside.ok("keys", "check").out
    assert LOUD in " ".join(told.split())
    assert "every key comes out" in told
    assert "database emberlog_keys on" in told
    assert "file .emberlog/keys/master.key" in told
    report = inside.ok("keys", "check", "--json").json
    assert report["owners"] >= 1
    assert report["items"] >= 1
    assert (report["well"], report["broken_owners"], report["to_rotate"]) == (True, 0, 0)
    assert list(report["masters"]) == [report["master_id"]]
    counts = inside.ok("keys", "backup", str(tmp_path / "running.backup"), "--json").json
    assert counts["emberlog_owner"] > report["owners"], "the store's own row is no owner"


def test_keys_that_do_not_come_out_are_told_with_the_likely_reason(store: Inside, fresh_database: str, tmp_path: Path) -> None:
    well = store.ok("keys", "check", "--json").json
    assert (well["owners"], well["items"], well["broken_store"]) == (OWNERS, 2 * OWNERS, 0)
    foreign = commands(tmp_path, fresh_database, tmp_path / "foreign.key")
    assert "foreign.key is missing" in foreign.fails("keys", "check", code=1)
    master_from_file(tmp_path / "foreign.key")
    assert "the master key that is set is not theirs" in foreign.fails("keys", "check", code=1)
    lost = foreign.run("keys", "check", "--json").json
    assert (lost["owners"], lost["broken_owners"], lost["broken_store"]) == (OWNERS, OWNERS, 1)
    with psycopg.connect(fresh_database) as connection:
        connection.execute(
            "UPDATE emberlog_item_key SET wrapped = '\\x00' WHERE key_id = (SELECT key_id FROM emberlog_item_key LIMIT 1)"
        )
    damaged = store.run("keys", "check", "--json")
    assert (damaged.code, damaged.json["well"], damaged.json["broken_items"]) == (1, False, 1)
    assert "the store was changed or is damaged" in damaged.err
    assert LOUD in " ".join(store.run("keys", "check").out.split())


def test_a_backup_is_restored_into_a_database_that_is_made_for_it(store: Inside, another: str, tmp_path: Path) -> None:
    (tmp_path / "safe").mkdir()
    file = tmp_path / "safe" / "keys.backup"
    done = store.ok("keys", "backup", str(file))
    assert f"{OWNERS} owners, 1 aliases, {2 * OWNERS} keys, 0 tombstones" in done.out
    assert "warning" not in done.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (tmp_path / OLD).read_bytes() not in file.read_bytes()
    assert "is there already" in store.fails("keys", "backup", str(file), code=2)

    other = commands(tmp_path, another, tmp_path / OLD)
    told = other.ok("keys", "restore", str(file))
    assert f"{OWNERS} owners, 1 aliases" in told.out
    assert "keys that were destroyed since the backup are back" in told.err
    before, after = (cli.ok("keys", "check", "--json").json for cli in (store, other))
    assert after == {**before, "store": after["store"]}
    assert "not empty" in other.fails("keys", "restore", str(file), code=1)


def test_a_backup_beside_the_master_key_is_warned_of_and_one_that_was_changed_refused(
    store: Inside, another: str, tmp_path: Path
) -> None:
    file = tmp_path / "keys.backup"
    assert "stands beside the master key" in store.ok("keys", "backup", "keys.backup").err
    text = file.read_bytes()
    file.write_bytes(text.replace(b'"k-1"', b'"k-9"'))
    other = commands(tmp_path, another, tmp_path / OLD)
    assert "was changed" in other.fails("keys", "restore", "keys.backup", code=1)
    file.write_bytes(text)
    foreign = commands(tmp_path, another, tmp_path / "foreign.key")
    master_from_file(tmp_path / "foreign.key")
    done = foreign.run("keys", "restore", "keys.backup")
    assert done.code == 1
    assert "restored into database" in done.out
    assert "was not given" in done.err
    assert "Traceback" not in done.err
    assert other.ok("keys", "check", "--json").json["well"]
    assert "cannot be used: No such file" in store.fails("keys", "restore", "none.backup", code=2)
    assert "cannot be used: No such file" in store.fails("keys", "backup", "none/keys.backup", code=2)


def test_a_rotation_asks_wraps_all_and_says_what_to_set(store: Inside, fresh_database: str, tmp_path: Path) -> None:
    asked = store.run("keys", "rotate", "--to-file", NEW, input=b"n\n")
    assert asked.code == 1
    assert f"{OWNERS + 1} owners' keys are to be wrapped" in asked.err
    assert f"EMBERLOG_MASTER_KEY_FILE={NEW} and EMBERLOG_FORMER_MASTER_KEY_FILE={tmp_path / OLD}" in asked.err
    assert store.ok("keys", "check", "--json").json["well"]

    new_key = (tmp_path / NEW).read_bytes()
    told = store.ok("keys", "rotate", "--to-file", NEW, input=b"y\n").out
    assert f"wrapped  {OWNERS + 1} owners' keys" in told
    assert f"set EMBERLOG_MASTER_KEY_FILE={NEW} for everything" in told
    assert (tmp_path / NEW).read_bytes() == new_key
    assert "the master key that is set is not theirs" in store.fails("keys", "check", code=1)
    after = commands(tmp_path, fresh_database, tmp_path / NEW)
    assert after.ok("keys", "check", "--json").json["well"]
    # repeated, with the old key still set, it finds nothing to do
    assert store.ok("keys", "rotate", "--to-file", NEW, "--json").json["wrapped"] == 0
    assert "say where the new one is" in after.fails("keys", "rotate", code=2)


def test_a_rotation_that_was_interrupted_is_seen_and_finished_by_the_settings(
    store: Inside, fresh_database: str, tmp_path: Path
) -> None:
    class StopError(Exception):
        pass

    def stop(_: object) -> None:
        raise StopError

    async def begin() -> None:
        given = Masters(master_from_file(tmp_path / NEW), master_from_file(tmp_path / OLD))
        async with KeyDatabase(fresh_database, given, connections=1) as database:
            await rotate(database, batch=2, on_progress=stop)

    with pytest.raises(StopError):
        asyncio.run(begin())
    both = commands(tmp_path, fresh_database, tmp_path / NEW, EMBERLOG_FORMER_MASTER_KEY_FILE=str(tmp_path / OLD))
    told = both.ok("keys", "check").out
    assert f"{OWNERS - 1} keys are still under another master key: emberlog keys rotate" in told
    done = both.ok("keys", "rotate", "--yes")
    assert f"wrapped  {OWNERS - 1} owners' keys" in done.out
    assert "take EMBERLOG_FORMER_MASTER_KEY_FILE away" in done.out
    assert commands(tmp_path, fresh_database, tmp_path / NEW).ok("keys", "check", "--json").json["well"]


def test_a_master_key_in_a_variable_is_named_as_what_would_win(fresh_database: str, tmp_path: Path) -> None:
    key = secrets.token_bytes(32)
    fill(fresh_database, LocalMasterKey(key), 1)
    store = Inside(tmp_path, {"EMBERLOG_KEYS_DSN": fresh_database, "EMBERLOG_MASTER_KEY": base64.b64encode(key).decode()})
    assert "EMBERLOG_MASTER_KEY" in store.ok("keys", "check").out
    done = store.ok("keys", "rotate", "--to-file", NEW, "--yes")
    assert "take EMBERLOG_MASTER_KEY away" in done.out
    shown = done.out + done.err + json.dumps(store.run("keys", "check", "--json").json)
    assert base64.b64encode(key).decode() not in shown


@pytest.mark.slow
def test_a_key_store_that_is_away_or_not_set_up_is_named_without_its_password(fresh_database: str, tmp_path: Path) -> None:
    master_from_file(tmp_path / OLD)
    away = commands(tmp_path, "postgresql://keeper:garden-gate@127.0.0.1:9/keys", tmp_path / OLD)
    error = away.fails("keys", "check", code=3)
    assert re.match(r"error: the key store does not answer .*\n  see what runs", error)
    assert "garden-gate" not in error
    empty = commands(tmp_path, fresh_database, tmp_path / OLD)
    assert "make them with: emberlog setup" in empty.fails("keys", "check", code=3)
    assert list(tmp_path.glob("*.backup")) == []
    assert empty.run("keys", "backup", "keys.backup").code == 3
    assert [path.name for path in tmp_path.iterdir()] == [OLD]


def test_setup_advises_a_role_for_the_key_store_and_refuses_it_to_a_second_installation(
    services: ServiceAddresses, fresh_database: str, topic_prefix: str, tmp_path: Path
) -> None:
    environment = {
        "EMBERLOG_KAFKA_BOOTSTRAP": services.kafka_bootstrap,
        "EMBERLOG_POSTGRES_DSN": fresh_database,
        "EMBERLOG_TOPIC_PREFIX": topic_prefix,
        "EMBERLOG_PARTITIONS": "1",
    }
    keys = f"{conninfo_to_dict(fresh_database)['dbname']}_keys"
    try:
        done = Inside(tmp_path, environment).ok("setup")
        assert "warning: the key store belongs to the role of the views" in done.err
        named = {**environment, "EMBERLOG_KEYS_DSN": dsn_with(fresh_database, keys)}
        assert "warning" not in Inside(tmp_path, named).ok("setup").err
        second = Inside(tmp_path, {**named, "EMBERLOG_TOPIC_PREFIX": f"{topic_prefix}b."})
        refused = second.fails("setup", code=1)
        assert f"whose log is {topic_prefix}memory.events.v1, and this one's is {topic_prefix}b.memory.events.v1" in refused
    finally:
        with psycopg.connect(services.postgres_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(keys)))
