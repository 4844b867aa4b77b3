"""The answer to a request is read by the rule that every reader follows, on a real broker."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from benchmarks.owners import fixed_reference
from ops.cli.asking import Asking
from ops.cli.errors import CliError, TimedOut
from ops.cli.target import Target
from ops.cli.topics import topic_reader
from ops.local.addresses import ServiceAddresses
from ops.settings import load_settings
from schemas.topics import Topics
from schemas.types import MemoryPinned
from tests.projections.harness import Broker, owner
from tests.projections.logs import LogMaker, foreign_forget
from tests.services import TOPIC_PREFIX

ANA = fixed_reference("default/user/ana")
NOT_USED: Any = None


@pytest.fixture
async def broker(services: ServiceAddresses) -> AsyncIterator[Broker]:
    topics = Topics(partitions=2, prefix=f"{TOPIC_PREFIX}{secrets.token_hex(4)}.")
    async with Broker.of(services.kafka_bootstrap, topics) as made:
        yield made


async def answered(broker: Broker, log: LogMaker, start: int, last: int, cause: int, timeout_s: float = 20.0) -> Any:
    """The events of the slice that answers the command at offset ``cause``, as read from ``start`` on."""
    await broker.send(log.records)
    settings = load_settings(topic_prefix=broker.topics.prefix, partitions=2)
    async with topic_reader(broker.bootstrap) as consumer:
        target = Target(settings, broker.bootstrap, "")
        request = Asking(target, ANA, NOT_USED, NOT_USED, time.monotonic() + timeout_s, consumer, NOT_USED)
        return (await request._decided(start, last, cause)).events


async def test_a_slice_that_every_reader_drops_is_not_the_answer(broker: Broker) -> None:
    log = LogMaker(broker.topics)
    [memory] = log.add(ANA, "one")
    log.add(owner(), "another's, in one of the partitions")
    log.append(ANA, [foreign_forget(ANA, 1, 3, memory)])  # a zombie's: it overlaps what was accepted
    log.put(log.topics.events, 0, b"k", b"rubbish")
    log.put(log.topics.events, 1, b"k", b"rubbish")
    log.pin(ANA, memory)
    [event] = await answered(broker, log, start=0, last=0, cause=3)
    assert isinstance(event, MemoryPinned)


async def test_reading_goes_on_from_where_the_archive_stands(broker: Broker) -> None:
    log = LogMaker(broker.topics)
    [memory] = log.add(ANA, "one")
    start = log.records[-1].offset + 1
    log.pin(ANA, memory)
    [event] = await answered(broker, log, start=start, last=1, cause=2)
    assert isinstance(event, MemoryPinned)


async def test_a_gap_in_the_owners_log_is_told(broker: Broker) -> None:
    log = LogMaker(broker.topics)
    log.append(ANA, [foreign_forget(ANA, 2, 1, owner())])
    with pytest.raises(CliError, match="gap"):
        await answered(broker, log, start=0, last=0, cause=1)


async def test_an_answer_that_does_not_come_ends_the_wait(broker: Broker) -> None:
    log = LogMaker(broker.topics)
    log.add(ANA, "one")
    with pytest.raises(TimedOut, match="nobody has decided it yet"):
        await answered(broker, log, start=0, last=0, cause=7, timeout_s=0.5)
