"""One worker's decide agent over a real broker and database: commands that wait in the topic, until all are on the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.harness import Failed, Progress
from benchmarks.services import Services
from ops.cli.children import Child, check_running, stop_all, wait_ready
from schemas import codec, envelope
from schemas.errors import ContractError
from schemas.slices import SliceAssembler, Verdict, verdict
from schemas.types import Command
from streams import kafka

READY_S = 90.0
STALLED_S = 60.0


@dataclass(frozen=True, slots=True)
class Decided:
    """What one run of the worker did: commands, their events, and the seconds from the first event to the last."""

    commands: int
    events: int
    seconds: float

    @property
    def rate(self) -> float:
        """Commands per second, sustained."""
        return self.commands / self.seconds


async def publish(services: Services, commands: Iterable[tuple[int, int, Command]]) -> int:
    """Put the commands on their topic; how many. Raises Failed where one did not get the offset that it was made for."""
    producer = kafka.producer(services.bootstrap, "benchmark")
    await producer.start()
    count, last = 0, []
    try:
        for partition, offset, command in commands:
            meta = command.meta
            headers = envelope.headers_for(
                command, id=meta.command_id, source="emberlog/benchmark", subject=meta.owner, time=meta.occurred_at
            )
            sent = await producer.send(
                services.topics.commands, codec.encode(command), key=meta.owner.encode(), partition=partition, headers=headers
            )
            count += 1
            last = [(sent, offset)]
        await producer.flush()
        for future, offset in last:
            if (await future).offset != offset:
                raise Failed("the command topic was not empty")
    finally:
        await producer.stop()
    return count


async def ends(services: Services) -> list[int]:
    """End offsets of the command topic's partitions."""
    return list((await end_positions(services, services.topics.commands)).values())


async def end_positions(services: Services, topic: str) -> dict[tuple[str, int], int]:
    """End offsets by topic and partition."""
    reader = kafka.reader(services.bootstrap, "benchmark")
    await reader.start()
    try:
        tps = [TopicPartition(topic, p) for p in range(services.topics.partitions)]
        found = await reader.end_offsets(tps)
        return {(tp.topic, tp.partition): found[tp] for tp in tps}
    finally:
        await reader.stop()


async def run(services: Services, title: str, expected: int, progress: Progress) -> Decided:
    """Start a worker, let it decide what waits in the topic, stop it."""
    reader = kafka.reader(services.bootstrap, "benchmark")
    await reader.start()
    folder = services.folder / "logs"
    child = Child("worker", "ops.cli.main", ["worker", "--agents", "decide"], folder)
    try:
        tps = [TopicPartition(services.topics.events, p) for p in range(services.topics.partitions)]
        reader.assign(tps)
        ends = await reader.end_offsets(tps)
        for tp in tps:
            reader.seek(tp, ends[tp])
        child.send_target(services.target)
        await asyncio.to_thread(wait_ready, [child], READY_S)
        return await _watch(reader, child, title, expected, progress)
    finally:
        await asyncio.to_thread(stop_all, [child])
        await reader.stop()


async def _watch(reader: AIOKafkaConsumer, child: Child, title: str, expected: int, progress: Progress) -> Decided:
    """Count by the readers' rule. Times are those that the worker gave its records, so reading them costs it nothing else."""
    assemblers: dict[TopicPartition, SliceAssembler] = {}
    sequences: dict[str, int] = {}
    commands = events = 0
    first, last, heard = 0, 0, time.monotonic()
    with progress.bar(title, expected) as show:
        while commands < expected:
            batches = await reader.getmany(timeout_ms=500)
            for tp, records in batches.items():
                assembler = assemblers.setdefault(tp, SliceAssembler())
                for record in records:
                    heard = time.monotonic()
                    try:
                        found = assembler.feed(record.offset, envelope.as_map(record.headers), record.value or b"")
                    except ContractError:
                        raise Failed("a foreign record on the log") from None
                    if found is None:
                        continue
                    known = sequences.get(found.owner, found.first - 1)
                    if verdict(found.first, known) is not Verdict.ACCEPT:
                        continue
                    sequences[found.owner] = found.events[-1].meta.sequence
                    first, last = first or record.timestamp, max(last, record.timestamp)
                    events += len(found.events)
                    commands += len({event.meta.cause for event in found.events})
            show(commands)
            check_running([child])
            if time.monotonic() - heard > STALLED_S:
                raise Failed(f"{commands} of {expected} commands decided, then nothing for {STALLED_S:.0f} s")
    return Decided(commands, events, max(last - first, 1) / 1000)
