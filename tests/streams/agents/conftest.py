"""Agents of a worker on the real broker, one at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ops.local.addresses import ServiceAddresses
from schemas.topics import Topics
from streams.extraction.embedders import WordLlamaEmbedder
from streams.setup import create_topics
from tests.streams.agents.bench import PARTITIONS, Bench


@pytest.fixture
async def bench(services: ServiceAddresses, topic_prefix: str, tmp_path: Path) -> AsyncIterator[Bench]:
    topics = Topics(PARTITIONS, topic_prefix)
    await create_topics(services.kafka_bootstrap, topics)
    async with Bench.open(services.kafka_bootstrap, topics, WordLlamaEmbedder(), tmp_path) as opened:
        yield opened
