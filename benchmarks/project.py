"""How fast views follow the log: at full catch-up, and how far behind they are at a steady rate.

Sealed events of many owners, as the decider makes them of a busy installation's commands, are written to memory.events; their
keys are in a real key store, and the projector begins without any of them. A projector runs in a process of its own as
`emberlog project` runs it: the archive alone (`events_per_s`, `lag_p50_ms`, `lag_p99_ms`), then the views together (`all_views`,
`per_view`): there events count once for all, and the archive is at the end already when the others catch up. `cpu_us_per_event`
is the processor time of that process, which other work on the machine hardly changes. Lag is open-loop: from the moment an event
was due to the moment its view's position has passed it, looked at every few milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil
import psycopg

from benchmarks.decide.workload import Workload
from benchmarks.harness import AtMost, Failed, Progress, Report, main, percentile
from benchmarks.owners import make_known
from benchmarks.services import Services, running_services
from ops.cli.children import Child, check_running, stop_all, wait_ready
from ops.keyring import Keyring, open_keys
from projections.views import REGISTRY
from schemas import codec
from schemas.sealing import seal
from schemas.subjects import subjects_of
from schemas.topics import partition_of
from streams import kafka
from streams.decider import EMPTY, OwnerState, step
from streams.protocol.batch import Written, append, records_of
from streams.protocol.lane import Append

LABEL, VIEW, KEYS = "project", "thermal", "keys"
GOALS = {"lag_p99_ms": AtMost(500.0)}
POLL_S, TICK_S = 0.005, 0.002
READY_S, STALLED_S, ARRIVE_S = 120.0, 120.0, 60.0
BATCH = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, help="events of the catch-up (default: 40000; --small: 2000)")
    parser.add_argument("--rate", type=float, default=2_000.0, help="events per second behind it (default: 2000)")
    parser.add_argument("--seconds", type=float, help="seconds at that rate (default: 20; --small: 2)")
    parser.add_argument("--owners", type=int, default=500, help="owners that they are spread over (default: 500)")


def measure(args: argparse.Namespace, progress: Progress) -> Report:
    """The archive alone, then all views."""
    events, seconds = args.events or (2_000 if args.small else 40_000), args.seconds or (2.0 if args.small else 20.0)
    with running_services(progress) as services:
        alone, together = asyncio.run(_measured(services, events, args.rate, seconds, args.owners, progress))
    lag = alone.lags_ms[VIEW]
    return Report(
        sizes={
            "events": events,
            "rate_per_s": args.rate,
            "seconds": seconds,
            "owners": args.owners,
            "views": list(together.lags_ms),
        },
        figures={
            "events_per_s": alone.speed.events_per_s,
            "cpu_us_per_event": alone.speed.cpu_us_per_event,
            "lag_p50_ms": percentile(lag, 0.50),
            "lag_p99_ms": percentile(lag, 0.99),
            "all_views": {
                "events_per_s": together.speed.events_per_s,
                "cpu_us_per_event": together.speed.cpu_us_per_event,
                "lag_p99_ms": max(percentile(lags, 0.99) for lags in together.lags_ms.values()),
            },
            "per_view": {
                view: {"lag_p50_ms": percentile(lags, 0.50), "lag_p99_ms": percentile(lags, 0.99)}
                for view, lags in together.lags_ms.items()
            },
        },
        goals=GOALS,
    )


@dataclass(frozen=True, slots=True)
class _Speed:
    """A full catch-up: events per second, and microseconds of the projector's processor time for each."""

    events_per_s: float
    cpu_us_per_event: float


@dataclass(frozen=True, slots=True)
class _Followed:
    """What a projector did; lags in milliseconds by view, at the steady rate."""

    speed: _Speed
    lags_ms: dict[str, list[float]]


