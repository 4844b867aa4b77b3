"""Appending slices: all of one append's slices in one record batch, which the broker takes or refuses as a whole."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer

from schemas import envelope, ids
from schemas.slices import SLICE_FIRST, SLICE_ID, SLICE_SIZE
from streams import kafka
from streams.protocol.drafting import RECORD_OVERHEAD_BYTES
from streams.protocol.lane import Append

SOURCE = "emberlog/decide"


class Written(NamedTuple):
    """A record as it is written."""

    value: bytes
    key: bytes
    headers: envelope.Headers


def records_of(slice_: Append) -> list[Written]:
    """The records of one slice."""
    out = []
    for event, value in zip(slice_.events, slice_.values, strict=True):
        meta = event.meta
        headers = envelope.headers_for(
            event,
            id=ids.event_id(meta.owner, meta.sequence),
            source=SOURCE,
            subject=meta.owner,
            time=meta.occurred_at,
            extra={
                "sequence": meta.sequence,
                "causationid": meta.cause,
                "deciderversion": meta.decider_version,
                SLICE_ID: slice_.append_id,
                SLICE_FIRST: slice_.first,
                SLICE_SIZE: len(slice_.events),
            },
        )
        out.append(Written(value, meta.owner.encode(), headers))
    return out


async def append(producer: AIOKafkaProducer, topic: str, partition: int, slices: Iterable[Sequence[Written]]) -> None:
    """Write ``slices`` and wait for the broker's acknowledgement, which is no confirmation: that is reading them back.

    aiokafka's ``send`` promises no common batch, so record batches are built by hand; one that is full is sent before the next
    slice, and no slice is ever split. Raises KafkaError where the broker refuses or cannot be reached.
    """
    batch = producer.create_batch()
    for records in slices:
        if not _fits(batch, records):
            await _send(producer, batch, topic, partition)
            batch = producer.create_batch()
        now = int(time.time() * 1000)
        for value, key, headers in records:
            if batch.append(key=key, value=value, timestamp=now, headers=headers) is None:
                raise ValueError("a slice exceeds one record batch")  # MAX_SLICE_BYTES lies well below it
    if batch.record_count():
        await _send(producer, batch, topic, partition)


async def _send(producer: AIOKafkaProducer, batch: Any, topic: str, partition: int) -> None:
    future = await producer.send_batch(batch, topic, partition=partition)
    await future


def _fits(batch: Any, records: Sequence[Written]) -> bool:
    """Whether all of ``records`` go into ``batch``, by an upper estimate; an empty batch takes any slice."""
    if not batch.record_count():
        return True
    need = sum(RECORD_OVERHEAD_BYTES + len(record.value) for record in records)
    return bool(batch.size() + need < kafka.MAX_BATCH_BYTES)
