"""What cannot be extracted is retried, parked with its reason, and healed in order; an outage parks nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from ops.local.addresses import ServiceAddresses
from schemas.types import InboxTurn, MemoryEvent
from tests.line.conftest import MakeLine
from tests.line.support import raising_extractor
from tests.line.support.line import Line, running
from tests.line.support.reading import mentions
from tests.line.support.speaker import Speaker
from tests.line.support.standin import StandinServer
from tests.line.support.waiting import until

BEHIND = "waits behind parked work of its owner"
ATTEMPTS = 2


@pytest.fixture(scope="module")
def endpoint() -> Any:
    """An endpoint of this module's own: it is stopped and made to fail."""
    server = StandinServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def raising(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that makes the extractor raise while it is there."""
    return tmp_path_factory.mktemp("fault") / "raising"


@pytest.fixture(scope="module")
async def line(services: ServiceAddresses, make_line: MakeLine, endpoint: StandinServer, raising: Path) -> AsyncIterator[Line]:
    quick = {
        "EMBERLOG_MODEL_TIMEOUT_S": "1.0",
        "EMBERLOG_MODEL_ATTEMPTS": str(ATTEMPTS),
        raising_extractor.FILE: str(raising),
    }
    made = make_line(services, standin=endpoint, settings=quick, worker_fault="tests.line.support.raising_extractor")
    async with running(made) as started:
        yield started


def name_of(turn: InboxTurn) -> str:
    """The text by which the stand-in's overrides find a turn."""
    return turn.messages[0].content


FIRST, BAD, ALSO_BAD = "The first thing to know is blue", "The second thing to know is nine", "And the third is the river Maipo"
LAST, OTHER = "The last thing to know is the moon", "Nothing holds this owner back"
CASES = {
    "malformed:truncated": "the answer is not valid JSON",
    "malformed:strings": 'the answer\'s "memory" holds no object with a text',
    "timeout": "did not answer within the time allowed",
    "error:500": "the language model answered HTTP 500",
    "exception": "the extract stage raised ZeroDivisionError",
}


@dataclass
class Story:
    """One fault: an owner whose second turn cannot be extracted, another owner beside, and what was seen."""

    hurt: Speaker
    well: Speaker
    turns: list[InboxTurn]
    other: InboxTurn
    known: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    lot: list[dict[str, Any]] = field(default_factory=list)
    lot_after_early_retry: list[dict[str, Any]] = field(default_factory=list)

    @property
    def head(self) -> dict[str, Any]:
        return self.lot[0]


@dataclass
class Stories:
    """All faults at once: together they cost the time of one."""

    of: dict[str, Story]
    listed: str = ""
    early: Any = None
    healed: Any = None
    events: dict[str, list[MemoryEvent]] = field(default_factory=dict)
    left: list[Any] = field(default_factory=list)


def _story(line: Line) -> Story:
    hurt, well = Speaker(line, "default/user/hurt"), Speaker(line, "default/shared/well")
    turns = [hurt.turn(FIRST), hurt.turn(BAD, ALSO_BAD, word=raising_extractor.WORD), hurt.turn(BAD), hurt.turn(LAST)]
    return Story(hurt, well, turns, well.turn(OTHER))


@pytest.fixture(scope="module")
async def stories(line: Line, endpoint: StandinServer, raising: Path) -> Stories:
    """The faults from the first turn to the last retry."""
    seen = Stories({fault: _story(line) for fault in CASES})
    raised = seen.of["exception"]
    endpoint.control(overrides={name_of(s.turns[1]): fault for fault, s in seen.of.items() if s is not raised})
    await asyncio.to_thread(raising.write_text, name_of(raised.turns[1]))
    await line.publish([turn for s in seen.of.values() for turn in (*s.turns, s.other)])
    await line.settled([s.hurt.id_of(s.turns[0]) for s in seen.of.values()] + [s.well.id_of(s.other) for s in seen.of.values()])
    await until(lambda: _parked(line, 3 * len(CASES)), "each bad turn and the two behind it are parked")

    by_owner = await _lots(line)
    for story in seen.of.values():
        story.lot = by_owner[story.hurt.reference]
        story.known, story.beside = await story.hurt.contents(), await story.well.contents()
    seen.listed = (await line.cli("parked", "list")).out

    # tried again while the fault is still there
    early = await line.cli("parked", "retry", *(s.head["parked_id"] for s in seen.of.values()), "--json")
    seen.early = (early.code, orjson.loads(early.out))
    by_owner = await _lots(line)
    for story in seen.of.values():
        story.lot_after_early_retry = by_owner[story.hurt.reference]

    await asyncio.to_thread(raising.unlink)
    endpoint.control(overrides={})
    seen.healed = (await line.cli("parked", "retry", "--all", "--json")).json()
    await line.settled([s.hurt.id_of(turn) for s in seen.of.values() for turn in s.turns])
    seen.left = await line.parked()
    async with line.log() as log:
        await log.to_the_end()
    seen.events = log.owners
    return seen


async def _parked(line: Line, size: int) -> bool:
    return bool((await line.rows("SELECT count(*) FROM parked_work"))[0][0] >= size)


async def _lots(line: Line) -> dict[str, list[dict[str, Any]]]:
    """By owner what is parked, in the order of the topic."""
    lots: dict[str, list[dict[str, Any]]] = {}
    for entry in sorted(await line.parked(), key=lambda e: int(e["offset"])):
        lots.setdefault(entry["owner"], []).append(entry)
    return lots


@pytest.mark.parametrize("fault", CASES)
async def test_a_turn_that_cannot_be_extracted_is_retried_and_then_parked_with_its_reason(stories: Stories, fault: str) -> None:
    head = stories.of[fault].head
    assert CASES[fault] in head["reason"]
    assert (head["stage"], head["attempts"], head["behind"]) == ("extract", ATTEMPTS, None)
    assert head["parked_id"][:8] in stories.listed


@pytest.mark.parametrize("fault", CASES)
async def test_later_turns_of_the_owner_follow_into_the_lot_while_other_owners_go_on(stories: Stories, fault: str) -> None:
    story = stories.of[fault]
    head, *behind = story.lot
    assert [(e["reason"], e["behind"], e["attempts"]) for e in behind] == [(BEHIND, head["parked_id"], 0)] * 2
    assert story.known == [FIRST]
    assert story.beside == [OTHER]


@pytest.mark.parametrize("fault", CASES)
async def test_a_retry_that_comes_too_early_parks_the_turn_again_in_its_place(stories: Stories, fault: str) -> None:
    story = stories.of[fault]
    code, answer = stories.early
    assert code != 0
    assert CASES[fault] in answer["failed"][story.head["parked_id"]]
    assert [e["parked_id"] for e in story.lot_after_early_retry] == [e["parked_id"] for e in story.lot]
    assert story.lot_after_early_retry[0]["attempts"] == ATTEMPTS + 1


@pytest.mark.parametrize("fault", CASES)
async def test_a_retry_after_the_fault_heals_all_in_the_original_order(stories: Stories, fault: str) -> None:
    story = stories.of[fault]
    assert {e["parked_id"] for e in story.lot} <= set(stories.healed["healed"])
    assert stories.left == []
    ids = [story.hurt.id_of(turn) for turn in story.turns]
    events = stories.events[story.hurt.reference]
    assert mentions(events) == {FIRST: [ids[0]], BAD: [ids[1], ids[2]], ALSO_BAD: [ids[1]], LAST: [ids[3]]}
    assert [s.turn_id for e in events if (s := getattr(e, "source", None))] == [ids[0], ids[1], ids[1], ids[2], ids[3]]
    assert (await story.hurt.archive())[1]["access_count"] == 2


async def test_neither_log_lines_nor_reasons_hold_what_was_said(line: Line, stories: Stories) -> None:
    told = "".join(p.log() for p in line.processes) + "".join(e["reason"] for s in stories.of.values() for e in s.lot)
    assert "an attempt failed" in told
    for private in (raising_extractor.SECRET, "said something", BAD, FIRST, *(s.hurt.owner.id for s in stories.of.values())):
        assert private not in told


async def test_an_endpoint_that_is_away_parks_nothing_and_all_is_extracted_when_it_is_back(
    line: Line, endpoint: StandinServer, stories: Stories
) -> None:
    speakers = [Speaker(line, f"default/user/patient{i}") for i in range(4)]
    turns = [(s, s.turn(f"Fact number {n} of somebody patient")) for n in range(3) for s in speakers]
    (worker,) = [p for p in line.processes if p.name.startswith("worker")]
    before = len(worker.log())
    endpoint.stop()
    try:
        await line.publish([turn for _, turn in turns])
        # long enough for more failures than there are attempts
        await until(
            lambda: worker.log()[before:].count("a stage waits") > ATTEMPTS * len(speakers), "the stage waits for the endpoint"
        )
        assert await line.parked() == []
    finally:
        endpoint.start()
    await line.settled([s.id_of(t) for s, t in turns])
    assert await line.parked() == []
    for speaker in speakers:
        assert await speaker.contents() == [f"Fact number {n} of somebody patient" for n in range(3)]
