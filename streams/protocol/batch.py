"""Appending slices: all of one append's slices in one record batch, which the broker takes or refuses as a whole."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaProducer

from schemas import codec, envelope, ids
from schemas.slices import SLICE_FIRST, SLICE_ID, SLICE_SIZE
from streams import kafka
from streams.protocol.partition import Append

SOURCE = "emberlog/decide"


async def append(producer: AIOKafkaProducer, topic: str, partition: int, slices: Iterable[Append]) -> None:
    """Write ``slices`` and wait for the broker's acknowledgement, which is no confirmation: that is reading them back.

    aiokafka's ``send`` promises no common batch, so record batches are built by hand; one that is full is sent before the next
    slice, and no slice is ever split. Raises KafkaError where the broker refuses or cannot be reached.
    """
    batch = producer.create_batch()
    for slice_ in slices:
        records = _records(slice_)
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


def _fits(batch: Any, records: list[tuple[bytes, bytes, envelope.Headers]]) -> bool:
    """Whether all of ``records`` go into ``batch``, by an upper estimate; an empty batch takes any slice."""
    if not batch.record_count():
        return True
    per_record = 70  # varints, timestamps and CRC, rounded up
    need = sum(per_record + len(v) + len(k) + sum(len(n) + len(b) + 6 for n, b in h) for v, k, h in records)
    return bool(batch.size() + need < kafka.MAX_BATCH_BYTES)


def _records(slice_: Append) -> list[tuple[bytes, bytes, envelope.Headers]]:
    out = []
    for event in slice_.events:
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
        out.append((codec.encode(event), meta.owner.encode(), headers))
    return out
