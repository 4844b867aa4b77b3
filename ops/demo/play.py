"""The demo's play: publish, wait, look, forget, ask, rebuild. Everything it will claim is checked here, on what was read back."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg
from aiokafka import TopicPartition

from ops.cli.errors import CliError
from ops.cli.forgetting import forget
from ops.cli.outcomes import Outcomes, wait_for_turns
from ops.cli.owners import known, turn_ids
from ops.cli.rebuilding import rebuild_view
from ops.cli.recalling import Answer, ask
from ops.cli.target import Target
from ops.cli.topics import read_until, topic_reader
from ops.demo.archive import MemoryRow, memories, number, until
from ops.demo.script import Script
from ops.demo.steps import Steps
from ops.settings import Settings
from ops.wiring import make_embedder
from projections.rebuild import Report
from schemas import codec
from schemas.owner import Owner
from schemas.temperature import mentioned, temperature_at
from schemas.topics import partition_of
from schemas.types import InboxTurn, MemoryAdded, MemoryReheated, ThermalPolicy
from streams.producers import InboxProducer

TURNS_S = 120.0
VIEWS_S = 30.0
WITHOUT_VECTOR = (
    "SELECT count(*) FROM thermal_memory_archive a WHERE NOT EXISTS (SELECT 1 FROM memory_embedding e WHERE e.trace_id = a.id)"
)


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that the demo says, and whether what was read back bears it out."""

    says: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Reheat:
    """A memory that was mentioned again: degrees when new, when mentioned (cooled), and after."""

    memory: MemoryRow
    new: float
    cooled: float
    after: float
    said_at: tuple[datetime, ...]


@dataclass(slots=True)
class Played:
    """What happened. ``forgotten`` is the memory that was forgotten; ``before`` and ``after`` what recall said of it."""

    turns: int
    outcomes: Outcomes
    memories: list[MemoryRow]
    reheat: Reheat
    forgotten: MemoryRow
    before: list[Answer]
    after: list[Answer]
    answers: list[tuple[str, Answer]]
    rebuild: Report
    claims: list[Claim] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """True where every claim does."""
        return all(claim.holds for claim in self.claims)


async def publish(target: Target, turns: tuple[InboxTurn, ...]) -> list[str]:
    """Publish turns; the ids that admission gives them."""
    ids = await turn_ids(target, turns)
    async with InboxProducer(target.bootstrap, target.topics) as producer:
        for turn in turns:
            await producer.publish(turn)
    return ids


async def settle(target: Target, turn_ids: list[str], steps: Steps, timeout_s: float = TURNS_S) -> Outcomes:
    """Wait until every turn has its outcome and every memory its vector. Raises CliError where one was parked or got lost."""
    async with await psycopg.AsyncConnection.connect(target.dsn, autocommit=True) as connection:

        def shown(outcomes: Outcomes) -> None:
            steps.count(len(outcomes.turns), len(turn_ids), outcomes.totals["new"])

        outcomes = await wait_for_turns(target, turn_ids, timeout_s, shown)
        if outcomes.missing or outcomes.parked:
            reasons = ", ".join(sorted(set(outcomes.parked.values()))) or "no outcome in time"
            raise CliError(f"{len(outcomes.missing) + len(outcomes.parked)} turns did not come through: {reasons}")
        await until(connection, WITHOUT_VECTOR, lambda n: n == 0, VIEWS_S, "the memories' vectors")
    return outcomes


async def play(target: Target, script: Script, steps: Steps) -> Played:
    """Play ``script`` on a running, empty set."""
    steps.say("publishing the conversation")
    turn_ids = await publish(target, script.turns)
    steps.say("reading turns, making memories")
    outcomes = await settle(target, turn_ids, steps)
    async with await psycopg.AsyncConnection.connect(target.dsn, autocommit=True) as connection:
        rows = await memories(connection)
        steps.say("looking at what was mentioned twice")
        made = _made(script, turn_ids, rows)
        reheat = await _reheat(target, script, made)
        steps.say("forgetting one memory")
        victim, before, after = await _forget(target, script, made, len(rows))
        left = await number(connection, "SELECT count(*) FROM memory_embedding WHERE trace_id::text = %s", victim.memory_id)
        left += await number(connection, "SELECT count(*) FROM thermal_memory_archive WHERE id::text = %s", victim.memory_id)
        steps.say("asking")
        answers = [(q.question, (await ask(target, Owner.parse(q.owner), q.question, 1))[0]) for q in script.ask]
        steps.say("rebuilding the archive from the log")
        report = await rebuild_view(target, "thermal", False, lambda done, total: None)
        rebuilt = await number(connection, "SELECT count(*) FROM thermal_memory_archive")
    played = Played(len(turn_ids), outcomes, rows, reheat, victim, before, after, answers, report)
    played.claims = claims_of(played, script, left, rebuilt, target.settings.policy)
    return played


