"""Making everything that a deployment needs: the vector extension, topics, tables of the decider and of the views, key checks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import psycopg

from ops.keyring import SetupError, set_up_keys
from ops.keys import check_key
from ops.settings import Settings
from ops.view_settings import view_settings
from projections import generation
from projections.view import ViewSettings
from projections.views import build_views
from streams.setup import create_state_tables, create_topics


@dataclass(frozen=True, slots=True)
class SetUp:
    """What a setup found or made: topics that are new, views that are installed. ``advice``: what the operator should change."""

    new_topics: tuple[str, ...]
    views: tuple[str, ...]
    advice: tuple[str, ...] = ()


async def set_up(settings: Settings, bootstrap: str, dsn: str) -> SetUp:
    """Make what is missing; repeating it does no harm.

    Raises SetupError, KeyFileError (keys of another installation), MasterKeyMissing, streams.setup.TopicsDiffer.
    """
    views = view_settings(settings)
    topics = asyncio.create_task(create_topics(bootstrap, settings.topics))
    tables, keys = asyncio.create_task(_tables(dsn, views)), asyncio.create_task(set_up_keys(settings, dsn))
    try:
        made, installed, advice = await asyncio.gather(topics, tables, keys)
    finally:
        # where one fails the others come to their end: a connection that is torn while it is made stays open
        await asyncio.wait([topics, tables, keys])
    return SetUp(tuple(made), installed, advice)


async def _tables(dsn: str, settings: ViewSettings) -> tuple[str, ...]:
    await _extension(dsn)
    await check_key(dsn, "audit", settings.audit_key)
    await create_state_tables(dsn)
    views = build_views(settings)
    await generation.install(dsn, list(views.values()))
    return tuple(views)


async def _extension(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        found = await connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'")
        if await found.fetchone():
            return
        try:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except psycopg.errors.InsufficientPrivilege:
            raise SetupError("the database lacks the extension vector: run CREATE EXTENSION vector as its superuser") from None
        except (psycopg.errors.UndefinedFile, psycopg.errors.FeatureNotSupported):
            raise SetupError(
                "PostgreSQL lacks pgvector: install it on the server, or use the image pgvector/pgvector:pg16"
            ) from None
