"""The spec of keys and directory, of the key store in Postgres and of the one in memory."""

from __future__ import annotations

import pytest

from ops.keys.database import KeyDatabase
from ops.keys.destroying import Destroyer
from ops.keys.directory import PostgresDirectory
from ops.keys.store import PostgresKeys
from tests.keys.memory import MemoryKeys
from tests.keys.spec import Bench, DirectorySpec, KeysSpec


class TestPostgresKeys(KeysSpec, DirectorySpec):
    @pytest.fixture
    def bench(self, database: KeyDatabase) -> Bench:
        return Bench(PostgresKeys(database), PostgresDirectory(database), Destroyer(database))


class TestMemoryKeys(KeysSpec, DirectorySpec):
    @pytest.fixture
    def bench(self) -> Bench:
        store = MemoryKeys(strict=True)
        return Bench(store, store, store)
