"""A corner of real services with topics and tables made, and a data folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.forgetting.stores import Places
from ops.keys import audit_key, check_key
from ops.local.addresses import ServiceAddresses
from projections import generation
from projections.view import ViewSettings
from projections.views import build_views
from schemas.topics import Topics
from streams.setup import create_state_tables, create_topics


@pytest.fixture
async def places(services: ServiceAddresses, fresh_database: str, topic_prefix: str, tmp_path: Path) -> Places:
    topics, key = Topics(partitions=2, prefix=topic_prefix), audit_key(tmp_path)
    await create_topics(services.kafka_bootstrap, topics)
    await create_state_tables(fresh_database)
    await check_key(fresh_database, "audit", key)
    await generation.install(fresh_database, list(build_views(ViewSettings(topics, key)).values()))
    return Places(services.kafka_bootstrap, fresh_database, topics, tmp_path)
