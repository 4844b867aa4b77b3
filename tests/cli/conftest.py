"""One running set for the commands' tests, with the stand-in as its model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.local.services import LocalServices
from tests.cli.support import Cli, Inside, up
from tests.services import temporary_data_dir
from tests.standin.live import LiveStandin, serving, turn

SICK = "I keep bees on the roof."
LATER = "My hives hold forty thousand bees."
SPOKEN = {
    "I moved to Lima in spring.": "User moved to Lima in spring",
    "I am afraid of heights.": "User is afraid of heights",
    "I sing in a choir on Mondays.": "User sings in a choir on Mondays",
    "Canto en un coro los lunes.": "El usuario canta en un coro los lunes",
    "My badge number is 7731.": "User's badge number is 7731",
    "I paint small boats [in oil].": "User paints small boats [in oil]",
    SICK: "User keeps bees on the roof",
    LATER: "User's hives hold forty thousand bees",
}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Commands in an empty folder, where nothing runs."""
    return Cli(tmp_path)


@pytest.fixture
def inside(running: Cli) -> Inside:
    """Commands on what runs, in this process."""
    return Inside(running.cwd, running.environment)


@pytest.fixture(scope="session")
def standin() -> Iterator[LiveStandin]:
    with serving(*(turn(said, fact) for said, fact in SPOKEN.items())) as live:
        yield live


@pytest.fixture(scope="package")
def running(standin: LiveStandin) -> Iterator[Cli]:
    """Commands in a folder on whose data ``emberlog up`` runs, on embedded services."""
    folder = temporary_data_dir()
    folder.mkdir(mode=0o755)
    environment = {"VLLM_BASE_URL": standin.base_url, "VLLM_MODEL": "standin", "EMBERLOG_MODEL_ATTEMPTS": "1"}
    here = Cli(folder, environment)
    try:
        with up(here):
            yield here
    finally:
        LocalServices(folder / ".emberlog").destroy()
        shutil.rmtree(folder, ignore_errors=True)
