"""What `emberlog status` says of the agents' lags, on the real broker, while no agent runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiokafka import TopicPartition

from ops.cli.health import look
from ops.cli.target import Target
from ops.local.addresses import ServiceAddresses
from ops.settings import load_settings
from schemas.topics import Topics, partition_of
from streams import kafka
from streams.config import EMBED_MESSAGES
from streams.extraction.embedders import WordLlamaEmbedder
from streams.setup import create_topics
from tests.streams.agents.bench import PARTITIONS, Bench
from tests.streams.commands import OWNER

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.mark.parametrize(("messages", "lags"), [(True, [None, 5, 4, 1]), (False, [None, 2, 1, 1])])
async def test_embedding_lags_by_what_it_has_not_done_of_both_its_topics(
    services: ServiceAddresses, topic_prefix: str, tmp_path: Path, messages: bool, lags: list[int | None]
) -> None:
    topics = Topics(PARTITIONS, topic_prefix)
    settings = load_settings(
        tmp_path / "none", data_dir=str(tmp_path), partitions=PARTITIONS, topic_prefix=topic_prefix, embed_messages=messages
    )
    target = Target(settings, services.kafka_bootstrap, NOWHERE)
    await create_topics(services.kafka_bootstrap, topics)
    async with Bench.open(services.kafka_bootstrap, topics, WordLlamaEmbedder(), tmp_path) as bench:
        for topic in (topics.events, topics.events, topics.conversation, topics.conversation, topics.conversation):
            await kafka.send_to_owner(bench.producer, topic, PARTITIONS, OWNER, b"any", [])
        partition, seen = partition_of(OWNER, PARTITIONS), [(await look(target)).agents["embed"]]
        for group, topic, done in (
            ("embed", topics.events, 0),
            ("embed", topics.events, 1),
            (EMBED_MESSAGES, topics.conversation, 3),
        ):
            await bench.commit(group, TopicPartition(topic, partition), done)
            seen.append((await look(target)).agents["embed"])
    assert seen == lags
