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


@pytest.fixture(scope="module")
def running() -> Iterator[LocalServices]:
    """One running set for the tests of a file, which leave it running; those that kill a service do it behind the set's back."""
    services = LocalServices(temporary_data_dir())
    try:
        services.start()
        yield services
    finally:
        services.destroy()