async def _measured(
    services: Services, events: int, rate: float, seconds: float, owners: int, progress: Progress
) -> tuple[_Followed, _Followed]:
    settings, paced = services.target.settings, round(rate * seconds)
    await make_known(settings, services.dsn, (f"default/user/{LABEL}-{i}" for i in range(owners)))
    views = [name for name in REGISTRY if _reads_events(name, services)]
    async with open_keys(settings, services.dsn, connections=2) as ring, _Log.open(services, ring, owners) as log:
        progress.say(f"making {events + 2 * paced} sealed events")
        behind, first, second = await log.made(events), await log.made(paced), await log.made(paced)
        await log.write(behind)
        # nothing is served before what was forgotten is destroyed: the projection of the key store comes first
        async with _projector(services, [KEYS]):
            progress.say(f"{VIEW} catches up")
            alone_speed = await _caught_up(services, [VIEW], log, [VIEW])
        async with _projector(services, [KEYS]), _projector(services, [VIEW]):
            progress.say(f"{VIEW} at {rate:g} events a second")
            alone = await _paced(services, [VIEW], log, first, rate)
        progress.say("all views catch up")
        others = [view for view in views if view != VIEW]
        speed_of_all = await _caught_up(services, others, log, []) if others else alone_speed
        async with _projector(services, []):
            progress.say(f"all views at {rate:g} events a second")
            together = await _paced(services, views, log, second, rate)
    return _Followed(alone_speed, alone), _Followed(speed_of_all, together)


def _reads_events(name: str, services: Services) -> bool:
    from projections.view import ViewSettings

    settings = ViewSettings(services.topics, b"only to ask for its topics, 32 b")
    return any(source.topic == services.topics.events for source in REGISTRY[name](settings).sources)


@dataclass(slots=True)
class _Made:
    """Slices by partition, in order, each with the number of events before it."""

    slices: dict[int, list[tuple[int, Sequence[Written]]]]
    events: int


@dataclass(slots=True)
class _Log:
    """memory.events under the benchmark's pen. ``ends`` are its end offsets."""

    services: Services
    ring: Keyring
    work: Workload
    producer: Any
    ends: dict[int, int]
    states: dict[str, OwnerState] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def open(cls, services: Services, ring: Keyring, owners: int) -> AsyncIterator[_Log]:
        producer = kafka.producer(services.bootstrap, "benchmark")
        await producer.start()
        try:
            work = Workload(owners, services.topics.partitions, label=LABEL)
            yield cls(services, ring, work, producer, dict.fromkeys(range(services.topics.partitions), 0))
        finally:
            await producer.stop()

    async def made(self, events: int) -> _Made:
        """At least so many events, sealed and decided."""
        made = _Made({partition: [] for partition in self.ends}, 0)
        while made.events < events:
            commands = list(self.work.commands(BATCH))
            await self.ring.keys.for_sealing({s for _, _, command in commands for s in subjects_of(command)})
            for _, offset, command in commands:
                owner = command.meta.owner
                decided, self.states[owner] = step(self.states.get(owner, EMPTY), await seal(self.ring.keys, command), offset)
                if decided:
                    values = tuple(codec.encode(event) for event in decided)
                    first = decided[0].meta.sequence
                    written = records_of(Append(str(uuid.uuid4()), owner, first, (offset,), tuple(decided), values))
                    made.slices[partition_of(owner, len(self.ends))].append((made.events, written))
                    made.events += len(written)
        return made

    async def write(self, made: _Made) -> None:
        """All at once."""
        topic = self.services.topics.events
        for partition, slices in made.slices.items():
            await append(self.producer, topic, partition, [records for _, records in slices])
            self.ends[partition] += sum(len(records) for _, records in slices)

    async def pace(self, made: _Made, rate: float) -> dict[int, list[float]]:
        """At ``rate``; when each event was due, by partition, on the clock of ``time.perf_counter``."""
        began = time.perf_counter() + 0.1
        async with asyncio.TaskGroup() as group:
            for partition, slices in made.slices.items():
                group.create_task(self._pace(partition, slices, began, rate))
        for partition, slices in made.slices.items():
            self.ends[partition] += sum(len(records) for _, records in slices)
        return {
            partition: [began + before / rate for before, records in slices for _ in records]
            for partition, slices in made.slices.items()
        }

    async def _pace(self, partition: int, slices: Sequence[tuple[int, Sequence[Written]]], began: float, rate: float) -> None:
        done = 0
        while done < len(slices):
            now, due = time.perf_counter(), done
            while due < len(slices) and began + slices[due][0] / rate <= now:
                due += 1
            if due > done:
                await append(self.producer, self.services.topics.events, partition, [r for _, r in slices[done:due]])
                done = due
            else:
                await asyncio.sleep(TICK_S)


