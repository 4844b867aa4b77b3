"""Fixtures of the whole line. Services come from ``tests.services``; topics, databases and processes are each line's own."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from ops.keys import audit_key
from ops.local.addresses import ServiceAddresses
from tests.line.support.line import Line, running
from tests.line.support.standin import StandinServer

MakeLine = Callable[..., Line]


@pytest.fixture(scope="session")
def standin() -> Iterator[StandinServer]:
    """The stand-in endpoint, one for all lines; whoever teaches or controls it uses texts of their own."""
    server = StandinServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One audit key for all lines: digests of two of them can be compared."""
    folder = tmp_path_factory.mktemp("line-keys")
    audit_key(folder)
    return folder / "keys"


@pytest.fixture(scope="session")
def make_line(tmp_path_factory: pytest.TempPathFactory, keys: Path, standin: StandinServer) -> MakeLine:
    """``make_line(services, standin=…, settings=…)``: a line that does not run yet; start it with ``running``."""

    def make(services: ServiceAddresses, **options: object) -> Line:
        folder = tmp_path_factory.mktemp("line")
        shutil.copytree(keys, folder / "data" / "keys")
        return Line(services, folder, options.pop("standin", standin), **options)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
async def line(services: ServiceAddresses, make_line: MakeLine) -> AsyncIterator[Line]:
    """The line that tests share which break nothing; each uses owners of its own."""
    async with running(make_line(services)) as started:
        yield started
