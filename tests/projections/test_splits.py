"""Any split of the log into batches ends in the same rows, by row or in bulk, with duplicates and restarts in between."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections.view import View, ViewSettings
from projections.views import REGISTRY, build_views
from schemas import ids
from schemas.topics import Topics
from schemas.types import ParkedResolved, ParkedRetryRequested, WorkParked
from tests.projections.harness import AUDIT_KEY, Fold, of_view, owner
from tests.projections.logs import T0, LogMaker, Rec

OWNERS = [owner() for _ in range(3)]
TOPICS = Topics(partitions=2, prefix="splits.")
STEPS = ("add", "add", "reheat", "forget", "note", "again", "embed", "unembed", "park", "retry", "resolve", "rubbish")
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
            case "reheat" if memory is not None:
                log.reheat(ana, memory)
            case "forget" if memory is not None:
                log.forget(ana, memory)
                dead.append((ana, memory))
            case "note":
                log.note(ana, failed=which % 2, with_source=which > 2)
            case "again" if slices:
                log.again(slices[which % len(slices)])
            case "embed" if memory is not None:
                log.embed(ana, memory, [which / 10, 1.0])
            case "embed" if dead:
                log.embed(*dead[which % len(dead)], [1.0, 0.0])
            case "unembed" if memory is not None:
                log.unembed(ana, memory)
            case "park" | "retry" | "resolve":
                park(log, step, ana, which)
            case "rubbish":
                for topic in (TOPICS.events, TOPICS.embeddings, TOPICS.parked):
                    log.put(topic, which % 2, b"k", b"rubbish")
            case _:
                log.add(ana, *[f"fact {which} of {len(log.records)} {i}" for i in range(1 + which % 4)])
        if step in ("add", "reheat", "forget"):
            slices.append(log.records[begin:])


def park(log: LogMaker, step: str, ana: str, which: int) -> None:
    """One record about a piece of parked work of ``ana``."""
    parked = ids.parked_id("extract", ana, 0, which)
    match step:
        case "park":
            work = WorkParked(parked, ana, "extract", "t", 0, which, "broken", None, 3, T0, b"k", b"v", {"h": b"\xff"})
            log.plain(log.topics.parked, ana, ana.encode(), work)
        case "retry":
            log.plain(log.topics.parked, ana, ana.encode(), ParkedRetryRequested(parked, ana, T0))
        case _:
            log.plain(log.topics.parked, ana, ana.encode(), ParkedResolved(parked, ana, "done", T0))


@pytest.mark.parametrize("name", sorted(REGISTRY))
@given(plan=steps, cuts=cuts, bulk=st.booleans())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_split_of_the_log_into_batches_gives_the_same_digest(
    database: str, name: str, plan: list[tuple[str, int, int]], cuts: list[int], bulk: bool
) -> None:
    view: View = VIEWS[name]
    log = LogMaker(TOPICS)
    write(log, plan)
    records = of_view(view, log.records)
    async with Fold.of(database, view) as one_by_one, Fold.of(database, view, bulk=bulk, owner_cache=1) as batches:
        await one_by_one.take(records, range(1, len(records)))
        await batches.take(records, [c for c in cuts if c < len(records)])
        first, second = await one_by_one.digest(), await batches.digest()
        assert first.differing(second) == []
        assert first == second
        assert one_by_one.applier.positions == batches.applier.positions
