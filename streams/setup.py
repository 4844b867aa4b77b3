"""Making what the write side needs: topics and the decider's tables. Both are safe to repeat."""

from __future__ import annotations

import psycopg
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from schemas.topics import Topics
from streams.protocol.store import TABLES


class TopicsDiffer(RuntimeError):
    """A topic exists with another number of partitions than configured."""


MAX_REPLICAS = 3


async def create_topics(bootstrap: str, topics: Topics) -> list[str]:
    """Create the topics that are missing; their names. Replicated three times, or as often as there are brokers.

    Raises TopicsDiffer where one exists with other partitions: more partitions means a new topic generation.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="emberlog-setup")
    await admin.start()
    try:
        specs = {spec.name: spec for spec in topics.specs()}
        present = {t["topic"]: len(t["partitions"]) for t in await admin.describe_topics() if t["topic"] in specs}
        for name, partitions in present.items():
            if partitions != specs[name].partitions:
                raise TopicsDiffer(
                    f"topic {name} has {partitions} partitions, the settings say {specs[name].partitions}: set"
                    f" EMBERLOG_PARTITIONS={partitions}, or use another EMBERLOG_TOPIC_PREFIX for a new generation of topics"
                )
        missing = [spec for name, spec in specs.items() if name not in present]
        if not missing:
            return []
        replicas = min(MAX_REPLICAS, len((await admin.describe_cluster())["brokers"]))
        response = await admin.create_topics([NewTopic(s.name, s.partitions, replicas, topic_configs=s.config) for s in missing])
        for error in response.topic_errors:
            kind = for_code(error[1])
            if error[1] and kind is not TopicAlreadyExistsError:
                raise kind(f"topic {error[0]} could not be created: {error[2] if len(error) > 2 else ''}")
        return [s.name for s in missing]
    finally:
        await admin.close()


async def create_state_tables(dsn: str) -> None:
    """Create the decider's tables where they are missing."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn, conn.transaction():
        # two set-ups at once would otherwise both find a table missing
        await conn.execute("SELECT pg_advisory_xact_lock(hashtext('emberlog_decider_tables'))")
        await conn.execute(TABLES.encode())
