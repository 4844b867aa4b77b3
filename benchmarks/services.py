"""Embedded broker and database in a temporary folder, with topics and tables, for benchmarks that start single parts themselves.

As for the whole line (``benchmarks.line``), the environment's own Emberlog settings play no part: every run measures defaults.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import Progress
from ops.cli.target import Target
from ops.local.paths import cache_dir
from ops.local.services import LocalServices
from ops.settings import Settings, env_name, load_settings
from ops.wiring_setup import set_up
from schemas.topics import Topics


@dataclass(frozen=True, slots=True)
class Services:
    """Addresses of what runs."""

    target: Target
    folder: Path

    @property
    def bootstrap(self) -> str:
        """Broker."""
        return self.target.bootstrap

    @property
    def dsn(self) -> str:
        """Database."""
        return self.target.dsn

    @property
    def topics(self) -> Topics:
        """Topics."""
        return self.target.topics


@contextmanager
def running_services(progress: Progress) -> Iterator[Services]:
    """Start broker and database over a new folder and set them up; stop and delete it all at the end."""
    cache = str(cache_dir().resolve())
    folder = Path(tempfile.mkdtemp(prefix="emberlog-bench-"))
    before, here = dict(os.environ), Path.cwd()
    data = folder / "data"
    services = LocalServices(data)
    try:
        os.chdir(folder)
        for field in Settings.model_fields.values():
            os.environ.pop(env_name(field), None)
        os.environ.update(EMBERLOG_DATA_DIR=str(data), EMBERLOG_CACHE_DIR=cache, EMBERLOG_LOG_LEVEL="warning")
        settings = load_settings()
        data.mkdir(parents=True, exist_ok=True)
        addresses = services.start(on_step=progress.say)
        target = Target(settings, addresses.kafka_bootstrap, addresses.postgres_dsn, "embedded services")
        asyncio.run(set_up(settings, target.bootstrap, target.dsn))
        yield Services(target, folder)
    finally:
        services.close()
        os.chdir(here)
        os.environ.clear()
        os.environ.update(before)
        services.destroy()
        shutil.rmtree(folder, ignore_errors=True)
