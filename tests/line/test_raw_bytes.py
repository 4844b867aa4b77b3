"""The raw bytes of every file hold nothing of what was erased or forgotten: broker, database, logs, working files.

Three owners live through the same. One is erased; the second forgets two memories with their sources; the third stays, so that
the search is known to find. All lies in one folder: broker, database, key files, logs, home and temporary files of all processes.

Of the second owner is not sought, as no forgetting of memories reaches it: owner id, alias, tenant and session, the turn that
taught nothing, and the memory that was left alone. On topics these are sealed; where they stand in plain is tested, too.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import psycopg
import pytest
from msgspec.structs import replace

from ops.keyring import open_keys
from ops.local.services import LocalServices
from schemas.owner import Owner
from schemas.sealed import Sealed
from schemas.sealing import seal
from schemas.types import ConsolidateDay, InboxMessage, InboxToolCall, InboxTurn, Triple
from streams.producers import request_meta
from tests.line.support.line import Line, running
from tests.line.support.raw import Found, new_tag, search
from tests.line.support.seeds import say
from tests.line.support.speaker import Speaker
from tests.line.support.standin import StandinServer
from tests.line.support.waiting import until
from tests.services import temporary_data_dir

pytestmark = pytest.mark.slow

INBOX_LEAVES_S = 180.0
INBOX_LOOK_S = 1.0
SAID = {"content", "reply", "name", "caption", "message", "turn", "arguments", "result", "model", "again"}
ASKED = {"asked", "revised", "slug", "label", "category"}
SUMMED = {"summary", "subject", "predicate", "object"}
PARKED = {"broken", "malformed"}
STAYS = {"owner", "tenant", "alias", "session", "idle", "other"}
"""What a forget of memories leaves alone."""
NAMES = SAID | ASKED | SUMMED | PARKED | STAYS | {"fact"}
IN_THE_INBOX = (SAID - {"again"}) | {"owner", "tenant", "session", "idle", "again"}
IN_TABLES = ASKED - {"asked"} | {"fact", "revised", "other", "session", "message", "owner", "tenant", "alias"}


@dataclass(eq=False)
class Person:
    """An owner with words of its own. ``stays`` is the tag of those that a forget of memories does not reach."""

    name: str
    line: Line
    tag: str = field(default_factory=new_tag)
    stays: str = ""
    memories: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.speaker = Speaker(self.line, self.name)
        self.speaker.owner = Owner(self.word("tenant"), "user", self.word("owner"))

    @property
    def owner(self) -> str:
        return str(self.speaker.owner)

    def word(self, name: str) -> str:
        """The marked word of this name."""
        return (self.stays if self.stays and name in STAYS else self.tag) + name

    def turns(self) -> list[InboxTurn]:
        """One that teaches a fact, with everything that a turn can hold; one that teaches nothing; another fact; a mention."""
        w, fact = self.word, f"Her {self.word('fact')} is in the harbour"
        first = self.turn(w("content"), fact)
        [said] = first.messages
        first = replace(
            first,
            id=w("turn"),
            messages=(
                replace(said, id=w("message"), name=w("name"), image_caption=w("caption")),
                InboxMessage("assistant", w("reply")),
            ),
            tool_calls=(InboxToolCall("search", json.dumps(w("arguments")), json.dumps(w("result"))),),
            model_messages=json.dumps([w("model")]),
        )
        return [first, self.turn(w("idle")), self.turn("", f"Her {w('other')} is far away"), self.turn(w("again"), fact)]

    def turn(self, word: str, *facts: str) -> InboxTurn:
        # the speaker's own texts and ids name the owner, whom a forget of memories does not reach
        number, session = self.speaker.said + 1, self.word("session")
        turn = self.speaker.turn(*facts, word=word)
        return replace(turn, id=f"{self.name}-{number}", session_id=session, messages=(replace(turn.messages[0], id=None),))


async def _tell(story: Story) -> None:
    """Turns of all, and work of the first that is parked: an answer that cannot be read, and a record that is no turn."""
    first, line = story.people[0], story.people[0].line
    malformed = first.turn(first.word("malformed"), "This is lost")
    turns = {person: person.turns() for person in story.people}
    line.standin.control(overrides={malformed.messages[0].content: "malformed:strings"})
    try:
        await line.publish([*(turn for of_one in turns.values() for turn in of_one), malformed])
        await line.publish_raw([(first.owner.encode(), json.dumps({"owner": first.owner, first.word("broken"): 1}).encode())])
        # at once: where nothing follows, the words leave these files in a minute
        story.inbox = await asyncio.to_thread(story.words, f"{line.topics.inbox}-")
        await line.settled([person.speaker.id_of(turn) for person, of_one in turns.items() for turn in of_one], 120)
        await until(lambda: _count(line, "parked_work", 2), "what cannot be done is parked")
    finally:
        line.standin.control(overrides={})


async def _count(line: Line, table: str, size: int) -> bool:
    return bool((await line.rows(f"SELECT count(*) FROM {table}"))[0][0] == size)


async def _ask(person: Person) -> None:
    """A request with all its labels, its revision, a link, an alias, a summary."""
    line, w, whose = person.line, person.word, ("--owner", person.owner, "--json")
    rows = await line.rows("SELECT id::text, original_content FROM thermal_memory_archive")
    fact = next(id for id, said in rows if w("fact") in said)
    labels = ("--slug", w("slug"), "--tag", w("label"), "--category", w("category"))
    [asked] = (await line.cli("remember", f"Her {w('asked')} is red", *labels, *whose)).json()["memory_ids"]
    assert (await line.cli("revise", asked, f"Her {w('revised')} is green", *whose)).json()["outcome"] == "revised"
    (await line.cli("link", asked, fact, *whose)).json()
    alias = Owner(w("tenant"), "user", w("alias"))
    (await line.cli("owner", "alias", person.owner, str(alias), "--json")).json()
    person.memories = [fact, asked]
    await _summarise(person)


async def _summarise(person: Person) -> None:
    line, w = person.line, person.word
    command = ConsolidateDay(
        request_meta(person.speaker.reference),
        date(2026, 2, 3),
        Sealed.of(f"A day with {w('summary')}"),
        tuple(person.memories),
        (),
        (Triple(*(Sealed.of(w(name)) for name in ("subject", "predicate", "object"))),),
        (),
        *("a-model", "1", 1, 1),
    )
    async with open_keys(line.as_settings, line.dsn) as ring, line.commands() as producer:
        await producer.send(await seal(ring.keys, command))

    async def summarised() -> bool:
        async with line.log() as log:
            await log.to_the_end()
        return any(type(event).__name__ == "DaySummarised" for event in log.owners.get(person.speaker.reference, ()))

    await until(summarised, "the day has its summary")
    await line.projected()


@dataclass
class Story:
    """Folder, people (erased, forgetting, untouched), and what was found when."""

    folder: Path
    people: list[Person]
    inbox: dict[str, set[str]] = field(default_factory=dict)
    """By owner: words in the inbox's files before they left."""
    tables: dict[str, set[str]] = field(default_factory=dict)
    """By owner: words in the database's files before anything was forgotten, write-ahead log not counted."""
    logged: dict[str, set[str]] = field(default_factory=dict)
    """By owner: words in the write-ahead log a moment before, as far as it was not gone by then."""
    proof: str = ""
    after: dict[str, list[Found]] = field(default_factory=dict)
    """By tag: what is found in all files once everything is stopped."""

    def words(self, only: str, without: str = "no file has this in its name") -> dict[str, set[str]]:
        """By owner: the names of the words that stand in files whose paths have ``only``."""
        return {
            p.name: {
                f.word
                for tag in {p.tag, p.stays or p.tag}
                for f in search(self.folder, tag, NAMES, only=only)
                if without not in f.file
            }
            for p in self.people
        }


