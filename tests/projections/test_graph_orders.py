"""The graph's rows follow from its topics, in whatever order these meet, and whatever can still be opened of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections.view import ViewSettings
from projections.views.graph import GraphView
from schemas import ids
from schemas.sealed import Sealed
from tests.projections.graph_logs import GRAPH_TOPICS, GraphLog, replayed, rows_of
from tests.projections.harness import Fold, of_view, owner
from tests.projections.logs import Rec

OWNERS = [owner() for _ in range(2)]
VIEW = GraphView(ViewSettings(GRAPH_TOPICS, salience_threshold=0.5))
NAMES = ("Ana", " ana ", "Lima", "tea", "Tea.")
STEPS = (
    "say", "say", "say", "learn", "learn", "learn", "learn", "mention", "mention", "reword", "connect", "connect", "unlink",
    "embed", "embed", "embed head", "embed message", "embed message", "cool", "summarise", "summarise", "forget", "forget all",
    "forget with source", "erase", "unembed", "embed late", "again",
)  # fmt: skip
steps = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 4), st.integers(0, 7)), min_size=4, max_size=45)


def write(log: GraphLog, plan: Sequence[tuple[str, int, int]]) -> None:
    """Turn a plan into a log. Most is about the first owner, so that steps meet."""
    dead: list[tuple[str, str]] = []
    for step, who, which in plan:
        ana = OWNERS[who == 4]
        live = log.live(ana)
        memory = live[which % len(live)] if live else None
        messages = [ids.message_reference(ana, f"m-{n}") for n in {which, which // 2}]
        triple = (NAMES[which % 5], ("likes", "knows")[which % 2], NAMES[who])
        match step:
            case "say":
                log.say(ana, f"m-{which}")
            case "embed message":
                log.embed_message(ana, messages[0], Sealed(bytes([0, 0, which, 0x3C])))
            case "again" if log.records:
                log.again([r for r in log.records if r.topic == GRAPH_TOPICS.conversation][-2:])
            case "embed late" if dead:
                whose, gone = dead[which % len(dead)]
                log.embed(whose, gone, [1.0, 0.0], sequence=which)
            case "summarise":
                log.summarise(ana, date(2024, 3, 1 + which % 2), "a day", triple, memories=live[:2], messages=messages)
            case "erase":
                dead += [(ana, gone) for gone in live]
                log.erase(ana)
            case _ if memory is not None and step != "learn":
                _about(log, step, ana, memory, which, messages, triple)
                dead += [(ana, gone) for gone in live if gone not in log.live(ana)]
            case _:
                log.learn(ana, f"fact {which}", triple, messages=messages, salience=who / 4, entities=[NAMES[which % 5]])


def _about(
    log: GraphLog, step: str, ana: str, memory: str, which: int, messages: list[str], triple: tuple[str, str, str]
) -> None:
    summaries = tuple(summary for summary, whose in log.summaries.items() if whose == ana)
    match step:
        case "mention":
            log.mention(ana, memory, messages)
        case "reword":
            log.reword(ana, memory, f"other words {which}", triple, messages=messages[: which % 2])
        case "connect" | "unlink":
            log.connect(ana, memory, log.live(ana)[0], None if step == "unlink" else which / 8)
        case "embed":
            log.embed(ana, memory, [which / 10, 1.0])
        case "embed head":
            log.embed_head(ana, memory, "entity", log.sequence(ana) - which % 3)
        case "cool":
            log.cool(ana, memory, ("warm", "cold")[which % 2], *(("entity", "semantic")[: which % 3]))
        case "unembed":
            log.unembed(ana, memory)
        case "forget" | "forget with source":
            log.forget(ana, memory, include_source=step != "forget", summaries=summaries[: which % 2])
        case "forget all":
            log.forget(ana, *log.live(ana), summaries=summaries)


def shuffled(records: Sequence[Rec], seed: int) -> list[Rec]:
    """The records with the order of each partition kept, and that of partitions among each other by chance."""
    chance, lanes = random.Random(seed), dict[tuple[str, int], list[Rec]]()
    for record in records:
        lanes.setdefault((record.topic, record.partition), []).append(record)
    weights = {lane: chance.random() ** 3 for lane in lanes}
    left, mixed = {lane: iter(of) for lane, of in lanes.items()}, []
    while left:
        lane = chance.choices(list(left), [weights[lane] for lane in left])[0]
        found = next(left[lane], None)
        if found is None:
            del left[lane]
        else:
            mixed.append(found)
    return mixed


@given(plan=steps, seeds=st.tuples(st.integers(0, 2**32), st.integers(0, 2**32)))
@settings(max_examples=150, deadline=None)
def test_in_every_order_of_the_topics_and_on_replay_after_keys_were_destroyed_the_rows_are_the_same(
    plan: list[tuple[str, int, int]], seeds: tuple[int, int]
) -> None:
    log = GraphLog()
    write(log, plan)
    as_written = rows_of(VIEW, log.records)
    assert rows_of(VIEW, shuffled(log.records, seeds[0])) == as_written
    assert rows_of(VIEW, replayed(log.records)) == as_written
    assert rows_of(VIEW, shuffled(replayed(log.records), seeds[1])) == as_written


@given(plan=steps, seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 90), max_size=12))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_database_ends_in_the_same_rows_whatever_the_order_and_the_batches(
    database: str, plan: list[tuple[str, int, int]], seed: int, cuts: list[int]
) -> None:
    log = GraphLog()
    write(log, plan)
    records = of_view(VIEW, log.records)
    mixed = shuffled(replayed(records), seed)
    async with Fold.of(database, VIEW) as whole, Fold.of(database, VIEW) as batches:
        await whole.take(records, [len(records) // 2])
        await batches.take(mixed, [cut for cut in cuts if cut < len(mixed)])
        first, second = await whole.digest(), await batches.digest()
        assert first.differing(second) == []
