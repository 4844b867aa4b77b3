"""Searching topics: every record from the beginning of each partition to its end, its key, value and headers, decompressed.

What is sealed is opened, too, where its key is still there: what can be read by whoever has the keys is not forgotten.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from ops.cli.topics import partitions_of, read_until, topic_reader
from ops.forgetting.findings import SEALED, Search, Searched
from ops.forgetting.stores import Store
from schemas import codec
from schemas.errors import ContractError, KeyLost, KeysUnavailable, SealedValue
from schemas.sealed import Sealed
from schemas.sealing import ItemKey, Keys
from schemas.subjects import key_ids_of, opened_with
from schemas.types import Record

PORTION = 500
"""Records whose keys are fetched at once."""


async def search_topics(search: Search, bootstrap: str, stores: Sequence[Store], keys: Keys | None) -> None:
    """Search the topics of ``stores``; what is sealed by ``keys``. Raises NotRunning where no broker answers, TopicMissing."""
    for store in stores:
        into = search.begin(store)
        for topic in store.places:
            try:
                # one each: once partitions are assigned, a consumer knows of no other topic
                async with topic_reader(bootstrap) as consumer:
                    await _topic(search, into, consumer, topic, keys)
            except (KafkaError, KeysUnavailable, KeyLost) as error:
                into.failures.append(f"{topic}: {type(error).__name__}")


async def _topic(search: Search, into: Searched, consumer: AIOKafkaConsumer, topic: str, keys: Keys | None) -> None:
    partitions = await partitions_of(consumer, topic)
    begin, end = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    sealed: list[tuple[str, Record]] = []
    async for record in read_until(consumer, begin, end):
        search.item(into)
        _record(search, into, record)
        if keys is not None and (found := _decoded(record)) is not None:
            sealed.append((f"{topic} {record.partition}@{record.offset}", found))
            if len(sealed) == PORTION:
                await _opened(search, into, keys, sealed)
                sealed.clear()
    if keys is not None:
        await _opened(search, into, keys, sealed)


def _decoded(record: Any) -> Record | None:
    """The record, where it is one of the contract that holds something sealed."""
    try:
        found = codec.decode(record.value or b"")
    except ContractError:
        return None
    return found if any(key_ids_of(found)) else None


async def _opened(search: Search, into: Searched, keys: Keys, records: Collection[tuple[str, Record]]) -> None:
    if not records:
        return
    alive = await keys.for_opening({key_id for _, record in records for key_id in key_ids_of(record)})
    for at, record in records:
        opened_with(record, _Opening(search, into, alive, at))


class _Opening:
    """Opens a sealed value, searches it, and leaves it as it is."""

    def __init__(self, search: Search, into: Searched, alive: Mapping[str, ItemKey | None], at: str) -> None:
        self._search, self._into, self._alive, self._at = search, into, alive, at

    def __call__(self, value: Sealed) -> Sealed:
        key = None if value.key_id is None else self._alive.get(value.key_id)
        if key is not None:
            try:
                self._search.value(self._into, key.open(value), lambda _: f"{self._at} value", form=SEALED)
            except SealedValue:
                self._into.failures.append(f"{self._at}: a sealed value that does not open")
        return value


def _record(search: Search, into: Searched, record: Any) -> None:
    at = f"{record.topic} {record.partition}@{record.offset}"
    search.value(into, record.key, lambda _: f"{at} key")
    search.value(into, record.value, lambda byte: f"{at} value byte {byte}")
    for number, (name, value) in enumerate(record.headers, start=1):
        # by number: a header's name is the producer's choice, too
        search.value(into, name, lambda _, number=number: f"{at} name of header {number}")  # type: ignore[misc]
        search.value(into, value, lambda _, number=number: f"{at} header {number}")  # type: ignore[misc]
