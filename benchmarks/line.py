"""The line under measurement: embedded services in a temporary folder, a worker, a projector and the stand-in as processes.

    with running_line(recording, progress) as line:
        ... line.bootstrap, line.dsn, line.topics, line.settings ...

The environment's own Emberlog settings and a ``.env`` play no part, so that every run measures the defaults. What it starts ends
with it, also when it is killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.harness import Failed, Progress
from ops.cli.runset import RunningSet
from ops.local import process
from ops.local.paths import cache_dir
from ops.settings import Settings, env_name, load_settings
from ops.standin.recording import RecordedTurn, save_recording
from schemas.topics import Topics

STANDIN_READY_S = 60.0
STOP_STEPS = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
LOG_LINES = 12


@dataclass(frozen=True, slots=True)
class Line:
    """Addresses of the running line. ``standin`` is the stand-in's address without /v1."""

    settings: Settings
    bootstrap: str
    dsn: str
    standin: str
    folder: Path

    @property
    def topics(self) -> Topics:
        return self.settings.topics


@contextmanager
def running_line(
    recording: Sequence[RecordedTurn], progress: Progress, environment: Mapping[str, str] | None = None
) -> Iterator[Line]:
    """Start it all over a new folder, stop and delete it all at the end. ``environment`` adds settings, by variable."""
    cache = str(cache_dir().resolve())
    folder = Path(tempfile.mkdtemp(prefix="emberlog-bench-"))
    before, here = dict(os.environ), Path.cwd()
    port = _free_port()
    try:
        os.chdir(folder)
        for field in Settings.model_fields.values():
            os.environ.pop(env_name(field), None)
        address = f"http://127.0.0.1:{port}"
        own = {
            "EMBERLOG_DATA_DIR": str(folder / "data"),
            "EMBERLOG_CACHE_DIR": cache,
            "EMBERLOG_LOG_LEVEL": "warning",
            "VLLM_BASE_URL": f"{address}/v1",
            "VLLM_MODEL": "emberlog-standin",
        }
        os.environ.update(own, **(environment or {}))
        settings = load_settings()
        with _standin(recording, port, folder, address), RunningSet(settings, progress.say) as running:
            try:
                yield Line(settings, running.target.bootstrap, running.target.dsn, address, folder)
            except Failed as failure:
                raise Failed(f"{failure}\n{_log_tails(folder / 'data' / 'logs')}") from failure
    finally:
        os.chdir(here)
        os.environ.clear()
        os.environ.update(before)
        _remove(folder)


@contextmanager
def _standin(recording: Sequence[RecordedTurn], port: int, folder: Path, address: str) -> Iterator[None]:
    path, log = folder / "recording.json", folder / "standin.log"
    save_recording(list(recording), path)
    command = [sys.executable, "-P", "-m", "ops.standin", "--port", str(port), "--recording", str(path)]
    started = process.spawn(
        command, marker=("--recording", str(path)), log=log, cwd=folder, environment=os.environ, death_signal=signal.SIGTERM
    )
    try:
        deadline = time.monotonic() + STANDIN_READY_S
        while not _answers(f"{address}/v1/models"):
            if not started.alive() or time.monotonic() > deadline:
                raise Failed(f"the stand-in does not answer: {_tail(log)}")
            time.sleep(0.05)
        yield
    finally:
        process.stop(started, STOP_STEPS)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:]) if log.exists() else "(no log)"


def _log_tails(folder: Path) -> str:
    return "\n".join(f"{log.name}: {_tail(log)}" for log in sorted(folder.glob("*.log")))


def _remove(folder: Path) -> None:
    from ops.local.services import LocalServices

    # the embedded database may live outside the folder (run by root, it belongs to a user of its own)
    LocalServices(folder / "data").destroy()
    shutil.rmtree(folder, ignore_errors=True)