@asynccontextmanager
async def _projector(services: Services, views: Sequence[str]) -> AsyncIterator[Child]:
    """A projector of these views, all of them if none is named, ready."""
    child = Child(f"projector-{'-'.join(views) or 'all'}", "ops.cli.main", ["project", *views], services.folder / "logs")
    try:
        child.send_target(services.target)
        await asyncio.to_thread(wait_ready, [child], READY_S)
        yield child
    finally:
        await asyncio.to_thread(stop_all, [child])


class _Positions:
    """Looks at the views' checkpoints."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], views: Sequence[str], topic: str) -> None:
        self._connection, self._topic = connection, topic
        self._query = " UNION ALL ".join(
            f"SELECT '{view}', partition, next_offset FROM emberlog_{view}_checkpoint WHERE topic = %(topic)s" for view in views
        ).encode()

    async def look(self) -> dict[tuple[str, int], int]:
        """Next offsets by view and partition."""
        cursor = await self._connection.execute(self._query, {"topic": self._topic}, prepare=True)
        return {(view, partition): offset for view, partition, offset in await cursor.fetchall()}


async def _caught_up(services: Services, views: Sequence[str], log: _Log, started: Sequence[str]) -> _Speed:
    """Start a projector; its speed from the first commit that is seen until all ``views`` are at the end."""
    target = sum(log.ends.values())
    async with await psycopg.AsyncConnection.connect(services.dsn, autocommit=True) as connection:
        positions = _Positions(connection, views, services.topics.events)
        child = Child("catching-up", "ops.cli.main", ["project", *started], services.folder / "logs")
        try:
            child.send_target(services.target)
            begun, least, heard = None, 0, time.monotonic()
            while True:
                found = await positions.look()
                at = min(sum(found[view, partition] for partition in log.ends) for view in views)
                now = time.perf_counter()
                if at > least:
                    heard = time.monotonic()
                if at and begun is None:
                    begun = (now, at, _cpu_s(child))
                if at >= target and begun is not None:
                    done = max(at - begun[1], 1)
                    return _Speed(done / max(now - begun[0], 1e-3), 1e6 * (_cpu_s(child) - begun[2]) / done)
                least = max(least, at)
                check_running([child])
                if time.monotonic() - heard > STALLED_S:
                    raise Failed(f"{at} of {target} events, then nothing for {STALLED_S:.0f} s")
                await asyncio.sleep(POLL_S)
        finally:
            await asyncio.to_thread(stop_all, [child])


def _cpu_s(child: Child) -> float:
    times = psutil.Process(child.process.pid).cpu_times()
    return float(times.user + times.system)


async def _paced(services: Services, views: Sequence[str], log: _Log, made: _Made, rate: float) -> dict[str, list[float]]:
    """Write at ``rate`` and watch; lags in milliseconds by view."""
    begin = dict(log.ends)
    moves: dict[tuple[str, int], list[tuple[float, int]]] = {(view, p): [] for view in views for p in begin}
    async with await psycopg.AsyncConnection.connect(services.dsn, autocommit=True) as connection:
        positions = _Positions(connection, views, services.topics.events)
        writing = asyncio.create_task(log.pace(made, rate))
        deadline = time.monotonic() + made.events / rate + ARRIVE_S
        while True:
            found = await positions.look()
            now = time.perf_counter()
            for place, offset in found.items():
                if not moves[place] or moves[place][-1][1] < offset:
                    moves[place].append((now, offset))
            if writing.done() and all(offset >= log.ends[partition] for (_, partition), offset in found.items()):
                break
            if time.monotonic() > deadline:
                raise Failed(f"not all events arrived within {ARRIVE_S:.0f} s of the last one")
            await asyncio.sleep(POLL_S)
        due = await writing
    return {view: [lag for p in begin for lag in _lags(moves[view, p], due[p], begin[p])] for view in views}


def _lags(moves: Sequence[tuple[float, int]], due: Sequence[float], begin: int) -> Iterator[float]:
    """Milliseconds from when each event was due until a look found the position behind it."""
    at = 0
    for number, moment in enumerate(due):
        while moves[at][1] <= begin + number:
            at += 1
        yield 1000 * (moves[at][0] - moment)


if __name__ == "__main__":
    sys.exit(main("project", __doc__, add_arguments, measure))
