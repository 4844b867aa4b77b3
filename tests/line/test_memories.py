"""What becomes of facts on the whole line: told twice, told by another, forgotten, told anew."""

from __future__ import annotations

import pytest

from tests.line.support.line import Line
from tests.line.support.reading import DECIDED_BEFORE, outcomes
from tests.line.support.rebuilt import live_digest, rebuilt_digest
from tests.line.support.speaker import Speaker

FACT = "Her sailing boat lies in the harbour of Castro"
QUESTION = "where does her sailing boat lie?"


@pytest.fixture
async def ana(line: Line) -> Speaker:
    return Speaker(line, "default/user/ana")


@pytest.fixture
async def luis(line: Line) -> Speaker:
    return Speaker(line, "default/shared/luis")


async def test_the_same_fact_told_twice_at_one_time_is_one_memory_at_80_degrees_accessed_twice(ana: Speaker) -> None:
    first = await ana.say(FACT)
    second = await ana.say(FACT)
    (memory,) = await ana.archive()
    assert (memory["original_content"], memory["temperature_score"], memory["access_count"]) == (FACT, 80.0, 2)
    assert memory["turn_id"] == ana.id_of(first)
    mentions = await ana.line.rows("SELECT turn_id FROM memory_mention WHERE memory_id = %s ORDER BY sequence", (memory["id"],))
    assert [turn for (turn,) in mentions] == [ana.id_of(first), ana.id_of(second)]


async def test_another_owners_identical_fact_is_a_memory_of_its_own(ana: Speaker, luis: Speaker) -> None:
    await ana.say(FACT)
    await luis.say(FACT)
    (hers,), (his,) = await ana.archive(), await luis.archive()
    assert hers["id"] != his["id"]
    assert (his["temperature_score"], his["access_count"]) == (75.0, 1)
    assert (hers["temperature_score"], hers["access_count"]) == (75.0, 1)
    assert await ana.recalled(QUESTION) == [FACT]
    assert await luis.told_by_the_command_line(QUESTION) == [FACT]


async def test_counts_of_each_turn_are_extracted_new_updated_and_errors(ana: Speaker) -> None:
    first = await ana.say("He plays the viola in a trio", "He was born in Temuco", "too short")
    assert await ana.counts(first) == (2, 2, 0, 0)  # facts under ten characters are skipped
    second = await ana.say("He plays the viola in a trio", "He is learning Quechua")
    assert await ana.counts(second) == (2, 1, 1, 0)
    nothing = await ana.say()
    assert await ana.counts(nothing) == (0, 0, 0, 0)


async def test_an_unusable_fact_among_good_ones_is_counted_as_an_error(ana: Speaker) -> None:
    turn = ana.turn("His uncle mends clocks")
    ana.line.standin.control(overrides={turn.messages[0].content: "malformed:one_bad_item"})
    try:
        await ana.say(again=turn)
    finally:
        ana.line.standin.control(overrides={})
    extracted, new, updated, errors = await ana.counts(turn)
    assert (extracted, new, updated) == (1, 1, 0)
    assert errors == 2


async def test_a_turn_published_twice_is_decided_once(ana: Speaker) -> None:
    turn = await ana.say(FACT, "She rows every morning")
    await ana.say(again=turn)
    last = await ana.say("She swims every evening")  # stands behind the second delivery in the owner's lane
    async with ana.line.log() as log:
        await log.to_the_end()
    events = log.owners[ana.reference]
    assert {t: len(causes) for t, causes in outcomes(events).items()} == {ana.id_of(turn): 1, ana.id_of(last): 1}
    assert [e.reason for e in events if hasattr(e, "reason")] == [DECIDED_BEFORE]
    assert [(m["temperature_score"], m["access_count"]) for m in await ana.archive()] == [(75.0, 1)] * 3
    assert await ana.counts(turn) == (2, 2, 0, 0)


@pytest.mark.slow
async def test_a_forgotten_memory_is_gone_everywhere_stays_gone_and_can_be_taught_anew(ana: Speaker) -> None:
    line = ana.line
    other = "Her brother bakes bread in Ancud"
    told = await ana.say(FACT, other)
    forgotten = next(m["id"] for m in await ana.archive() if m["original_content"] == FACT)
    assert FACT in await ana.recalled(QUESTION)

    answer = await line.cli("forget", forgotten, "--owner", str(ana.owner), "--json")
    assert answer.code == 0, answer.err
    await line.projected()
    await _gone(ana, forgotten)
    assert FACT not in await ana.told_by_the_command_line(QUESTION)

    # the same turn delivered again, and the fact from a turn that was admitted before the forget, bring nothing back
    await ana.say(again=told)
    await ana.say("She owns two pairs of skis")
    await line.projected()
    await _gone(ana, forgotten)

    live, fresh = await live_digest(line), await rebuilt_digest(line)
    assert live == fresh
    assert live["thermal_memory_archive"][0] > 0

    # a rebuild from zero for good: the line goes on with empty databases, the decider's state among them
    for process in line.processes:
        process.close()
    line.processes.clear()
    await line.new_database()
    await line.start("worker", "project")
    await line.projected()
    assert await live_digest(line) == live
    await _gone(ana, forgotten)
    assert [m["original_content"] for m in await ana.archive()] == [other, "She owns two pairs of skis"]

    # what is said after the forget teaches the fact anew, as a new memory
    await ana.say(FACT)
    again = next(m for m in await ana.archive() if m["original_content"] == FACT)
    assert again["id"] != forgotten
    assert (again["temperature_score"], again["access_count"]) == (75.0, 1)
    assert FACT in await ana.recalled(QUESTION)
    await ana.say(other)  # and the decider, folded from the log alone, still knows what it knew
    assert next(m["access_count"] for m in await ana.archive() if m["original_content"] == other) == 2


async def _gone(ana: Speaker, memory_id: str) -> None:
    assert memory_id not in [m["id"] for m in await ana.archive()]
    places = {"memory_mention": "memory_id", "memory_version": "memory_id", "memory_embedding": "trace_id", "memory_trace": "id"}
    for table, column in places.items():
        assert await ana.line.rows(f"SELECT 1 FROM {table} WHERE {column} = %s", (memory_id,)) == []
    assert FACT not in await ana.recalled(QUESTION)
