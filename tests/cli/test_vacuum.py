"""``emberlog vacuum`` on a running set, and on a key store alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg

from ops.keyring import keys_dsn
from ops.settings import load_settings
from tests.cli.support import Cli, Inside, addresses

QUIRK = "Vesper polishes nineteen brass telescopes"
OWNER = "vc-vesper"


def found(report: Any) -> dict[str, int]:
    """Findings by store, of those that have any."""
    return {store["store"]: store["found"] for store in report["stores"] if store["found"]}


def test_after_a_forget_and_a_vacuum_no_file_of_the_databases_holds_it(running: Cli, inside: Inside, tmp_path: Path) -> None:
    [memory] = inside.ok("remember", QUIRK, "--owner", OWNER, "--json").json["memory_ids"]
    said = tmp_path / "said.txt"
    said.write_text(f"{QUIRK}\n{OWNER}-alias\n")
    inside.ok("owner", "alias", OWNER, f"{OWNER}-alias")
    inside.ok("forget", memory, "--owner", OWNER)
    erased = inside.ok("erase", OWNER, "--yes", "--json").json
    inside.ok("receipt", erased["command_id"], "--wait", "30")
    with psycopg.connect(addresses(running).postgres_dsn, autocommit=True) as connection:
        connection.execute("CHECKPOINT")  # else the files lack what is in memory
    prove = ("forget", "--prove", "--content-file", str(said), "--json")
    assert {"database's files", "write-ahead log"} <= found(inside.run(*prove).json).keys()
    told = inside.ok("vacuum", "--yes", "--json").json
    assert (told["complete"], told["working_set"]) == (True, True)
    assert [(d["label"], d["left"], d["wal"]) for d in told["databases"]] == [("views", {}, []), ("key store", {}, [])]
    assert all(d["tables"] > 4 and d["after"] > 0 for d in told["databases"])
    assert found(inside.run(*prove).json) == {}
    assert inside.ok("status").code == 0


def test_it_asks_first_and_says_what_it_did(inside: Inside) -> None:
    refused = inside.run("vacuum", "--keys", input=b"n\n")
    assert refused.code == 1
    assert "Every table of key store is to be written anew" in refused.err
    assert refused.out.strip() == ""
    done = inside.ok("vacuum", "--keys", input=b"y\n").out
    assert "key store" in done
    assert "views" not in done
    assert "backups, snapshots and replicas" in done


def test_a_table_in_use_is_an_error_that_names_it(running: Cli, inside: Inside) -> None:
    settings = load_settings(data_dir=running.cwd / ".emberlog")
    with psycopg.connect(keys_dsn(settings, addresses(running).postgres_dsn)) as reader:
        reader.execute("SELECT count(*) FROM emberlog_owner_alias")
        done = inside.run("vacuum", "--keys", "--yes", "--patience", "1", "--json")
    assert (done.code, done.json["complete"]) == (1, False)
    assert "public.emberlog_owner_alias (others use it without a pause)" in done.err
    assert "try again" in done.err


def test_a_key_store_with_an_address_of_its_own_needs_nothing_that_runs(fresh_database: str, tmp_path: Path) -> None:
    alone = Inside(tmp_path, {"EMBERLOG_KEYS_DSN": fresh_database})
    [done] = alone.ok("vacuum", "--keys", "--yes", "--json").json["databases"]
    assert (done["label"], done["tables"], done["left"]) == ("key store", 2, {})
    assert "nothing runs" in alone.fails("vacuum", "--yes", code=3)
