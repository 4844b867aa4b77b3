"""What a partition's runner does from one start to the next failure: commands in, batches out, the log read back, state saved."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.errors import ContractError
from schemas.slices import Slice, Verdict
from schemas.topics import Topics
from streams import kafka, tasks
from streams.decider import decide
from streams.parking.lot import ParkingLot
from streams.protocol import batch
from streams.protocol.cache import StateCache
from streams.protocol.commands import RawCommand, read_command
from streams.protocol.drafting import Decide
from streams.protocol.lane import Append, Park, Pending
from streams.protocol.partition import PartitionDecider
from streams.protocol.store import DeciderStore
from streams.protocol.tail import LogTail

log = structlog.get_logger(__name__)

STAGE = "decide"
MAX_EVENTS_PER_ROUND = 2_000
ROUND_S = 0.02
"""Least time between two rounds of appends of one partition."""
MATERIALISE_S = 1.0


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
        self.machine = PartitionDecider(parts.decide, _new_append_id)
        self.inbox: list[RawCommand] = []
        self.retries: list[str] = []
        self._store = DeciderStore(parts.state_dsn, parts.topics.events, partition)
        self._cache = StateCache(self.machine, self._store, self._parked)
        self._producer: AIOKafkaProducer = kafka.producer(parts.bootstrap, f"decide-{partition}")
        self._tailer: AIOKafkaConsumer = kafka.reader(parts.bootstrap, f"decide-{partition}")
        self._log = LogTail()
        self._position = 0
        self._moved = asyncio.Condition()
        self._level = False

    async def __aenter__(self) -> Session:
        try:
            await self._parts.lot.refresh()
            self._position = await self._cache.open()
            await self._producer.start()
            await self._tailer.start()
            self._tailer.assign([self._tp])
            self._tailer.seek(self._tp, self._position)
            end = await kafka.end_offset(self._tailer, self._tp)
            while self._position < end:
                await self._read_log(timeout_ms=500)
                if self._cache.is_due(self._position):
                    await self._cache.save(self._position)
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
        clock, not_before = asyncio.get_running_loop().time, 0.0
        while True:
            await self._kick.wait()
            await asyncio.sleep(max(0.0, not_before - clock()))
            self._kick.clear()
            began = clock()
            await self._take_in()
            await self._carry_out()
            await self._cache.look_up()
            slices = self.machine.appends(MAX_EVENTS_PER_ROUND)
            if slices:
                await self._append(slices)
            await self._carry_out()
            if self.inbox or self.machine.has_ready:
                self._kick.set()
            # a round costs as much for one command as for dozens: a busy partition gathers them, the longer the busier its
            # process is; a quiet one need not wait
            not_before = clock() + max(ROUND_S, clock() - began)

    async def _append(self, slices: list[Append]) -> None:
        written = [batch.records_of(slice_) for slice_ in slices]
        for slice_, records in zip(slices, written, strict=True):
            self._log.expect(slice_, records)
        await batch.append(self._producer, self._tp.topic, self._partition, written)

    async def _take_in(self) -> None:
        raws, self.inbox = self.inbox, []
        items = [await self._read(raw) for raw in raws]
        if items and not self._level:
            await self._catch_up()
        await self._cache.hold(dict.fromkeys(item.owner for item in items if item is not None))
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
        await self._cache.hold((owner,))
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
                slice_ = self._log.feed(message)
            except ContractError as error:
                # not ours: every reader skips it alike, and says so
                log.error("a foreign record on the log", partition=self._partition, offset=message.offset, reason=str(error))
                slice_ = None
            read.append((slice_, message.offset + 1 if self._log.complete else None))
        slices = [slice_ for slice_, _ in read if slice_ is not None]
        await self._cache.hold(dict.fromkeys(slice_.owner for slice_ in slices), slices)
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
            self._cache.observed(slice_.owner)
        elif ruling is Verdict.GAP:
            log.error("gap in an owner's sequence: the owner is parked", partition=self._partition, offset=slice_.end_offset - 1)

    # -- state

    def _parked(self, owner: str) -> dict[int, str]:
        return {place.offset: place.parked_id for place in self._parts.lot.of_owner(STAGE, owner)}

    async def _materialise(self) -> None:
        while True:
            await asyncio.sleep(MATERIALISE_S)
            await self._cache.save(self._position)


def _new_append_id() -> str:
    return secrets.token_hex(16)
