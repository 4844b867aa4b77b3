"""What a partition's runner does from one start to the next failure: commands in, batches out, the log read back, state saved."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas import envelope
from schemas.errors import ContractError
from schemas.slices import Slice, SliceAssembler, Verdict
from schemas.topics import Topics
from streams import kafka, tasks
from streams.decider import EMPTY, OwnerState, decide
from streams.parking.lot import ParkingLot
from streams.protocol import batch
from streams.protocol.commands import RawCommand, read_command
from streams.protocol.partition import Decide, Park, PartitionDecider, Pending
from streams.protocol.store import DeciderStore

log = structlog.get_logger(__name__)

STAGE = "decide"
MAX_EVENTS_PER_ROUND = 2_000
MATERIALISE_S = 1.0
MAX_LANES = 20_000
"""Owners held in memory per partition; those without work are let go beyond it."""


@dataclass(frozen=True, slots=True)
class DeciderParts:
    """What every partition's runner shares."""

    bootstrap: str
    topics: Topics
    state_dsn: str
    lot: ParkingLot
    on_fatal: Callable[[BaseException], None]
    decide: Decide = decide


class Session:
    """From one start to the next failure."""

    def __init__(
        self,
        parts: DeciderParts,
        partition: int,
        kick: asyncio.Event,
        under_way: Mapping[int, RawCommand],
        finished: Callable[[int], None],
    ) -> None:
        self._parts, self._partition, self._kick, self._finished = parts, partition, kick, finished
        self._under_way = under_way
        self._tp = TopicPartition(parts.topics.events, partition)
        self.machine = PartitionDecider(parts.decide, lambda: uuid.uuid4().hex)
        self.inbox: list[RawCommand] = []
        self.retries: list[str] = []
        self._store = DeciderStore(parts.state_dsn, parts.topics.events, partition)
        self._producer: AIOKafkaProducer = kafka.producer(parts.bootstrap, f"decide-{partition}")
        self._tailer: AIOKafkaConsumer = kafka.reader(parts.bootstrap, f"decide-{partition}")
        self._assembler = SliceAssembler()
        self._adopting = asyncio.Lock()
        self._saved = self._position = 0
        self._moved = asyncio.Condition()
        self._level = False
        self._dirty: dict[str, OwnerState] = {}

    async def __aenter__(self) -> Session:
        try:
            await self._parts.lot.refresh()
            self._saved = self._position = await self._store.open()
            await self._producer.start()
            await self._tailer.start()
            self._tailer.assign([self._tp])
            self._tailer.seek(self._tp, self._position)
            end = await kafka.end_offset(self._tailer, self._tp)
            while self._position < end:
                await self._read_log(timeout_ms=500)
                if len(self._dirty) > MAX_LANES:
                    await self._save()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def _close(self) -> None:
        cancelled = False
        for close in (self._tailer.stop, self._producer.stop, self._store.close):
            try:
                await close()
            except asyncio.CancelledError:
                # a client that waits for a cancelled task of its own raises this too: only ours may end the partition
                cancelled = cancelled or kafka.is_cancelled()
            except Exception as error:
                log.info("a client did not close in order", partition=self._partition, error=type(error).__name__)
        if cancelled:
            raise asyncio.CancelledError

    async def run(self) -> None:
        """Work until something fails."""
        # no TaskGroup: it takes a task that a client's stray CancelledError ended for one that is done, and under Python 3.11 it
        # leaves the parent marked as cancelled after a failure
        parts = [asyncio.create_task(part) for part in (self._drive(), self._tail(), self._materialise())]
        try:
            ended, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await tasks.end(*parts)
        for task in ended:
            if not task.cancelled():
                task.result()
        raise ConnectionError("a client of this partition ended by itself")

    # -- commands to appends

    async def _drive(self) -> None:
        while True:
            await self._kick.wait()
            self._kick.clear()
            await self._take_in()
            while True:
                await self._carry_out()
                slices = self.machine.appends(MAX_EVENTS_PER_ROUND)
                if slices:
                    await batch.append(self._producer, self._tp.topic, self._partition, slices)
                if self.inbox:
                    await self._take_in()
                if not self.machine.has_ready:
                    break
            await self._carry_out()

    async def _take_in(self) -> None:
        raws, self.inbox = self.inbox, []
        items = [await self._read(raw) for raw in raws]
        if items and not self._level:
            await self._catch_up()
        await self._adopt({item.owner for item in items if item is not None})
        for item in items:
            if item is not None:
                self.machine.offer(item)
        retries, self.retries = self.retries, []
        for owner in dict.fromkeys(retries):
            await self._retry(owner)

    async def _catch_up(self) -> None:
        """Fold up to the high watermark once more: what comes in is above a committed offset that was read after our start."""
        end = await kafka.end_offset(self._tailer, self._tp)
        async with self._moved:
            await self._moved.wait_for(lambda: self._position >= end)
        self._level = True

    async def _read(self, raw: RawCommand) -> Pending | None:
        """The command, or None after parking a record that names no owner of this partition: it holds nobody back."""
        item = read_command(raw, self._partition, self._parts.topics.partitions)
        if isinstance(item, Pending):
            return item
        await self._parts.lot.park(
            STAGE, self._source(raw.offset), owner=None, reason=item, record=(raw.key, raw.value, raw.headers), attempts=1
        )
        self._finished(raw.offset)
        return None

    async def _retry(self, owner: str) -> None:
        await self._adopt({owner})
        items = []
        for place in self._parts.lot.of_owner(STAGE, owner):
            work = await self._parts.lot.read(place)
            raw = RawCommand(place.offset, work.key, work.value, dict(work.headers))
            item = read_command(raw, self._partition, self._parts.topics.partitions)
            if isinstance(item, Pending):
                items.append(Pending(item.offset, item.owner, item.command, item.problem, parked_id=place.parked_id))
        self.machine.retry(owner, items)

    async def _carry_out(self) -> None:
        """Do what the machine asks for besides appends: park, resolve, acknowledge."""
        while parks := self.machine.parks():  # parking one brings those behind it
            for park in parks:
                await self._park(park)
        for item in self.machine.healed():
            assert item.parked_id is not None
            place = self._parts.lot.place(item.parked_id)
            if place is not None:
                await self._parts.lot.resolve(place, "done")
        for offset in self.machine.finished():
            self._finished(offset)

    async def _park(self, park: Park) -> None:
        item = park.pending
        lot, attempts = self._parts.lot, 0 if park.behind else 1
        if item.parked_id is not None:
            place = lot.place(item.parked_id)
            if place is None:  # dropped by a person meanwhile
                self.machine.unparked(item.owner, item.offset)
                return
            before = await lot.read(place)
            record, attempts = (before.key, before.value, dict(before.headers)), before.attempts + 1
        else:
            raw = self._under_way[item.offset]
            record = (raw.key, raw.value, raw.headers)
        work = await lot.park(
            STAGE,
            self._source(item.offset),
            owner=item.owner,
            reason=park.reason,
            record=record,
            behind=park.behind,
            attempts=attempts,
        )
        self.machine.parked(item, work.parked_id)

    def _source(self, offset: int) -> tuple[str, int, int]:
        return self._parts.topics.commands, self._partition, offset

    # -- the log, read back

    async def _tail(self) -> None:
        while True:
            await self._read_log(timeout_ms=1_000)
            for offset in self.machine.finished():
                self._finished(offset)
            if self.machine.has_ready:
                self._kick.set()

    async def _read_log(self, timeout_ms: int) -> None:
        batches = await self._tailer.getmany(self._tp, timeout_ms=timeout_ms, max_records=2_000)
        messages = batches.get(self._tp, ())
        if not messages:
            return
        read = []
        for message in messages:
            try:
                slice_ = self._assembler.feed(message.offset, envelope.as_map(message.headers), message.value or b"")
            except ContractError as error:
                # not ours: every reader skips it alike, and says so
                log.error("a foreign record on the log", partition=self._partition, offset=message.offset, reason=str(error))
                slice_ = None
            read.append((slice_, message.offset + 1 if self._assembler.complete else None))
        await self._adopt({slice_.owner for slice_, _ in read if slice_ is not None})
        for slice_, border in read:
            if slice_ is not None:
                self._observe(slice_)
            self._position = border if border is not None else self._position
        async with self._moved:
            self._moved.notify_all()
        self._kick.set()

    def _observe(self, slice_: Slice) -> None:
        ruling = self.machine.observe(slice_)
        if ruling is Verdict.ACCEPT:
            self._dirty[slice_.owner] = self.machine.lanes[slice_.owner].state
        elif ruling is Verdict.GAP:
            log.error("gap in an owner's sequence: the owner is parked", partition=self._partition, offset=slice_.end_offset - 1)

    # -- state

    async def _adopt(self, owners: set[str]) -> None:
        async with self._adopting:
            missing = owners - self.machine.lanes.keys()
            if not missing:
                return
            states = await self._store.load(missing)
            for owner in missing:
                parked = {p.offset: p.parked_id for p in self._parts.lot.of_owner(STAGE, owner)}
                self.machine.adopt(owner, states.get(owner, EMPTY), parked)

    async def _materialise(self) -> None:
        while True:
            await asyncio.sleep(MATERIALISE_S)
            await self._save()

    async def _save(self) -> None:
        position, states = self._position, dict(self._dirty)
        if position != self._saved:
            await self._store.save(self._saved, position, states)
            self._saved = position
            for owner, state in states.items():
                if self._dirty.get(owner) is state:
                    del self._dirty[owner]
        self._let_go()

    def _let_go(self) -> None:
        """Drop owners without work while more than MAX_LANES are held; what is dirty stays until it is saved."""
        lanes = self.machine.lanes
        for owner in list(lanes)[: max(0, len(lanes) - MAX_LANES)]:
            if lanes[owner].idle and owner not in self._dirty:
                del lanes[owner]
