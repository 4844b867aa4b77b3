"""Reading one partition's commands and events in step, from the first record to where both ended when it began."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from schemas import envelope
from schemas.errors import ContractError
from schemas.slices import Slice, SliceAssembler
from schemas.topics import Topics
from schemas.types import Command
from streams import kafka
from streams.decider import decide
from streams.protocol.commands import RawCommand, read_command
from streams.redeciding.compare import Decide, Findings, PartitionRedecider

Progress = Callable[[int, int], None]
"""Records of the log read so far, and in all."""


async def redecide(
    bootstrap: str, topics: Topics, partition: int, on_progress: Progress = lambda done, total: None, decide: Decide = decide
) -> Findings:
    """Decide the partition's commands again and compare with its events.

    Holds the states of the partition's owners in memory. Raises KafkaError where the broker is away or a topic is missing.
    """
    commands, events = TopicPartition(topics.commands, partition), TopicPartition(topics.events, partition)
    machine = PartitionRedecider(decide)
    async with _Reading(bootstrap, events) as log, _Reading(bootstrap, commands) as requests:
        ahead = _commands(requests, partition, topics.partitions, machine.findings)
        upcoming = await anext(ahead, None)
        async for slice_ in _slices(log, machine.findings):
            while upcoming is not None and upcoming[0] <= slice_.last_cause:
                machine.offer(*upcoming)
                upcoming = await anext(ahead, None)
            machine.observe(slice_)
            on_progress(log.done, log.total)
        while upcoming is not None:
            machine.offer(*upcoming)
            upcoming = await anext(ahead, None)
    return machine.finish()


class _Reading:
    """The records of one partition up to its end at the start."""

    def __init__(self, bootstrap: str, tp: TopicPartition) -> None:
        self._consumer: AIOKafkaConsumer = kafka.reader(bootstrap, "redecide")
        self._tp = tp
        self.done = self.total = self._end = 0

    async def __aenter__(self) -> _Reading:
        await self._consumer.start()
        try:
            self._consumer.assign([self._tp])
            begin = (await self._consumer.beginning_offsets([self._tp]))[self._tp]
            self._end = await kafka.end_offset(self._consumer, self._tp)
            self.total = self._end - begin
            self._consumer.seek(self._tp, begin)
        except BaseException:
            await self._consumer.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def records(self) -> AsyncIterator[ConsumerRecord]:
        """Every record below the end."""
        while await self._consumer.position(self._tp) < self._end:
            for records in (await self._consumer.getmany(self._tp, timeout_ms=500, max_records=2_000)).values():
                for record in records:
                    if record.offset < self._end:
                        self.done += 1
                        yield record


async def _slices(log: _Reading, findings: Findings) -> AsyncIterator[Slice]:
    assembler = SliceAssembler()
    async for record in log.records():
        try:
            slice_ = assembler.feed(record.offset, envelope.as_map(record.headers), record.value or b"")
        except ContractError:
            findings.unreadable += 1
            continue
        if slice_ is not None:
            yield slice_


async def _commands(reading: _Reading, partition: int, partitions: int, findings: Findings) -> AsyncIterator[tuple[int, Command]]:
    async for record in reading.records():
        raw = RawCommand(record.offset, record.key, record.value, envelope.as_map(record.headers))
        item = read_command(raw, partition, partitions)
        if isinstance(item, str) or item.command is None:
            findings.unreadable += 1
        else:
            yield item.offset, item.command