def _made(script: Script, turn_ids: list[str], rows: list[MemoryRow]) -> dict[str | None, list[MemoryRow]]:
    """Memories by the producer's id of the turn that made them."""
    return {turn.id: [row for row in rows if row.turn_id == id] for turn, id in zip(script.turns, turn_ids, strict=True)}


async def _reheat(target: Target, script: Script, made: dict[str | None, list[MemoryRow]]) -> Reheat:
    said = script.turns_saying(script.repeated)
    owner, found = await known(target, Owner.parse(said[0].owner)), made[said[0].id]
    if len(found) != 1:
        raise CliError(f"the repeated statement made {len(found)} memories instead of one")
    added, reheated = await _history(target, owner, found[0].memory_id)
    times = tuple(turn.occurred_at for turn in said if turn.occurred_at)
    return Reheat(found[0], added.temperature, reheated.temperature_before, reheated.temperature, times)


async def _history(target: Target, owner: str, memory_id: str) -> tuple[MemoryAdded, MemoryReheated]:
    """The two events of the repeated memory, from the log itself."""
    tp = TopicPartition(target.topics.events, partition_of(owner, target.topics.partitions))
    events: list[Any] = []
    async with topic_reader(target.bootstrap) as consumer:
        end = await consumer.end_offsets([tp])
        async for record in read_until(consumer, {tp: 0}, end):
            event = codec.decode(record.value or b"")
            if getattr(event, "memory_id", None) == memory_id:
                events.append(event)
    match events:
        case [MemoryAdded() as added, MemoryReheated() as reheated]:
            return added, reheated
    raise CliError(f"the log holds {len(events)} events of the repeated memory instead of two")


async def _forget(
    target: Target, script: Script, made: dict[str | None, list[MemoryRow]], memories: int
) -> tuple[MemoryRow, list[Answer], list[Answer]]:
    [said] = script.turns_saying(script.to_forget)
    owner, found = Owner.parse(said.owner), made[said.id]
    if len(found) != 1:
        raise CliError(f"the statement to forget made {len(found)} memories instead of one")
    before = await ask(target, owner, script.forgotten_question, 3)
    await forget(target, owner, [found[0].memory_id], VIEWS_S)
    after = await ask(target, owner, script.forgotten_question, memories)
    return found[0], before, after


def claims_of(played: Played, script: Script, left: int, rebuilt: int, policy: ThermalPolicy) -> list[Claim]:
    """What the demo says, each with whether it holds. ``left``: rows of the forgotten memory; ``rebuilt``: of the new archive."""
    totals, reheat = played.outcomes.totals, played.reheat
    first, second = reheat.said_at
    cooled = temperature_at(policy.initial, first, second, policy)
    victim = played.forgotten.memory_id
    claims = [
        Claim(f"all {played.turns} turns were read", len(played.outcomes.turns) == len(script.turns)),
        Claim("every new fact is a memory in the archive", totals["new"] == len(played.memories) > 0),
        Claim("each extracted fact is new or known", totals["extracted"] == totals["new"] + totals["updated"]),
        Claim("no turn had an error", totals["errors"] == 0),
        Claim("one memory was mentioned twice", totals["updated"] == 1 and reheat.memory.access_count == 2),
        Claim("it cooled as the half-life says", abs(reheat.cooled - cooled) < 1e-3),
        Claim("the mention warmed it", abs(reheat.after - mentioned(cooled, policy)) < 1e-3),
        Claim("recall knew the memory to forget", any(a.memory.memory_id == victim for a in played.before)),
        Claim("recall does not know it any more", all(a.memory.memory_id != victim for a in played.after)),
        Claim("archive and graph do not hold it", left == 0),
        Claim("the rebuilt archive has the same digest", played.rebuild.equal and played.rebuild.promoted),
        Claim("the rebuilt archive serves all memories but the forgotten", rebuilt == len(played.memories) - 1),
    ]
    for (question, answer), asked in zip(played.answers, script.ask, strict=True):
        says = [str(m["content"]) for source in answer.sources for m in source.messages]
        found = asked.expect in answer.memory.content and any(asked.expect in text for text in says)
        claims.append(Claim(f"“{question}” is answered, with the message that says so", found))
    return claims


def warm_up(settings: Settings) -> None:
    """Load the embedder's table, which the process then shares, while there is time."""
    make_embedder(settings)


def utc_now() -> datetime:
    """Now, aware."""
    return datetime.now(UTC)
