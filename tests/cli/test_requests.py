"""Requests to change memory on a running set: each says what became of it, and recall shows it."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.cli.support import Cli, Inside, addresses, reference

UNKNOWN = "00000000-0000-5000-8000-000000000000"


def archived(running: Cli, owner: str) -> list[dict[str, Any]]:
    """The owner's rows of the archive, oldest first."""
    query = "SELECT *, id::text AS memory_id FROM thermal_memory_archive WHERE owner = %s ORDER BY added_offset"
    with psycopg.connect(addresses(running).postgres_dsn, row_factory=dict_row) as connection:
        return connection.execute(query, (reference(running, owner),)).fetchall()


def test_what_is_asked_for_is_remembered_warmed_and_revised_by_its_slug(running: Cli, inside: Inside) -> None:
    ana = ("--owner", "r-ana")
    told = running.ok("remember", "Ana rows every Sunday", *ana, "--slug", "sport", "--category", "habits", "--tag", "rowing").out
    assert told.startswith("added  ")
    [answer] = running.ok("recall", "what does Ana do on Sunday?", *ana, "--json").json["answers"]
    memory = answer["memory"]
    assert memory["memory_id"] in told
    assert memory["tags"] == ["emberlog", "request", "r-ana", "rowing"]
    assert (memory["metadata"]["slug"], memory["metadata"]["category"]) == ("sport", "habits")
    assert (memory["provenance"]["extractor"], memory["provenance"]["turn_id"]) == ("request", None)
    assert "asked for by a request" in inside.ok("recall", "Sunday", *ana).out

    again = inside.ok("remember", " ana ROWS every sunday. ", *ana, "--json").json
    assert (again["outcome"], again["memory_ids"], again["sequence"]) == ("reheated", [memory["memory_id"]], 2)
    assert 79.9 < again["temperature"] <= 80.0
    other = inside.ok("remember", "Ana swims now", *ana, "--slug", "sport", "--json").json
    assert (other["outcome"], other["memory_ids"], other["version"]) == ("revised", [memory["memory_id"]], 2)
    assert [m["original_content"] for m in archived(running, "r-ana")] == ["Ana swims now"]


def test_a_statement_that_was_extracted_and_one_that_is_asked_for_are_one_memory(running: Cli, inside: Inside) -> None:
    running.ok("publish", "--owner", "r-bo", "--text", "I am afraid of heights.", "--wait")
    change = inside.ok("remember", "User is afraid of heights", "--owner", "r-bo", "--json").json
    assert change["outcome"] == "reheated"
    assert [m["access_count"] for m in archived(running, "r-bo")] == [2]


def test_a_memory_is_revised_where_it_is_at_the_version_that_was_seen(running: Cli, inside: Inside) -> None:
    owner = ("--owner", "r-cy")
    [memory] = inside.ok("remember", "Cy lives in Quito", *owner, "--json").json["memory_ids"]
    told = inside.ok("revise", memory[:8], "Cy lives in Lima", *owner, "--if-version", "1").out
    assert told.startswith(f"revised  {memory}  ")
    assert "version 2" in told
    [found] = archived(running, "r-cy")
    assert (found["original_content"], found["version"], found["access_count"]) == ("Cy lives in Lima", 2, 2)
    rejected = inside.run("revise", memory, "Cy lives in Cusco", *owner, "--if-version", "1", "--json")
    assert (rejected.code, rejected.json["outcome"]) == (1, "rejected")
    assert "version 2, not at 1" in rejected.json["reason"]
    assert "version 2, not at 1" in rejected.err
    assert "nothing changed: the memory says so already" in inside.ok("revise", memory, "Cy lives in Lima", *owner).out


def test_a_memory_is_pinned_and_unpinned(running: Cli, inside: Inside) -> None:
    owner = ("--owner", "r-di")
    [memory] = inside.ok("remember", "Di collects stamps", *owner, "--json").json["memory_ids"]
    assert inside.ok("pin", memory[:8], *owner).out.startswith(f"pinned  {memory}  75.0°")
    assert archived(running, "r-di")[0]["sacred"]
    assert inside.ok("pin", memory, *owner, "--json").json["outcome"] == "noted"
    assert inside.ok("unpin", memory, *owner, "--json").json["outcome"] == "unpinned"
    assert not archived(running, "r-di")[0]["sacred"]
    assert "the memory is unknown" in inside.fails("pin", UNKNOWN, *owner, code=1)


def test_two_memories_are_linked_and_unlinked(inside: Inside) -> None:
    owner = ("--owner", "r-eva")
    one, other = (inside.ok("remember", text, *owner, "--json").json["memory_ids"][0] for text in ("Eva paints", "Eva sells art"))
    told = inside.ok("link", one[:8], other[:8], *owner, "--kind", "explains", "--weight", "0.5").out
    assert told == f"linked  {one} → {other}\n"
    assert "nothing changed" in inside.ok("link", one, other, *owner, "--kind", "explains", "--weight", "0.5").out
    unlinked = inside.ok("unlink", one, other, *owner, "--kind", "explains", "--json").json
    assert (unlinked["outcome"], unlinked["memory_ids"]) == ("unlinked", [one, other])
    assert "there is no such link" in inside.fails("unlink", one, other, *owner, code=1)
    assert "cannot be linked to itself" in inside.fails("link", one, one, *owner, code=1)
    assert "fits no live memory of this owner" in inside.fails("link", one[:8], other, "--owner", "r-di", code=2)


def test_what_was_remembered_on_request_is_forgotten_like_any_other(running: Cli, inside: Inside) -> None:
    [memory] = inside.ok("remember", "Flo hides keys", "--owner", "r-flo", "--json").json["memory_ids"]
    assert "0 source messages stay" in inside.ok("forget", memory, "--owner", "r-flo").out
    assert archived(running, "r-flo") == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("remember", "  "), "the text is empty"),
        (("remember", "text", "--slug", ""), "the slug is empty"),
        (("remember", "text", "--tag", " "), "a tag is empty"),
        (("link", "1234", "5678", "--kind", " "), "the kind is empty"),
        (("remember", "broken \udcff bytes"), "no valid text"),
        (("remember", "x" * 100_001), "more than 100000 characters"),
    ],
    ids=["text", "slug", "tag", "kind", "bytes", "long"],
)
def test_what_cannot_be_remembered_is_told_before_anything_is_asked(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    assert says in Inside(tmp_path).fails(*arguments, "--owner", "u-1", code=2)


def test_without_the_installations_master_key_nothing_is_asked(running: Cli, tmp_path: Path) -> None:
    found = addresses(running)
    external = {"EMBERLOG_KAFKA_BOOTSTRAP": found.kafka_bootstrap, "EMBERLOG_POSTGRES_DSN": found.postgres_dsn}
    error = Inside(tmp_path, external).fails("remember", "text", "--owner", "r-gil", code=1)
    assert "the master key file .emberlog/keys/master.key is missing: work in the folder of the workers" in error
    assert list(tmp_path.iterdir()) == []
    foreign = {**external, "EMBERLOG_MASTER_KEY": base64.b64encode(secrets.token_bytes(32)).decode()}
    error = Inside(tmp_path, foreign).fails("remember", "text", "--owner", "r-gil", code=1)
    assert "under master key" in error
    assert "EMBERLOG_MASTER_KEY_FILE" in error
    assert "nothing is known of this owner" in Inside(running.cwd).fails("owner", "show", "r-gil", code=2)