async def _forget(story: Story) -> None:
    """What an operator types."""
    erased, forgetting, _ = story.people
    line = erased.line
    done = (await line.cli("erase", erased.owner, "--yes", "--json")).json()
    forgot = (await line.cli("forget", *forgetting.memories, "--include-source", "--owner", forgetting.owner, "--json")).json()
    assert set(forgot["forgotten"]) == set(forgetting.memories)
    # a record that is no turn is nobody's, so an erasure does not know it: whoever looks after the parking lot drops it
    dropped = await line.cli("parked", "drop", "--all", "--yes", "--json")
    assert dropped.code == 0, dropped.err
    for id in (done["command_id"], forgot["forget_id"]):
        receipt = await line.cli("receipt", id, "--wait", "30")
        assert receipt.code == 0, receipt.err
    await line.projected()
    await until(lambda: _count(line, "parked_work", 0), "nothing is parked")


async def _inbox_left(story: Story) -> float:
    """Seconds from now until the inbox's files hold no word."""
    begun, inbox = time.monotonic(), f"{story.people[0].line.topics.inbox}-"

    async def left() -> bool:
        await asyncio.sleep(INBOX_LOOK_S)
        return not any((await asyncio.to_thread(story.words, inbox)).values())

    await until(left, "the words left the inbox's files", INBOX_LEAVES_S)
    return time.monotonic() - begun


