"""The views' database and the working set are lost, no model or embedder can be reached: topics and keys give it all back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from ops.local.addresses import ServiceAddresses
from ops.local.postgres import ensure_database
from ops.standin.locomo import load_locomo
from projections.views import REGISTRY
from tests.line.conftest import MakeLine
from tests.line.support.line import Line
from tests.line.support.locomo import conversation, locomo_file
from tests.line.support.seeds import chosen_seed, say
from tests.rebuilding.history import DIMENSIONS, MODEL, History
from tests.rebuilding.memory import peak_of
from tests.rebuilding.stores import Contents, contents_of, level, lose_working_set, roomy_working_set
from tests.rebuilding.watching import Watch, refusing_port, watch


@pytest.fixture
def nowhere() -> Iterator[dict[str, str]]:
    """Settings with a model and an embedder that refuse every connection."""
    with refusing_port() as port:
        address = f"http://127.0.0.1:{port}/v1"
        yield {
            "VLLM_BASE_URL": address,
            "EMBEDDING_BASE_URL": address,
            "EMBEDDING_MODEL": MODEL,
            "EMBEDDING_DIM": str(DIMENSIONS),
        }


@pytest.fixture
async def alone(services: ServiceAddresses, make_line: MakeLine, nowhere: dict[str, str]) -> AsyncIterator[Line]:
    """A line of the test's own, without processes, without a model, and with a working set where there is a Redis."""
    line = make_line(services, settings={**nowhere, "REDIS_URL": services.redis_url or ""})
    await line.prepare()
    yield line
    await line.close()


async def stop_all(line: Line) -> None:
    """Stop the line's processes, as SIGTERM does."""
    await asyncio.gather(*(asyncio.to_thread(process.close) for process in line.processes))
    line.processes.clear()


