"""Any split of the log into batches ends in the same rows, with duplicates and restarts in between."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections.view import View, ViewSettings
from projections.views import REGISTRY, build_views
from schemas import ids
from schemas.sealed import Sealed
from schemas.topics import Topics
from schemas.types import ParkedResolved, ParkedRetryRequested, WorkParked
from tests.projections.harness import AUDIT_KEY, Fold, of_view, owner
from tests.projections.logs import T0, LogMaker, Rec
from tests.projections.other_events import OTHERS
from tests.projections.turns import details, learn, say

OWNERS = [owner() for _ in range(3)]
TOPICS = Topics(partitions=2, prefix="splits.")
STEPS = (
    "add", "add", "add", "request", "reheat", "reheat", "revise", "revise", "revise by a turn", "pin", "pin", "unpin", "link",
    "unlink", "downshift", "forget", "erase", "note", "other", "again", "embed", "embed late", "unembed", "park", "retry",
    "resolve", "embed message", "rubbish", "say", "say", "learn", "learn", "forget with source",
    "let in", "let out", "talk", "talk", "teach",
)  # fmt: skip
VIEWS = build_views(ViewSettings(TOPICS, AUDIT_KEY))

steps = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 2), st.integers(0, 9)), min_size=1, max_size=40)
cuts = st.lists(st.integers(0, 120), max_size=25)


def write(log: LogMaker, plan: list[tuple[str, int, int]]) -> None:
    """Turn a plan into a log; a step that has nothing to work on adds instead."""
    dead: list[tuple[str, str]] = []
    slices: list[list[Rec]] = []
    for step, who, which in plan:
        ana, begin = OWNERS[who], len(log.records)
        live = log.live(ana)
        memory = live[which % len(live)] if live else None
        match step:
            case "forget" if memory is not None:
                log.forget(ana, memory)
                dead.append((ana, memory))
            case "forget with source" if memory is not None:
                log.forget(ana, memory, include_source=True)
                dead.append((ana, memory))
            case "say":
                log.say(ana, f"m-{which}")
            case "learn":
                log.add(ana, f"learnt from {which}", producer_id=f"m-{which}", salience=which / 10)
            case "talk" | "teach":
                # in both orders, and now and then a message that was there before
                names = [f"{'ua'[(which + n) % 2]}{len(log.records) // (1 + n * which % 3) + n}" for n in range(1 + which % 3)]
                said = say(log, ana, *names, session=f"s-{which % 2}", **details(which))
                if step == "teach":
                    learn(log, said, content=f"learnt {which} of {len(log.records)}")
            case "erase":
                dead += [(ana, gone) for gone in live]
                log.erase(ana)
            case "request":
                log.request(ana, f"asked for {which}", slug=f"slug {which}", tags="one,two", extra='{"n": [1, null]}')
            case "note":
                log.note(ana, failed=which % 2, with_source=which > 2)
            case "other":
                log.other(ana, list(OTHERS)[(which + len(log.records)) % len(OTHERS)])
            case "let in" | "let out":
                log.access(ana, OWNERS[which % 3], ended=step == "let out", access_id=f"access {which % 4}")
            case "again" if slices:
                log.again(slices[which % len(slices)])
            case "embed" if dead and which % 3 == 0:
                log.embed(*dead[which % len(dead)], [1.0, 0.0], sequence=which)
            case "park" | "retry" | "resolve":
                park(log, step, ana, which)
            case "rubbish":
                for topic in (TOPICS.events, TOPICS.conversation, TOPICS.embeddings, TOPICS.parked):
                    log.put(topic, which % 2, b"k", b"rubbish")
            case _ if memory is not None and step != "add":
                change(log, step, ana, memory, which)
            case _:
                log.add(ana, *[f"fact {which} of {len(log.records)} {i}" for i in range(1 + which % 4)])
        if any(record.topic == TOPICS.events for record in log.records[begin:]) and step not in ("rubbish", "again"):
            slices.append([record for record in log.records[begin:] if record.topic == TOPICS.events])


def change(log: LogMaker, step: str, ana: str, memory: str, which: int) -> None:
    """One step about a live memory; an unknown one does nothing."""
    match step:
        case "reheat":
            log.reheat(ana, memory, by_request=which % 3 == 0)
        case "revise":
            log.revise(ana, memory, f"revised {which}", category="c", tags="three")
        case "revise by a turn":
            log.revise(ana, memory, f"revised {which}", by_request=False)
        case "pin" | "unpin":
            log.pin(ana, memory, pinned=step == "pin")
        case "link" | "unlink":
            log.link(ana, memory, log.live(ana)[0], linked=step == "link")
        case "downshift":
            log.downshift(ana, memory)
        case "embed":
            log.embed(ana, memory, [which / 10, 1.0])
        case "embed message":
            # sealed or open, before or after what it taught is gone
            vector = Sealed(b"\0\0\0\x3c") if which % 2 else Sealed(b"closed", "a-cipher", "a-key")
            log.embed_message(ana, ids.message_reference(ana, f"m-{which}"), vector)
        case "embed late":
            log.embed(ana, memory, [1.0, which / 10], sequence=which)
        case "unembed":
            log.unembed(ana, memory)


def park(log: LogMaker, step: str, ana: str, which: int) -> None:
    """One record about a piece of parked work of ``ana``."""
    parked = ids.parked_id("extract", ana, 0, which)
    match step:
        case "park":
            content = (Sealed(b"k"), Sealed(b"v"), {"h": Sealed(b"\xff")})
            work = WorkParked(parked, ana, "extract", "t", 0, which, "broken", None, 3, T0, *content)
            log.plain(log.topics.parked, ana, ana.encode(), work)
        case "retry":
            log.plain(log.topics.parked, ana, ana.encode(), ParkedRetryRequested(parked, ana, T0))
        case _:
            log.plain(log.topics.parked, ana, ana.encode(), ParkedResolved(parked, ana, "done", T0))


@pytest.mark.parametrize("name", sorted(REGISTRY))
@given(plan=steps, cuts=cuts)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_split_of_the_log_into_batches_gives_the_same_digest(
    database: str, name: str, plan: list[tuple[str, int, int]], cuts: list[int]
) -> None:
    view: View = VIEWS[name]
    log = LogMaker(TOPICS)
    write(log, plan)
    records = of_view(view, log.records)
    async with Fold.of(database, view) as one_by_one, Fold.of(database, view, owner_cache=1) as batches:
        await one_by_one.take(records, range(1, len(records)))
        await batches.take(records, [c for c in cuts if c < len(records)])
        first, second = await one_by_one.digest(), await batches.digest()
        assert first.differing(second) == []
        assert first == second
        assert one_by_one.applier.positions == batches.applier.positions
