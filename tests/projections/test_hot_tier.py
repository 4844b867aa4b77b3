"""The hot tier's index: over what is young in event time, renewed beside readers, back after a promotion; and its searches."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from projections import generation, hot_renewal, hot_tier, promotion, recall_sql
from projections.applier import Applier
from projections.errors import RebuildRunning
from projections.hot_renewal import HotRenewal, renew_live
from projections.hot_search import HotSearch, prepared
from projections.rebuild import build
from projections.runner import RunnerConfig
from projections.view import View, ViewSettings
from projections.views.graph import GraphView
from tests.projections.harness import EVERYBODY, Broker, eventually, of_view, owner
from tests.projections.logs import HEAD, MODEL, LogMaker

DAYS = 30
NOW = datetime.now(UTC)
VALID = "indexrelid::regclass::text FROM pg_index WHERE indrelid = 'graph_g{n}.memory_embedding'::regclass AND indisvalid"


def at_angle(degrees: float) -> list[float]:
    return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]


def name(days_ago: int, number: int = 1, dimensions: int = 2) -> str:
    return f"graph_g{number}.memory_embedding_hot_{dimensions}_{NOW - timedelta(days=days_ago):%Y%m%d}"


@dataclass
class Hot:
    """A graph alone, in a database of its own."""

    dsn: str
    view: GraphView
    log: LogMaker
    conn: AsyncConnection[Any]
    taken: int = 0

    async def remember(self, who: str, degrees: float, days_ago: float) -> str:
        """A memory of so many days ago, with its vector."""
        [memory] = self.log.add(who, f"{degrees} {days_ago}", at=NOW - timedelta(days=days_ago))
        self.log.embed(who, memory, at_angle(degrees))
        return memory

    async def take(self) -> None:
        live = await generation.live(self.conn, "graph")
        applier = Applier(self.view, live.schema, self.conn)
        await applier.claim()
        await applier.apply(of_view(self.view, self.log.records[self.taken :]))
        self.taken = len(self.log.records)

    async def indexes(self, number: int = 1, *, broken: bool = False) -> list[str]:
        query = f"SELECT {VALID.format(n=number)}"
        found = await (await self.conn.execute((query.replace("AND indisvalid", "") if broken else query).encode())).fetchall()
        return sorted(row[0] for row in found if "_hot_" in row[0])

    @contextlib.asynccontextmanager
    async def search(self, model: str = MODEL) -> AsyncIterator[HotSearch]:
        async with AsyncConnectionPool(self.dsn, min_size=1, max_size=1, open=False) as pool:
            yield HotSearch(pool, model=model, days=DAYS)


@pytest.fixture
async def hot(fresh_database: str, log: LogMaker) -> AsyncIterator[Hot]:
    view = GraphView(ViewSettings(log.topics, embedding_dim=2, hot_days=DAYS))
    await generation.install(fresh_database, [view])
    async with await generation.connect(fresh_database) as conn:
        await hot_tier.renew(conn, view, "graph_g1", NOW)  # midnight may have passed since
        yield Hot(fresh_database, view, log, conn)


async def plan(conn: AsyncConnection[Any], query: bytes, named: dict[str, Any]) -> str:
    """At any price: sequential scans and sorts are switched off, so that the planner takes an index wherever it can."""
    async with conn.transaction():
        await conn.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off")
        cursor = await conn.execute(b"EXPLAIN " + query, named, prepare=False)
        return "\n".join(row[0] for row in await cursor.fetchall())


def named(since: datetime, who: str = "") -> dict[str, Any]:
    return {
        "owner": who or owner(), "text": "one", "limit": 5, "k": 5, "candidates": 10, "vector": str(at_angle(0)), "dimensions": 2,
        "head": HEAD, "heads": [HEAD], "model": MODEL, "since": since, "until": None,
    }  # fmt: skip


async def test_a_search_over_everybody_uses_the_index_and_recall_inside_an_owner_never_does(
    hot: Hot,
) -> None:
    await hot.remember(owner(), 0, 1)
    await hot.take()
    young, old = named(NOW - timedelta(days=DAYS)), named(NOW - timedelta(days=DAYS + 3))
    async with hot.conn.transaction():
        everywhere = await prepared(hot.conn, young)
    assert "using memory_embedding_hot_2_" in await plan(hot.conn, everywhere, young)
    assert "_hot_" not in await plan(hot.conn, everywhere, old), "it does not hold all of these"
    near = recall_sql._VECTOR.strip()
    inside = f"WITH {near} SELECT * FROM by_vector".encode()
    assert "_hot_" not in await plan(hot.conn, inside, young)


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
async def test_the_index_holds_what_is_young_in_event_time_and_no_more(
    fresh_database: str, log: LogMaker, precision: Any
) -> None:
    view = GraphView(ViewSettings(log.topics, embedding_dim=2, hot_days=DAYS, embedding_precision=precision))
    await generation.install(fresh_database, [view])
    async with await generation.connect(fresh_database) as conn:
        hot, ana = Hot(fresh_database, view, log, conn), owner()
        for days_ago in (1, 29, 31, 32, 400):
            await hot.remember(ana, 0, days_ago)
        await hot.take()
        later = NOW + timedelta(days=20)
        assert await renew_live(view, hot.dsn, now=lambda: later) == [name(10).removeprefix("graph_g1.")]
        [(entries,)] = await (await conn.execute(f"SELECT reltuples FROM pg_class WHERE oid = '{name(10)}'::regclass")).fetchall()
        assert entries == 1, "reltuples is what the build has put in"


async def test_it_is_renewed_once_it_is_a_tenth_of_the_tier_behind_while_readers_and_writers_go_on(hot: Hot) -> None:
    ana, stop = owner(), asyncio.Event()
    await hot.remember(ana, 0, 1)
    await hot.take()

    async def read() -> int:
        async with hot.search() as search:
            rounds = 0
            while not stop.is_set():
                assert await search.everywhere(at_angle(0), k=5, now=NOW)
                rounds += 1
        return rounds

    async def write() -> None:
        while not stop.is_set():
            await hot.remember(ana, 90, 2)
            await hot.take()

    reading, writing = asyncio.create_task(read()), asyncio.create_task(write())
    try:
        assert await renew_live(hot.view, hot.dsn, now=lambda: NOW + timedelta(days=2)) == []
        for days in (3, 6):
            then = NOW + timedelta(days=days)
            assert len(await renew_live(hot.view, hot.dsn, now=lambda then=then: then)) == 1  # type: ignore[misc]
            assert await hot.indexes(broken=True) == [name(DAYS - days)]
    finally:
        stop.set()
        rounds, _ = await asyncio.gather(reading, writing)
    assert rounds > 0


async def test_by_hand_it_is_renewed_as_of_today_and_after_the_days_were_changed(hot: Hot) -> None:
    tomorrow = NOW + timedelta(days=1)
    assert await renew_live(hot.view, hot.dsn, now=lambda: tomorrow) == []
    assert await renew_live(hot.view, hot.dsn, now=lambda: tomorrow, exactly=True) != []
    assert await renew_live(hot.view, hot.dsn, now=lambda: tomorrow, exactly=True) == []
    longer = GraphView(ViewSettings(hot.log.topics, embedding_dim=3, hot_days=60))
    await renew_live(longer, hot.dsn, now=lambda: NOW)
    assert await hot.indexes(broken=True) == [name(60, dimensions=3)]


async def test_vectors_too_long_for_an_index_have_none(hot: Hot) -> None:
    long = GraphView(ViewSettings(hot.log.topics, embedding_dim=4_001, hot_days=DAYS))
    assert await renew_live(long, hot.dsn) == []
    assert await hot.indexes(broken=True) == []


async def test_what_a_killed_build_left_is_cleared_and_a_stopped_projector_waits_for_no_build(hot: Hot) -> None:
    later = NOW + timedelta(days=10)
    async with await generation.connect(hot.dsn) as reader, reader.transaction():
        # a build has to wait for whoever looks at the database as it was before
        await reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await reader.execute("SELECT count(*) FROM memory_embedding")
        stop = asyncio.Event()
        renewing = asyncio.create_task(HotRenewal(hot.view, hot.dsn, now=lambda: later).run(stop))

        async def begun() -> bool:
            return len(await hot.indexes(broken=True)) == 2

        await eventually(begun, "the build has begun")
        stop.set()
        await asyncio.wait_for(renewing, 10)
        assert await hot.indexes() == [name(DAYS)], "readers have the old one"
    assert await renew_live(hot.view, hot.dsn, now=lambda: later) != []
    assert await hot.indexes(broken=True) == [name(DAYS - 10)] == await hot.indexes()


async def test_it_gives_way_to_a_rebuild_and_is_tried_again(hot: Hot, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, later, refused = asyncio.Event(), NOW + timedelta(days=10), list[str]()

    async def watched(view: View, dsn: str, **how: Any) -> Sequence[str]:
        try:
            return await renew_live(view, dsn, **how)
        except RebuildRunning as error:
            refused.append(str(error))
            raise

    async def was_refused() -> bool:
        return bool(refused)

    monkeypatch.setattr(hot_renewal, "renew_live", watched)
    async with generation.rebuild_lock(hot.conn, "graph") as ours:
        assert ours
        renewing = asyncio.create_task(HotRenewal(hot.view, hot.dsn, look_s=0.05, now=lambda: later).run(stop))
        await eventually(was_refused, "it gave way")
        assert await hot.indexes() == [name(DAYS)]

    async def renewed() -> bool:
        return await hot.indexes() == [name(DAYS - 10)]

    await eventually(renewed, "the index is renewed")
    stop.set()
    await renewing


async def test_a_promoted_generation_has_an_index_as_of_the_promotion(hot: Hot, broker: Broker) -> None:
    config = RunnerConfig(broker.bootstrap, hot.dsn, owners=EVERYBODY)
    await hot.remember(owner(), 0, 1)
    await broker.send(hot.log.records)
    await build(hot.view, config)
    [made] = await hot.indexes(2)
    ago = name(DAYS + 10, 2).removeprefix("graph_g2.")
    await hot.conn.execute(f"ALTER INDEX {made} RENAME TO {ago}".encode())
    await promotion.promote(hot.view, config, force=True)
    assert ago not in (await hot.indexes(2))[0]
    assert len(await hot.indexes(2)) == 1
    assert (await promotion.rollback(hot.view, config)).live == 3
    assert len(await hot.indexes(3)) == 1


async def test_a_search_finds_the_nearest_of_the_last_days_inside_an_owner_and_over_everybody(hot: Hot) -> None:
    ana, ben = owner(), owner()
    mine = [await hot.remember(ana, angle, 1 + angle / 10) for angle in (0, 10, 20, 30)]
    await hot.remember(ana, 1, DAYS + 1)
    bens = await hot.remember(ben, 5, 2)
    hot.log.embed(ana, mine[3], at_angle(0), model="another")
    await hot.take()
    async with hot.search() as search:
        inside = await search.inside(ana, at_angle(0), k=3, now=NOW)
        assert [near.trace_id for near in inside] == mine[:3]
        assert [near.similarity for near in inside] == pytest.approx([math.cos(math.radians(a)) for a in (0, 10, 20)], abs=1e-3)
        everywhere = await search.everywhere(at_angle(0), k=3, now=NOW)
        assert [(near.trace_id, near.owner) for near in everywhere] == [(mine[0], ana), (bens, ben), (mine[1], ana)]
        window = (NOW - timedelta(days=3.5), NOW - timedelta(days=2.5))
        for found in (
            await search.inside(ana, at_angle(0), k=9, now=NOW, window=window),
            await search.everywhere(at_angle(0), k=9, now=NOW, window=window),
        ):
            assert [near.trace_id for near in found] == [mine[2]]
        assert await search.everywhere(at_angle(0), k=9, now=NOW, heads=["entity"]) == []
        with pytest.raises(ValueError, match="not an owner reference"):
            await search.inside("ana", at_angle(0), k=1, now=NOW)
        with pytest.raises(ValueError, match="nothing but zeros"):
            await search.everywhere([0.0, 0.0], k=1, now=NOW)


async def test_a_search_by_the_index_finds_what_an_exact_one_finds(hot: Hot) -> None:
    people: Sequence[str] = [owner() for _ in range(5)]
    for number in range(300):
        await hot.remember(people[number % 5], number * 1.2, number % 40)
    await hot.take()
    await hot.conn.execute("ANALYZE graph_g1.memory_embedding")
    async with hot.search() as search:
        exact = [near for who in people for near in await search.inside(who, at_angle(77), k=10, now=NOW)]
        best = sorted(exact, key=lambda near: -near.similarity)[:10]
        assert await search.everywhere(at_angle(77), k=10, now=NOW) == best
