"""``emberlog replay``: a stretch of a topic as JSON lines, on a running set."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import AIOKafkaProducer

from schemas.topics import partition_of
from tests.cli.support import Cli, Inside, addresses, reference, until


def said(inside: Inside, owner: str, *texts: str) -> None:
    for text in texts:
        inside.ok("publish", "--owner", owner, "--text", text, "--wait")


def test_a_replay_has_each_record_once_in_its_place_opened_and_ends_by_itself(inside: Inside) -> None:
    said(inside, "rea", "I moved to Lima in spring.", "I am afraid of heights.", "I moved to Lima in spring.")
    events = inside.ok("replay", "--topic", "events", "--from-offset", "0", "--owner", "default/user/rea").lines
    assert [e["type"] for e in events] == ["MemoryAdded", "MemoryAdded", "MemoryReheated"]
    assert [e["record"]["content"] for e in events[:2]] == ["User moved to Lima in spring", "User is afraid of heights"]
    who, partition = reference(inside, "rea"), partition_of(reference(inside, "rea"), 4)
    assert {(e["topic"], e["partition"], e["key"], e["problem"]) for e in events} == {("memory.events.v1", partition, who, None)}
    assert [e["headers"]["sequence"] for e in events] == ["1", "2", "3"]
    assert events == inside.ok("tail", "events", "--owner", "rea", "--json").lines

    every = inside.ok("replay", "--topic", "memory.events.v1", "--from-offset", "0").lines
    places = [(e["partition"], e["offset"]) for e in every]
    assert places == sorted(set(places))
    assert len(places) == inside.ok("status", "--json").json["topics"]["memory.events.v1"]["records"]

    first, _, last = (event["offset"] for event in events)
    some = ("replay", "--topic", "events", "--partition", str(partition))
    stretch = inside.ok(*some, "--from-offset", str(first), "--to-offset", str(last)).lines
    assert [e["offset"] for e in stretch] == list(range(first, last))
    at = datetime.fromisoformat(events[1]["time"])
    later = inside.ok(*some, "--from-time", at.isoformat()).lines
    earlier = inside.ok(*some, "--from-time", "1970-01-01T00:00:00Z", "--to-time", at.isoformat()).lines
    assert [e["offset"] for e in earlier + later] == list(range(later[-1]["offset"] + 1))
    assert later[0]["offset"] <= events[1]["offset"] < later[-1]["offset"] + 1
    assert inside.ok(*some, "--from-time", (datetime.now(UTC) + timedelta(days=1)).isoformat()).out == ""
    assert [e["type"] for e in inside.ok(*some, "--from-offset", "0", "--owner", "rea", "--type", "MemoryReheated").lines] == [
        "MemoryReheated"
    ]


def test_the_newest_state_of_memories_can_be_replayed_and_a_forgotten_one_is_a_tombstone(inside: Inside) -> None:
    said(inside, "ron", "I sing in a choir on Mondays.", "I sing in a choir on Mondays.")
    replay = ("replay", "--topic", "current", "--from-offset", "0", "--owner", "ron")
    until(lambda: any(line["record"]["access_count"] == 2 for line in inside.ok(*replay).lines), 20)
    newest = inside.ok(*replay).lines[-1]
    memory = newest["record"]["memory_id"]
    assert (newest["type"], newest["key"], newest["record"]["content"]) == (
        "MemoryCurrent", memory, "User sings in a choir on Mondays",
    )  # fmt: skip
    assert inside.ok("tail", "current", "--owner", "ron", "--json", "-n", "1").lines == [newest]
    inside.ok("forget", memory, "--owner", "ron")
    tombstones = ("replay", "--topic", "current", "--from-offset", "0", "--type", "tombstone")
    until(lambda: memory in {line["key"] for line in inside.ok(*tombstones).lines}, 20)
    told = inside.ok("replay", "--topic", "events", "--from-offset", "0", "--owner", "ron", "--type", "MemoryAdded").lines
    assert told[0]["record"]["content"]["cipher"] == "destroyed", "its key is gone"


def test_a_file_is_there_once_it_is_whole_closed_to_others_and_broken_records_are_in_it(running: Cli, inside: Inside) -> None:
    async def put() -> int:
        async with AIOKafkaProducer(bootstrap_servers=addresses(running).kafka_bootstrap) as producer:
            # of this topic no view is made, where it would stay as a problem
            return int((await producer.send_and_wait("memory.current.v1", b"\xff", key=b"k", partition=3)).offset)

    offset, file = asyncio.run(put()), inside.cwd / "broken.ndjson"
    file.write_text("from before")
    replay = ("replay", "--topic", "current", "--partition", "3", "--from-offset", str(offset), "--to-offset", str(offset + 1))
    done = inside.ok(*replay, "--out", "broken.ndjson")
    assert (done.out, done.err) == ("", "1 records are in broken.ndjson\n")
    assert file.stat().st_mode & 0o777 == 0o600
    [line] = inside.ok(*replay).lines
    assert (line["type"], line["record"], line["key"]) == ("unreadable", None, "k")
    assert "single-object" in line["problem"]
    assert file.read_text() == inside.ok(*replay, "--out", "-").out
    assert "nothing is known" in inside.fails(*replay, "--out", "broken.ndjson", "--owner", "nobody", code=2)
    assert json.loads(file.read_text()) == line, "what was there stays where a replay fails"
    assert [path.name for path in inside.cwd.glob("*broken.ndjson*")] == ["broken.ndjson"]
    assert "cannot be written" in inside.fails(*replay, "--out", "no/folder/x.ndjson", code=2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--topic", "events"), "say from where"),
        (("--topic", "events", "--from-offset", "0", "--from-time", "2026-03-01T00:00:00Z"), "exclude each other"),
        (("--topic", "events", "--from-time", "yesterday"), "no time with an offset"),
        (("--topic", "events", "--from-offset", "0", "--to-time", "2026-03-01T00:00:00"), "no time with an offset"),
        (("--topic", "nonsense", "--from-offset", "0"), "there is no topic nonsense"),
        (("--topic", "events", "--from-offset", "0", "--partition", "9"), "partitions are 0 to 3"),
        (("--topic", "events", "--from-offset", "0", "--type", "MemoryCurrent"), "types are MemoryAdded"),
        (("--topic", "events", "--from-offset", "0", "--owner", "a/b/c"), "an owner's kind is one of"),
        (("--topic", "events", "--from-offset", "0", "--out", "."), "is a folder"),
    ],
)
def test_what_cannot_be_replayed_is_told_with_what_would_be_right(inside: Inside, arguments: tuple[str, ...], says: str) -> None:
    assert says in " ".join(inside.fails("replay", *arguments, code=2).split())


def test_a_stretch_can_be_folded_into_a_view_as_it_stood_where_the_stretch_begins(inside: Inside) -> None:
    for who, what in (("rut", "Keeps two goats"), ("rut", "Plays the oboe"), ("sol", "Keeps bees on the roof")):
        inside.ok("remember", what, "--owner", who)
    events = inside.ok("replay", "--topic", "events", "--from-offset", "0", "--owner", "rut").lines
    place = ("--partition", str(events[1]["partition"]), "--from-offset", str(events[1]["offset"]), "--owner", "rut")
    made = inside.ok("replay", "--topic", "events", *place, "--into", "thermal", "--json").json
    assert made["view"] == "thermal"
    assert made["tables"]["thermal_memory_archive"] >= 2
    listed = inside.ok("generations", "thermal", "--json").json
    assert [g["state"] for g in listed if g["generation"] == made["generation"]] == ["as-of"], "it is never the live one"
    inside.ok("generations", "--drop", f"thermal/{made['generation']}")
    refused = inside.run("replay", "--topic", "commands", "--from-offset", "0", "--into", "thermal")
    assert refused.code == 2
    assert "thermal is not made from memory.commands.v1" in refused.err
    refused = inside.run("replay", "--topic", "events", "--from-offset", "0", "--into", "thermal", "--type", "MemoryAdded")
    assert refused.code == 2
    assert "--into excludes" in refused.err