async def _settle(story: Story, inbox_left: asyncio.Task[float], sought: Path) -> None:
    """Wait for the inbox, write the tables anew, and let Emberlog's own proof search while everything runs."""
    erased, forgetting, _ = story.people
    line = erased.line
    say(f"the inbox's files held the words for {await inbox_left:.0f} s")
    vacuumed = await line.cli("vacuum", "--yes", "--json", deadline_s=120)
    assert vacuumed.code == 0, vacuumed.err
    await asyncio.to_thread(sought.write_text, f"{erased.tag}\n{forgetting.tag}\n")
    story.proof = (await line.cli("forget", "--prove", "--content-file", str(sought), "--json", deadline_s=120)).out


def _places(folder: Path) -> dict[str, str]:
    """Where processes write what is nowhere else to go."""
    places = {name: folder / name.lower() for name in ("HOME", "TMPDIR")}
    for place in places.values():
        place.mkdir()
    return {name: str(place) for name, place in places.items()}


def _let_the_database_work(line: Line) -> None:
    """What its own processes do sooner or later: samples of values for the planner, and all changes to the files."""
    for dsn in (line.dsn, line.keys_dsn):
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("ANALYZE")
            connection.execute("CHECKPOINT")


@pytest.fixture(scope="module")
async def story(standin: StandinServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Story]:
    folder = temporary_data_dir()
    services = LocalServices(folder / "data")
    try:
        addresses = services.start()
        settings = {"EMBERLOG_MODEL_ATTEMPTS": "1", "EMBERLOG_LOG_LEVEL": "debug", **_places(folder)}
        line = Line(addresses, folder, standin, settings=settings)
        async with running(line):
            people = [Person("ana", line), Person("bea", line, stays=new_tag()), Person("cyd", line)]
            story = Story(folder, people)
            async with asyncio.TaskGroup() as tasks:
                await _tell(story)
                inbox_left = tasks.create_task(_inbox_left(story))
                for person in people:
                    await _ask(person)
                story.logged = story.words("pg_wal")
                _let_the_database_work(line)
                story.tables = story.words("cluster/base")
                await _forget(story)
                await _settle(story, inbox_left, tmp_path_factory.mktemp("sought") / "sought.txt")
            # databases stay where they are, to be searched
            line.databases.clear()
        services.stop()
        for tag in {tag for person in people for tag in (person.tag, person.stays) if tag}:
            story.after[tag] = search(folder, tag, NAMES)
        yield story
    finally:
        services.destroy()
        shutil.rmtree(folder, ignore_errors=True)


def test_before_it_is_forgotten_the_raw_files_of_broker_and_database_hold_every_word_that_is_there_in_plain(story: Story) -> None:
    first, *others = story.people
    assert story.inbox[first.name] >= IN_THE_INBOX | PARKED
    assert story.tables[first.name] >= IN_TABLES
    for person in story.people:
        assert story.logged[person.name] & IN_TABLES
    for person in others:
        assert story.inbox[person.name] >= IN_THE_INBOX
        assert story.tables[person.name] >= IN_TABLES


def _listed(found: list[Found]) -> str:
    return "\n".join(map(str, found))


def test_of_an_erased_owner_no_file_holds_a_word(story: Story) -> None:
    assert not (found := story.after[story.people[0].tag]), _listed(found)


def test_of_memories_forgotten_with_their_sources_no_file_holds_a_word(story: Story) -> None:
    assert not (found := story.after[story.people[1].tag]), _listed(found)


def test_what_was_not_forgotten_is_found_where_it_belongs_and_nowhere_else(story: Story) -> None:
    _, forgetting, untouched = story.people
    for tag, words in ((forgetting.stays, IN_TABLES & STAYS), (untouched.tag, IN_TABLES)):
        found = story.after[tag]
        assert {f.word for f in found} >= words
        assert not (elsewhere := [f for f in found if "postgres/" not in f.file]), _listed(elsewhere)


def test_the_proof_of_a_running_installation_finds_none_of_it_either(story: Story) -> None:
    proof = json.loads(story.proof)
    assert (proof["found"], proof["complete"]) == (0, True), json.dumps([s for s in proof["stores"] if s["found"]])