def lose_database(line: Line) -> None:
    """DROP DATABASE, and an empty one of the same name, as its owner makes it."""
    name = str(conninfo_to_dict(line.dsn)["dbname"])
    with psycopg.connect(line.services.postgres_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
    ensure_database(line.services.postgres_dsn, name)


async def rebuilt_as_the_manual_says(line: Line, deadline_s: float, workers: int = 1) -> float:
    """``emberlog setup``, then ``emberlog rebuild --all --promote`` before the projector starts; seconds of the rebuild."""
    done = await line.cli("setup")
    assert done.code == 0, done.err
    began = time.monotonic()
    command = ("rebuild", "--all", "--promote", "--workers", str(workers), "--json")
    async with peak_of("rebuild") as peak:
        reports = (await line.cli(*command, deadline_s=deadline_s)).json()
    took = time.monotonic() - began
    say(f"rebuilt by {workers} in {took:.0f} s and {peak.mib:.0f} MiB")
    assert {report["view"] for report in reports} == set(REGISTRY)
    assert [report["view"] for report in reports if not report["promoted"] or report["skipped"]] == []
    # an empty view may be compared with one that has nothing to read
    assert [report["view"] for report in reports if report["compared"] and any(report["positions"].values())] == []
    return took


async def prove_that_all_comes_back(line: Line, before: Contents, watched: Watch, deadline_s: float, workers: int = 1) -> float:
    """Lose the database and the working set, rebuild, and compare everything; seconds of the rebuild."""
    line.settings |= watched.environment
    await asyncio.to_thread(lose_database, line)
    await lose_working_set(line)
    took = await rebuilt_as_the_manual_says(line, deadline_s, workers)
    await line.start("project", plain=True)
    await level(line, deadline_s)
    assert (await contents_of(line)).differing(before) == []
    say("nothing differs")
    reports = (await line.cli("verify", "--all", "--json", deadline_s=deadline_s)).json()
    assert [(report["view"], report["equal"]) for report in reports] == [(name, True) for name in REGISTRY]
    assert watched.refused() == []
    assert line.bootstrap in watched.targets(), "the calls are watched"
    return took


# what a history of this kind cannot leave anything in: alarms and records that nobody could read
NEVER = {f"emberlog_{view}_{table}" for view in REGISTRY for table in ("owner_alarm", "view_problem")}
NEVER.add("emberlog_parked_owner_position")  # its records are in no sequence


def all_hold_something(contents: Contents) -> None:
    """No table was compared with nothing in it."""
    empty = {name for name, (rows, _) in contents.tables.items() if not rows}
    assert empty <= NEVER, empty
    assert contents.current


async def lose_and_rebuild(line: Line, notes: Path, events: int, deadline_s: float) -> None:
    seed = chosen_seed()
    history = History(line, events, seed)
    await line.start("project")
    began = time.monotonic()
    await history.write(events)
    written = time.monotonic() - began
    await level(line, deadline_s)
    say(f"seed {seed}: {history.events} events written in {written:.0f} s and followed after {time.monotonic() - began:.0f} s")
    await lose_what_was_followed(line, notes, history, deadline_s)


async def rebuild_follow_lose_and_rebuild(line: Line, notes: Path, events: int, tail: int, deadline_s: float) -> None:
    """So long a history is not followed by all views from its first event: stores are made from it, and follow what comes then.

    The keys of what it forgets are destroyed while it is written. So the first rebuild reads some words that the second cannot.
    """
    seed = chosen_seed()
    history = History(line, events + tail, seed)
    line.go(line.spawn("project", "keys", "working-set"))
    began = time.monotonic()
    await history.write(events)
    say(f"seed {seed}: {history.events} events written in {time.monotonic() - began:.0f} s")
    await stop_all(line)
    await rebuilt_as_the_manual_says(line, deadline_s, workers=2)
    await line.start_projectors(2)
    began = time.monotonic()
    await history.write(tail)
    await level(line, deadline_s)
    say(f"{tail} events more written and followed in {time.monotonic() - began:.0f} s")
    await lose_what_was_followed(line, notes, history, deadline_s, workers=2)


async def lose_what_was_followed(line: Line, notes: Path, history: History, deadline_s: float, workers: int = 1) -> None:
    await stop_all(line)
    before = await contents_of(line)
    all_hold_something(before)
    assert bool(before.working_set) == (line.as_settings.redis_url is not None)
    took = await prove_that_all_comes_back(line, before, watch(line, notes), deadline_s, workers)
    rows = sum(count for count, _ in before.tables.values())
    say(f"{rows} rows in {len(before.tables)} tables, rebuilt in {took:.0f} s, {history.events / took:.0f} events/s")


@pytest.mark.slow
async def test_all_stores_come_back_from_topics_and_keys_after_their_database_was_dropped(alone: Line, tmp_path: Path) -> None:
    await lose_and_rebuild(alone, tmp_path / "connections", 20_000, 600)


@pytest.mark.prove
async def test_a_million_events_come_back_from_topics_and_keys(alone: Line, tmp_path: Path) -> None:
    async with roomy_working_set(alone):
        await rebuild_follow_lose_and_rebuild(alone, tmp_path / "connections", 980_000, 20_000, 12 * 3_600)


@pytest.fixture
async def by_rules(services: ServiceAddresses, make_line: MakeLine) -> AsyncIterator[Line]:
    """A whole line of the test's own that needs no endpoint: facts by rules, vectors by the built-in embedder."""
    line = make_line(services, settings={"VLLM_BASE_URL": "", "REDIS_URL": services.redis_url or ""})
    await line.prepare()
    yield line
    await line.close()


@pytest.mark.slow
async def test_what_a_conversation_of_locomo_left_comes_back_after_the_database_was_dropped(
    by_rules: Line, tmp_path: Path
) -> None:
    file = locomo_file()
    if file is None:
        pytest.skip("LoCoMo is not at hand: EMBERLOG_LOCOMO, or ../shared/data beside this checkout")
    name = min(load_locomo(file).conversations, key=lambda each: sum(1 for _ in each.turns())).conversation
    turns = conversation(file, name).turns
    watched = watch(by_rules, tmp_path / "connections")
    by_rules.settings |= watched.environment
    await by_rules.start("worker", "project")
    began = time.monotonic()
    await by_rules.publish([turn.inbox() for turn in turns])
    await by_rules.settled([turn.turn_id for turn in turns], 240)
    await level(by_rules, 240)
    played = time.monotonic() - began
    await stop_all(by_rules)
    before = await contents_of(by_rules)
    assert before.tables["thermal_memory_archive"][0] > len(turns) / 20
    assert before.tables["memory_embedding"][0] >= before.tables["thermal_memory_archive"][0]
    took = await prove_that_all_comes_back(by_rules, before, watched, 240)
    memories, _ = before.tables["thermal_memory_archive"]
    say(f"{len(turns)} turns played in {played:.0f} s, rebuilt in {took:.0f} s: {memories} memories")
