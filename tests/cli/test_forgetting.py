"""Forgetting by id, slug and query, erasing an owner, and the proof of what is still where, on a running set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from ops.forgetting.stores import ALL_TABLES, WORKING_SET, table_stores, topic_stores
from ops.local.postgres import dsn_with
from ops.local.services import LocalServices
from ops.receipts import VIEWS
from projections.working_set import prefix_of
from schemas.topics import Topics
from tests.cli.support import Cli, Inside, addresses, until

QUIRK = "Quillon keeps seven violet umbrellas"


def remembered(inside: Inside, owner: str, *texts: str, slug: str | None = None) -> list[str]:
    """Ids of memories with these texts."""
    named = ("--slug", slug) if slug else ()
    return [inside.ok("remember", text, "--owner", owner, *named, "--json").json["memory_ids"][0] for text in texts]


def contents(running: Cli, owner: str) -> list[str]:
    """What the archive holds of the owner with this reference."""
    query = "SELECT original_content FROM thermal_memory_archive WHERE owner = %s ORDER BY added_offset"
    with psycopg.connect(dsn(running)) as connection:
        return [row[0] for row in connection.execute(query, (owner,)).fetchall()]


def reference(running: Cli, owner: str) -> str:
    """The owner's reference in the key store."""
    with psycopg.connect(dsn_with(dsn(running), "emberlog_keys")) as connection:
        row = connection.execute("SELECT reference FROM emberlog_owner WHERE id = %s", (owner,)).fetchone()
    assert row is not None
    return str(row[0])


def dsn(running: Cli) -> str:
    services = LocalServices(running.cwd / ".emberlog")
    assert services.status()["postgres"] == "healthy"
    return services.addresses.postgres_dsn


def found(report: Any) -> dict[str, int]:
    """Findings by store, of those that have any."""
    return {store["store"]: store["found"] for store in report["stores"] if store["found"]}


def test_several_memories_are_forgotten_by_id_slug_and_query_at_once(running: Cli, inside: Inside) -> None:
    owner = ("--owner", "fg-ann")
    [one] = remembered(inside, "fg-ann", "Ann hums in the bath")
    [named] = remembered(inside, "fg-ann", "Ann rings twice", slug="The Door")
    remembered(inside, "fg-ann", "Ann paints fences")
    ann = reference(running, "fg-ann")
    asked = ("forget", one[:8], one, "--slug", " the door. ", "--query", "who paints fences?", "-k", "1", *owner, "--json")
    refused = inside.run(*asked, input=b"n\n")
    assert refused.code == 1
    assert "Ann paints fences" in refused.err
    assert len(contents(running, ann)) == 3
    done = inside.ok(*asked, input=b"y\n")
    assert list(done.json["forgotten"])[:2] == [one, named]
    assert len(done.json["forgotten"]) == 3
    assert contents(running, ann) == []
    assert "nothing to forget" in inside.ok("forget", "--query", "fences", "--yes", *owner).err
    assert "no live memory with that slug" in inside.fails("forget", "--slug", "the door", *owner, code=2)


def test_source_messages_that_are_to_go_are_named_as_such(inside: Inside) -> None:
    inside.ok("publish", "--owner", "fg-bo", "--text", "I am afraid of heights.", "--wait")
    told = inside.ok("forget", "--query", "afraid of heights", "--include-source", "--yes", "--owner", "fg-bo").out
    assert "1 source message to go, too" in told


def test_a_receipt_says_what_went_where_and_what_stays(running: Cli, inside: Inside) -> None:
    [memory] = remembered(inside, "fg-rex", "Rex trims hedges on Mondays")
    forgotten = inside.ok("forget", memory, "--owner", "fg-rex", "--json").json
    receipt = inside.ok("receipt", forgotten["forget_id"], "--wait", "30", "--json").json
    done = {s["store"]: s["removed"] for s in receipt["stores"] if s["pending_until"] is None}
    assert done == {"keys": 1, **dict.fromkeys((*VIEWS, WORKING_SET), 1)}
    assert [s["store"] for s in receipt["stores"] if s["pending_until"]] == ["conversation.inbox.v1"]
    assert receipt["remaining_message_ids"] == []
    shown = inside.ok("receipt", receipt["receipt_id"])
    assert "graph" in shown.out
    assert "Rex" not in shown.out
    unknown = inside.run("receipt", memory)
    assert unknown.code == 2
    assert "no forgetting and no receipt" in unknown.err


def test_an_owner_is_erased_once_it_was_typed_again(running: Cli, inside: Inside) -> None:
    remembered(inside, "fg-cy", "Cy fishes", "Cy reads maps")
    remembered(inside, "fg-cynthia", "Cynthia dives")
    cy = reference(running, "fg-cy")
    wrong = inside.run("erase", "fg-cy", input=b"fg-cynthia\n")
    assert (wrong.code, "nothing was changed" in wrong.err) == (2, True)
    assert len(contents(running, cy)) == 2
    assert "erased  2 memories gone" in inside.ok("erase", "fg-cy", input=b"default/user/fg-cy\n").out
    assert contents(running, cy) == []
    assert contents(running, reference(running, "fg-cynthia")) == ["Cynthia dives"]
    erased = inside.ok("erase", "fg-cynthia", "--yes", "--json").json
    assert (erased["memories"], erased["sequence"]) == (1, 2)
    assert "nothing is known of this owner" in inside.fails("erase", "fg-nobody", "--yes", code=2)


