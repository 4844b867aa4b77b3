"""Sets of embedded services in temporary folders, removed with their data when their test ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.local.services import LocalServices
from tests.services import temporary_data_dir


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A folder for one set; whatever still runs over it at the end is stopped."""
    folder = temporary_data_dir()
    yield folder
    LocalServices(folder).destroy()


@pytest.fixture(scope="package")
def running() -> Iterator[LocalServices]:
    """One running set for the tests of this folder, which leave it running, after whatever they do to it."""
    services = LocalServices(temporary_data_dir())
    try:
        services.start()
        yield services
    finally:
        services.destroy()
