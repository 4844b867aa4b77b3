"""What is sealed is nowhere in clear: on no topic but the inbox, in no log line, in no table of the decider's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace
from prometheus_client import generate_latest
from psycopg import sql

from ops.forgetting.needles import Needles
from ops.keyring import open_keys
from ops.keys import audit_key
from ops.keys.destroying import Destroyer
from ops.local.addresses import ServiceAddresses
from projections.rebuild import verify
from projections.runner import RunnerConfig
from projections.view import ViewSettings
from projections.views import build_views
from schemas import codec
from schemas.sealed import Sealed
from schemas.sealing import open_all
from schemas.subjects import subjects_of
from schemas.types import InboxMessage, InboxToolCall, InboxTurn, MemoryAdded, MemoryEmbedding, Record, WorkParked
from streams import kafka
from tests.line.conftest import MakeLine
from tests.line.support.line import Line, running
from tests.line.support.reading import read_all
from tests.line.support.rebuilt import project_all
from tests.line.support.speaker import Speaker
from tests.line.support.waiting import until

pytestmark = pytest.mark.slow
SEALED_TOPICS = ("conversation", "commands", "events", "embeddings", "parked")
BROKEN = 4
IN_CLEAR = {
    "thermal_memory_archive", "memory_mention", "memory_version", "memory_trace", "waiting_message", "parked_work", "user_brain",
    "interactions", "capture_session", "mem0_memories",
}  # fmt: skip
"""Tables that are there to be searched and shown."""
NOTHING_LEFT = {"waiting_message", "interactions", "capture_session", "user_brain", "mem0_memories"}
"""Of these: a message or a session is nothing without its words, nobody knows whose brain it was, and no vector can be opened."""

# a marker for each place
WORDS = (
    *("content", "reply", "name", "caption", "message", "session", "turn", "arguments", "result", "model"),
    *("fact", "asked", "revised", "slug", "tag", "category"),
    *("broken", "model_failed"),
)
MARKERS = {word: f"zq-{word}-7f31" for word in WORDS}
TABLES = """
SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
"""


def broken_records(owner: str) -> list[bytes]:
    """``BROKEN`` inbox records that no turn can be made of; the marker stands where a reason could quote it."""
    word = MARKERS["broken"]
    good: dict[str, Any] = {"owner": owner, "session_id": "s", "messages": [{"role": "user", "content": word}]}
    changes: list[dict[str, Any]] = [
        {"messages": [{"role": word, "content": word}]},
        {"latency_ms": {word: word}},
        {"owner": f"default/{word}/{word}"},
    ]
    return [json.dumps(good)[:-3].encode(), *(json.dumps(good | change).encode() for change in changes)]


@dataclass
class Story:
    """A line on which everything was said that has a marker, and its records as they stood before a key was destroyed."""

    line: Line
    ana: Speaker
    hurt: Speaker
    markers: dict[str, str]
    records: dict[str, list[tuple[Any, Record | None]]]
    opened: bytes
    """All records of ``SEALED_TOPICS`` with their values opened."""

    def found_in(self, data: Iterable[bytes]) -> set[str]:
        """Which markers stand in ``data``."""
        names, needles = list(self.markers), Needles(list(self.markers.values()))
        return {names[hit.needle - 1] for part in data for hit in needles.find(part)}


def _turn(ana: Speaker) -> InboxTurn:
    m = MARKERS
    turn = ana.turn(f"Her {m['fact']} is in the harbour", word=m["content"])
    [said] = turn.messages
    said = replace(said, id=m["message"], name=m["name"], image_caption=m["caption"])
    calls = (InboxToolCall("search", json.dumps(m["arguments"]), json.dumps(m["result"])),)
    return replace(
        turn,
        id=m["turn"],
        session_id=m["session"],
        messages=(said, InboxMessage("assistant", m["reply"])),
        tool_calls=calls,
        model_messages=json.dumps([m["model"]]),
    )


async def _play(line: Line) -> Story:
    ana, hurt = Speaker(line, "default/user/zq-ana"), Speaker(line, "default/user/zq-hurt")
    turn = _turn(ana)
    bad, behind = (
        hurt.turn(f"The {MARKERS['model_failed']} is lost", word=MARKERS["model_failed"]),
        hurt.turn("This waits behind"),
    )
    line.standin.control(overrides={bad.messages[0].content: "malformed:strings"})
    try:
        await line.publish([turn, bad, behind])
        await line.publish_raw([(str(ana.owner).encode(), value) for value in broken_records(str(ana.owner))])
        await line.settled([ana.id_of(turn)])
        await until(lambda: _parked(line, BROKEN + 2), "what cannot be done is parked")
    finally:
        line.standin.control(overrides={})
    whose = ("--owner", str(ana.owner), "--json")
    named = ("--slug", MARKERS["slug"], "--tag", MARKERS["tag"], "--category", MARKERS["category"])
    [memory] = (await line.cli("remember", f"Her {MARKERS['asked']} is red", *named, *whose)).json()["memory_ids"]
    assert (await line.cli("revise", memory, f"Her {MARKERS['revised']} is green", *whose)).json()["outcome"] == "revised"
    await line.projected()
    topics = line.topics
    records = {name: await read_all(line.bootstrap, getattr(topics, name), topics.partitions) for name in SEALED_TOPICS}
    async with open_keys(line.as_settings, line.dsn) as ring:
        ours = [record for found in records.values() for _, record in found if record is not None]
        opened = b"".join(map(codec.encode, await open_all(ring.keys, ours)))
    return Story(line, ana, hurt, {**MARKERS, "owner": ana.owner.id, "other owner": hurt.owner.id}, records, opened)


async def _parked(line: Line, size: int) -> bool:
    return bool((await line.rows("SELECT count(*) FROM parked_work"))[0][0] >= size)


@pytest.fixture(scope="module")
async def story(services: ServiceAddresses, make_line: MakeLine) -> AsyncIterator[Story]:
    # a line of its own: keys are destroyed on it
    settings = {"EMBERLOG_MODEL_ATTEMPTS": "1", "EMBERLOG_LOG_LEVEL": "debug"}
    async with running(make_line(services, settings=settings)) as line:
        yield await _play(line)


async def _rows(dsn: str, like: str = "%") -> dict[str, list[bytes]]:
    """By table whose name is ``like`` this: each value as bytes. Bytes as they are, anything else as text."""
    found: dict[str, list[bytes]] = {}
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        cursor = await connection.execute(f"{TABLES} AND c.relname LIKE %s", (like,))
        for schema, table in await cursor.fetchall():
            rows = await connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, table)))
            values = [value for row in await rows.fetchall() for value in row]
            found.setdefault(table, []).extend(v if isinstance(v, bytes) else str(v).encode() for v in values)
    return found


def _parts(message: Any) -> list[bytes]:
    return [message.key or b"", message.value or b"", *(part for n, v in message.headers for part in (n.encode(), v or b""))]


async def test_no_topic_but_the_inbox_holds_a_marker_in_clear(story: Story) -> None:
    for name, records in story.records.items():
        assert records, f"nothing on {name}"
        assert story.found_in(part for message, _ in records for part in _parts(message)) == set(), name
        # a vector has no words: that it is sealed is to be asked of the record
        assert not any(subjects_of(record) for _, record in records if record is not None), f"something in plain on {name}"
    # the markers are there for whoever has the keys; of the turn's id only a hash is taken over
    assert story.found_in([story.opened]) == set(story.markers) - {"turn"}


async def test_no_log_line_and_no_file_of_the_processes_holds_a_marker(story: Story) -> None:
    logs = [process.log() for process in story.line.processes]
    assert all(logs)
    assert "".join(logs).count('"work parked"') == BROKEN + 2, "the logs are not those of the story"
    files = [path for path in story.line.folder.rglob("*") if path.is_file()]
    assert story.found_in(path.read_bytes() for path in files) == set()
    assert story.found_in(str(path).encode() for path in files) == set()


async def test_only_the_views_that_are_shown_and_searched_hold_markers(story: Story) -> None:
    tables = await _rows(story.line.dsn)
    holding = {table for table, values in tables.items() if story.found_in(values)}
    assert holding == IN_CLEAR
    decider = {table: values for table, values in tables.items() if table.startswith("emberlog_decider_")}
    assert {table for table, values in decider.items() if values} == set(decider) != set()
    assert story.found_in(tables["thermal_memory_archive"] + tables["memory_mention"]) == {
        *("fact", "revised", "slug", "tag", "category", "session", "message", "owner")
    }
    assert story.found_in(tables["memory_trace"]) == {
        *("content", "reply", "name", "caption", "message", "session", "fact", "revised", "slug", "tag", "category", "owner")
    }
    # of a memory that was revised the words before, too
    assert story.found_in(tables["memory_version"]) == {"fact", "asked", "revised", "slug", "tag", "category"}
    # of the turns that were parked the view has the records as they stood on their topic, whose values are sealed themselves
    assert story.found_in(tables["parked_work"]) == {"broken", "owner"}


async def test_the_key_store_holds_the_owners_ids_and_no_word(story: Story) -> None:
    tables = await _rows(story.line.keys_dsn)
    assert story.found_in(value for values in tables.values() for value in values) == {"owner", "other owner"}


async def _erase(story: Story) -> None:
    """Destroy all keys of the story."""
    entries = [r.parked_id for _, r in story.records["parked"] if isinstance(r, WorkParked) and r.owner is None]
    async with open_keys(story.line.as_settings, story.line.dsn, connections=1) as ring:
        destroyer = Destroyer(ring.database)
        for speaker in (story.ana, story.hurt):
            assert (await destroyer.destroy_owner(speaker.reference)).owners == 1
        assert await destroyer.destroy_parked(entries) == len(entries) == BROKEN


async def _changed_copy(story: Story, to: Line, change: dict[bytes, bytes]) -> dict[str, tuple[int, int]]:
    """Write what the views read of ``story`` to the topics of ``to``, each value of ``change`` changed; the places of those."""
    producer, places = kafka.producer(to.bootstrap, "test-copy"), {}
    await producer.start()
    try:
        for name in ("events", "embeddings", "parked"):
            for message, _ in story.records[name]:
                value = change.get(message.value, message.value)
                where = {"partition": message.partition, "key": message.key, "headers": list(message.headers)}
                sent = await producer.send_and_wait(getattr(to.topics, name), value, **where)
                if value != message.value:
                    places[name] = (sent.partition, sent.offset)
    finally:
        await producer.stop()
    return places


def _flipped(value: Sealed) -> Sealed:
    middle = len(value.data) // 2
    return Sealed(value.data[:middle] + bytes([value.data[middle] ^ 1]) + value.data[middle + 1 :], value.cipher, value.key_id)


def _tampered(story: Story) -> tuple[str, dict[bytes, bytes]]:
    """One value on each topic with one bit changed: a memory's words, another memory's vector, a broken record."""
    events = [r for _, r in story.records["events"] if isinstance(r, MemoryAdded) and r.source is not None]
    vectors = [r for _, r in story.records["embeddings"] if isinstance(r, MemoryEmbedding) and r.memory_id != events[0].memory_id]
    entries = [r for _, r in story.records["parked"] if isinstance(r, WorkParked) and r.value is not None]
    pairs: list[tuple[Record, Record]] = [
        (events[0], replace(events[0], content=_flipped(events[0].content))),
        (vectors[0], replace(vectors[0], vector=_flipped(vectors[0].vector))),
        (entries[0], replace(entries[0], value=_flipped(entries[0].value or Sealed(b"")))),
    ]
    return events[0].memory_id, {codec.encode(before): codec.encode(after) for before, after in pairs}


@asynccontextmanager
async def _copy(story: Story, made: Line) -> AsyncIterator[Line]:
    """Topics and database of their own, beside the keys of ``story``."""
    try:
        await made.prepare()
        made.keys_dsn = story.line.keys_dsn
        made.settings["EMBERLOG_MASTER_KEY_FILE"] = str(story.line.folder / "data" / "keys" / "master.key")
        yield made
    finally:
        await made.close()


async def test_one_changed_bit_of_a_sealed_value_is_noticed_and_stops_nothing(story: Story, make_line: MakeLine) -> None:
    untouched = story.line
    memory, change = _tampered(story)
    async with _copy(story, make_line(untouched.services)) as copy:
        places = await _changed_copy(story, copy, change)
        await project_all(copy, await copy.ends(*(getattr(copy.topics, name) for name in places)))
        for view, topic in (("thermal", "events"), ("graph", "embeddings"), ("parked", "parked")):
            query = f'SELECT partition, "offset", reason FROM emberlog_{view}_view_problem WHERE topic = %s'
            [(*place, reason)] = await copy.rows(query, (getattr(copy.topics, topic),))
            assert tuple(place) == places[topic]
            assert reason.startswith("SealedValue")
        live = "SELECT id::text, original_content, tags FROM thermal_memory_archive ORDER BY 1"
        expected = [row for row in await untouched.rows(live) if row[0] != memory]
        assert expected
        assert await copy.rows(live) == expected
        # this process folded it all, and counted it
        counted = generate_latest()
        assert b'emberlog_projection_records_total{view="thermal"}' in counted
        assert story.found_in([counted]) == set()
        # what is parked stays in the list of what waits for a person, without what cannot be opened
        listed = "SELECT parked_id::text, value IS NULL FROM parked_work"
        lot = dict(await copy.rows(listed))
        assert (set(lot), sum(lot.values())) == (set(dict(await untouched.rows(listed))), 1)


async def test_once_the_keys_are_destroyed_nothing_that_reads_the_log_finds_a_marker_or_fails(story: Story) -> None:
    await _erase(story)
    line, before = story.line, story.line.dsn
    ends = await line.ends(*(getattr(line.topics, name) for name in SEALED_TOPICS if name != "commands"))
    await _verified(line)
    # two types have JSON of their own
    shown = [*((name, ()) for name in SEALED_TOPICS), *((name, ("--json",)) for name in SEALED_TOPICS[-2:])]
    told = await asyncio.gather(*(_tailed(line, name, how) for name, how in shown))
    assert story.found_in(told) == set()
    try:
        await line.new_database()
        await project_all(line, ends)
        tables = await _rows(line.dsn)
    finally:
        line.dsn = before
    assert {table for table, values in tables.items() if story.found_in(values)} == set()
    assert [table for table, values in tables.items() if table in {"view_problem", "owner_alarm"} and values] == []
    assert {table for table in IN_CLEAR if not tables[table]} == NOTHING_LEFT, "other rows are there, without their words"


async def _verified(line: Line) -> None:
    """Rebuild each view beside the live one, which still has the words: it runs through, and skips nothing."""
    async with open_keys(line.as_settings, line.dsn) as ring:
        config = RunnerConfig(line.bootstrap, line.dsn, keys=ring.keys, owners=ring.directory)
        views = build_views(ViewSettings(topics=line.topics, audit_key=audit_key(line.folder / "data")))
        reports = [await verify(view, config) for view in views.values()]
    assert {report.view: report.skipped for report in reports} == dict.fromkeys(views, 0)
    assert {r.view for r in reports if not r.equal} == {"thermal", "graph", "parked", "brain", "capture", "mem0"}


async def _tailed(line: Line, topic: str, how: Collection[str]) -> bytes:
    shown = await line.cli("tail", topic, "--from-beginning", *how)
    assert shown.code == 0, shown.err
    assert shown.out
    return (shown.out + shown.err).encode()
