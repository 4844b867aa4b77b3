"""A key store for each test: the real one, in a database of its own."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from ops.keys.database import KeyDatabase
from ops.keys.master import LocalMasterKey, Masters


@pytest.fixture
def master() -> LocalMasterKey:
    return LocalMasterKey(secrets.token_bytes(32))


@pytest.fixture
async def database(fresh_database: str, master: LocalMasterKey) -> AsyncIterator[KeyDatabase]:
    """Nothing but "gone" is cached, so that another's changes are seen at once."""
    async with KeyDatabase(fresh_database, Masters(master), cache_s=0) as database:
        await database.prepare()
        yield database
