"""Agents of a worker on the real broker, one at a time."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from ops.local.addresses import ServiceAddresses
from schemas.topics import Topics
from streams.extraction.embedders import WordLlamaEmbedder
from streams.setup import create_topics
from tests.services import temporary_data_dir
from tests.streams.agents.bench import PARTITIONS, Bench
from tests.streams.agents.quick_kafka import QuickKafka


@pytest.fixture
async def bench(services: ServiceAddresses, topic_prefix: str, tmp_path: Path) -> AsyncIterator[Bench]:
    topics = Topics(PARTITIONS, topic_prefix)
    await create_topics(services.kafka_bootstrap, topics)
    async with Bench.open(services.kafka_bootstrap, topics, WordLlamaEmbedder(), tmp_path) as opened:
        yield opened


@pytest.fixture
def own_kafka() -> Iterator[QuickKafka]:
    folder = temporary_data_dir()
    broker = QuickKafka(folder)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()
        shutil.rmtree(folder)


@pytest.fixture
async def own_bench(own_kafka: QuickKafka, tmp_path: Path) -> AsyncIterator[Bench]:
    topics = Topics(PARTITIONS)
    spec = next(replace(s, config=s.config | {"segment.ms": "500"}) for s in topics.specs() if s.name == topics.inbox)
    admin = AIOKafkaAdminClient(bootstrap_servers=own_kafka.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(spec.name, spec.partitions, 1, topic_configs=spec.config)])
    finally:
        await admin.close()
    await create_topics(own_kafka.bootstrap, topics)
    async with Bench.open(own_kafka.bootstrap, topics, WordLlamaEmbedder(), tmp_path) as opened:
        yield opened
