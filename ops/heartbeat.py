"""The heartbeat of a projector: how its runners are, every few seconds, in a file that a probe reads.

The file is JSON: ``at``, ``healthy`` and the runners' standing by view. While all are well it is as new as the last beat. When
one is not, its time stays that of the last good beat and its text says why, so a probe may go by its age alone.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:  # a probe reads the file every few seconds and must cost little
    from projections.progress import Standing
    from projections.runner import ProjectionRunner

BEAT_S = 2.0
SILENT_S = 20.0
"""A file that is older, by what it says itself, is a dead or frozen process's."""

OnBeat = Callable[[Mapping[str, "Standing"]], None]


@asynccontextmanager
async def beating(runners: Sequence[ProjectionRunner], stalled_s: float, on_beat: OnBeat | None) -> AsyncIterator[None]:
    """Tell ``on_beat`` how the runners are, by view, until the block ends."""
    if on_beat is None:
        yield
        return

    async def beat() -> None:
        while True:
            with suppress(OSError):  # a file that cannot be written grows old, which says enough
                on_beat({runner.view.name: runner.progress.standing(stalled_s) for runner in runners})
            await asyncio.sleep(BEAT_S)

    task = asyncio.create_task(beat(), name="heartbeat")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class HealthFile:
    """The file at ``path``; ``write`` is for ``beating``."""

    def __init__(self, path: Path) -> None:
        self._path, self._good = path, time.time()

    def write(self, standings: Mapping[str, Standing]) -> None:
        """Write it anew, as a whole."""
        healthy, now = all(standing.healthy for standing in standings.values()), time.time()
        self._good = now if healthy else self._good
        views = {name: asdict(standing) for name, standing in standings.items()}
        document = {"at": datetime.fromtimestamp(now, UTC).isoformat(), "healthy": healthy, "views": views}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_name(self._path.name + ".new")
        new.write_bytes(orjson.dumps(document))
        os.utime(new, (self._good, self._good))
        new.replace(self._path)

    def remove(self) -> None:
        """The process ends."""
        self._path.unlink(missing_ok=True)


def judged(path: Path) -> tuple[bool, list[str]]:
    """Whether the projector that writes ``path`` is well, and what to say of it."""
    try:
        document = orjson.loads(path.read_bytes())
        age = time.time() - datetime.fromisoformat(document["at"]).timestamp()
    except FileNotFoundError:
        return False, [f"no projector writes {path}: it has not begun, or it has ended"]
    except (ValueError, KeyError, TypeError):
        return False, [f"{path} is no health file of a projector"]
    lines = [f"{name}: {view['words']}" for name, view in document["views"].items()]
    if age > SILENT_S:
        return False, [f"the projector has not written {path} for {age:.0f} s: it is dead or frozen", *lines]
    return bool(document["healthy"]), lines
