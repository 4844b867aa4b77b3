"""Finding one event on the log, with what its owner's accepted events were before it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiokafka import TopicPartition

from ops.cli.errors import UsageError
from ops.cli.target import Target
from ops.cli.topics import partitions_of, read_until, records_at, topic_reader
from schemas import envelope, ids
from schemas.errors import ContractError
from schemas.slices import SliceAssembler, Verdict, verdict
from schemas.topics import partition_of
from schemas.types import MemoryEvent

Progress = Callable[[int, int], None]
"""Records looked at, and in all."""


@dataclass(frozen=True, slots=True)
class Found:
    """An accepted event, and its owner's accepted events before it, oldest first."""

    event: MemoryEvent
    before: list[MemoryEvent]


async def find_event(target: Target, event_id: str, owner: str | None, progress: Progress) -> Found:
    """The accepted event with this id (header ``ce_id``), or at this place as ``tail`` shows it (partition@offset).

    With ``owner`` (reference) only its partition is searched for the id. Raises UsageError where no reader accepts such an event.
    """
    async with topic_reader(target.bootstrap) as consumer:
        tps = await partitions_of(consumer, target.topics.events, target.topics.partitions)
        if owner is not None:
            tps = [tps[partition_of(owner, target.topics.partitions)]]
        if _PLACE.fullmatch(event_id):
            found = await _at(consumer, tps, event_id)
        else:
            found = await _search(consumer, tps, event_id, progress)
        if found is None:
            raise UsageError(f"there is no event {event_id} on the log{' of this owner' if owner else ''}", _HINT)
        events = [event async for event in _accepted(consumer, found.tp, found.owner)]
    for number, event in enumerate(events):
        if ids.event_id(event.meta.owner, event.meta.sequence) == found.event_id:
            return Found(event, events[:number])
    raise UsageError(f"event {event_id} was dropped: every reader dropped the slice that holds it")


_PLACE = re.compile(r"\d+@\d+")
_HINT = "places of events are shown by: emberlog tail events, their ids (ce_id) by: emberlog tail events --json"


class _Record(NamedTuple):
    tp: TopicPartition
    owner: str
    event_id: str

    @classmethod
    def of(cls, record: Any) -> _Record:
        headers = envelope.as_map(record.headers)
        owner, event_id = (headers.get(name, b"").decode(errors="replace") for name in ("ce_subject", "ce_id"))
        return cls(TopicPartition(record.topic, record.partition), owner, event_id)


async def _at(consumer: Any, tps: list[TopicPartition], place: str) -> _Record | None:
    partition, offset = map(int, place.split("@"))
    for tp in tps:
        if tp.partition == partition:
            async for record in records_at(consumer, tp, [offset]):
                return _Record.of(record)
    return None


async def _search(consumer: Any, tps: list[TopicPartition], event_id: str, progress: Progress) -> _Record | None:
    """The first record with this id. Headers alone tell, so nothing is decoded."""
    begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
    total, wanted = sum(ends[tp] - begins[tp] for tp in tps), event_id.encode()
    done = 0
    async for record in read_until(consumer, begins, ends):
        done += 1
        if done % 1_000 == 0:
            progress(done, total)
        if ("ce_id", wanted) in record.headers:
            progress(total, total)
            return _Record.of(record)
    return None


async def _accepted(consumer: Any, tp: TopicPartition, owner: str) -> AsyncIterator[MemoryEvent]:
    """The owner's events by the rule that every reader follows, from the first on."""
    begins, ends = await consumer.beginning_offsets([tp]), await consumer.end_offsets([tp])
    assembler, last, subject = SliceAssembler(), 0, owner.encode()
    async for record in read_until(consumer, begins, ends):
        headers = envelope.as_map(record.headers)
        if headers.get("ce_subject") != subject:
            continue
        try:
            slice_ = assembler.feed(record.offset, headers, record.value or b"")
        except ContractError:
            continue
        if slice_ is not None and verdict(slice_.first, last) is Verdict.ACCEPT:
            for event in slice_.events:
                yield event
            last = slice_.events[-1].meta.sequence