@pytest.mark.slow
def test_a_proof_says_what_is_where_before_and_after_a_forget(running: Cli, inside: Inside, tmp_path: Path) -> None:
    [memory] = remembered(inside, "fg-dee", QUIRK)
    said = tmp_path / "said.txt"
    said.write_text(f"\n  {QUIRK.upper()}  \n\n")
    prove = ("forget", "--prove", memory[:8], "--content-file", str(said), "--json")
    before = inside.run(*prove)
    assert before.code == 1
    assert {"thermal", "memory.commands.v1", "memory.events.v1"} <= set(found(before.json))
    until(lambda: {"working set", "working set's files"} <= found(inside.run(*prove).json).keys(), 30)
    assert (before.json["complete"], before.json["memory_ids"]) == (True, [memory[:8]])
    told = inside.run(*prove[:-1])
    assert told.code == 1
    assert "its key is still there" in told.err
    assert "memory.events.v1 " in told.out
    inside.ok("forget", memory, "--owner", "fg-dee")
    # its keys are destroyed by the projector, a moment after the views have followed
    late = {"memory.commands.v1", "memory.events.v1", "working set", "working set's files"}
    until(lambda: not found(inside.run(*prove).json).keys() & late, 30)
    after = inside.run(*prove)
    files = {"write-ahead log", "database's files", "planner statistics"}  # these go with checkpoints and VACUUM FULL
    assert set(found(after.json)) <= files
    assert after.code == (1 if found(after.json) else 0)
    for done in (before, after, told):
        assert "umbrella" not in (done.out + done.err).lower()


def test_a_proof_finds_what_the_working_set_should_have_forgotten(running: Cli, inside: Inside, tmp_path: Path) -> None:
    quirk = "Elidor alphabetises eleven lanterns"
    [memory] = remembered(inside, "fg-eli", quirk)
    forgotten = inside.ok("forget", memory, "--owner", "fg-eli", "--json").json
    inside.ok("receipt", forgotten["forget_id"], "--wait", "30")
    said = tmp_path / "said.txt"
    said.write_text(quirk)
    prove = ("forget", "--prove", "--content-file", str(said), "--json")
    assert "working set" not in found(inside.run(*prove).json)
    url = addresses(running).redis_url
    assert url is not None
    with redis.Redis.from_url(url) as left:
        key = f"{prefix_of('')}{reference(running, 'fg-eli')}"
        left.hset(key, f"memory:{memory}", json.dumps({"memory_id": memory, "text": quirk}))
        done = inside.run(*prove)
        left.hdel(key, f"memory:{memory}")
        left.bgrewriteaof()
    [store] = [store for store in done.json["stores"] if store["store"] == "working set"]
    assert (done.code, store["found"]) == (1, 1)
    assert store["findings"][0]["place"].startswith(f"{key} value ")
    assert "a view still has it" in done.err


def test_a_proof_of_what_was_never_said_finds_it_nowhere(inside: Inside) -> None:
    done = inside.ok("forget", "--prove", "--content-file", "-", input=b"Zebedee keeps no lighthouse at all\nNor a whale\n")
    assert done.out.rstrip().endswith("found nowhere")
    for store in ("thermal", "planner statistics", "memory.events.v1", "logs", "broker's files", "database's files"):
        assert store in done.out


def test_a_registry_knows_every_topic_and_table_of_a_set_that_has_worked(running: Cli) -> None:
    with psycopg.connect(dsn(running)) as connection:
        numbers = connection.execute("SELECT view, generation FROM emberlog_view_generation").fetchall()
        tables = connection.execute(
            "SELECT table_schema || '.' || table_name FROM information_schema.tables "
            "WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
    known = {place for store in table_stores(numbers) for place in store.places} - {ALL_TABLES}
    assert {row[0] for row in tables} - known == set()
    folders = {path.name.rpartition("-")[0] for path in (running.cwd / ".emberlog" / "kafka" / "log").glob("*-[0-9]*")}
    ours = {name for name in folders if not name.startswith("__")}
    assert ours == {place for store in topic_stores(Topics()) for place in store.places}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("forget", "1234"), "say whose memory: --owner"),
        (("forget", "--owner", "u-1"), "say which: memory ids, --slug or --query"),
        (("forget", "--prove", "1234"), "there is no terminal to ask"),
        (("forget", "--prove", "--content-file", "-"), "the content to look for is empty"),
        (("forget", "--prove", "--content-file", "none.txt"), "none.txt cannot be read"),
        (("forget", "--prove", "--slug", "x"), "--prove only searches"),
        (("forget", "1234", "--owner", "u-1", "--content-file", "-"), "--content-file belongs to --prove"),
        (("erase", "a/b/c"), "an owner's kind is one of"),
    ],
)
def test_what_cannot_be_forgotten_or_proved_is_told_before_anything_is_asked(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    assert says in Inside(tmp_path).fails(*arguments, code=2)


def test_a_text_that_stands_everywhere_is_not_looked_for(inside: Inside) -> None:
    assert "cannot be sought" in inside.fails("forget", "--prove", "--content-file", "-", code=2, input=b"abc\n")
