"""The processes of the line connect to the configured services and to nothing else, with telemetry variables unset."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from psycopg.conninfo import conninfo_to_dict

from ops.local.addresses import ServiceAddresses
from ops.local.paths import cache_dir
from ops.local.services import LocalServices
from tests.line.conftest import MakeLine
from tests.line.support.generator import generate
from tests.line.support.line import Line
from tests.line.support.proof import prove_exactly_once
from tests.services import temporary_data_dir

HOOK = Path(__file__).with_name("support") / "hook"
TELEMETRY = ("MEM0_TELEMETRY", "MEM0_DIR", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "TRANSFORMERS_OFFLINE", "DO_NOT_TRACK")
SAMPLE_S = 0.02
LOCAL_PROGRAMS = {"file", "uname"}
"""What the standard library's ``platform`` runs when a client library asks what machine this is."""


@dataclass
class Watched:
    """A line whose processes note where they connect to, and refuse what is not allowed."""

    line: Line
    allowed: list[str]
    notes_file: Path
    environment: dict[str, str]
    seen: set[str] = field(default_factory=set)
    """Remote ends of the processes' sockets, looked at from outside."""

    def notes(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.notes_file.read_text().splitlines()]

    @contextlib.asynccontextmanager
    async def sampling(self) -> AsyncIterator[None]:
        """Look at the open sockets of the processes again and again."""

        async def sample() -> None:
            while True:
                for process in self.line.processes:
                    with contextlib.suppress(psutil.Error):
                        for connection in psutil.Process(process.process.pid).net_connections("inet"):
                            if connection.raddr:
                                self.seen.add(f"{connection.raddr.ip}:{connection.raddr.port}")
                await asyncio.sleep(SAMPLE_S)

        task = asyncio.create_task(sample())
        try:
            yield
        finally:
            task.cancel()


def _database(dsn: str) -> str:
    parts = conninfo_to_dict(dsn)
    host = str(parts["host"])
    return host if host.startswith("/") else f"{host}:{parts.get('port', 5432)}"


@pytest.fixture
async def watched(services: ServiceAddresses, make_line: MakeLine, tmp_path: Path) -> AsyncIterator[Watched]:
    line = make_line(services)
    await line.prepare()
    allowed = [services.kafka_bootstrap, _database(line.dsn), f"127.0.0.1:{line.standin.port}"]
    notes = tmp_path / "connections"
    environment = {
        "PYTHONPATH": str(HOOK),
        "EMBERLOG_TEST_CONNECTIONS": str(notes),
        "EMBERLOG_TEST_ALLOWED": json.dumps(allowed),
    }
    yield Watched(line, allowed, notes, environment)
    await line.close()


@pytest.mark.slow
async def test_worker_and_projector_connect_to_the_configured_services_only(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in TELEMETRY:
        monkeypatch.delenv(name, raising=False)
    line, batch = watched.line, generate(17, 12, owners=4, label="n")
    line.standin.teach(batch.recording())
    async with watched.sampling():
        await line.start("worker", "project", environment=watched.environment, plain=True)
        await line.publish([turn.inbox() for turn in batch.turns])
        await line.settled([turn.turn_id for turn in batch.turns])
        await asyncio.gather(*(asyncio.to_thread(process.close) for process in line.processes))
    await prove_exactly_once(line, batch.turns)

    notes = watched.notes()
    assert {n["pid"] for n in notes} == {p.process.pid for p in line.processes}
    assert [n for n in notes if not n["allowed"]] == []
    reached = {n["target"] for n in notes if n["event"] == "socket.connect"}
    assert {line.services.kafka_bootstrap, f"127.0.0.1:{line.standin.port}"} <= reached <= set(watched.allowed)
    assert watched.seen <= set(watched.allowed)
    assert line.services.kafka_bootstrap in watched.seen
    programs = {
        Path(n["target"]).name for n in notes if n["event"] in ("subprocess.Popen", "os.system", "os.posix_spawn", "os.exec")
    }
    assert programs <= LOCAL_PROGRAMS


@pytest.mark.parametrize(
    ("code", "target"),
    [
        ("import socket; socket.create_connection(('192.0.2.1', 443), 1)", "192.0.2.1"),
        ("import urllib.request as u; u.urlopen('http://telemetry.invalid/', timeout=1)", "telemetry.invalid"),
        ("import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))", "192.0.2.1:53"),
        ("import asyncio; asyncio.run(asyncio.open_connection('192.0.2.1', 443))", "192.0.2.1:443"),
    ],
)
def test_the_watch_sees_and_refuses_a_connection_outside(code: str, target: str, tmp_path: Path) -> None:
    notes = tmp_path / "connections"
    hooked = {"PYTHONPATH": str(HOOK), "EMBERLOG_TEST_CONNECTIONS": str(notes), "EMBERLOG_TEST_ALLOWED": '["127.0.0.1:9"]'}
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **hooked}, capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    assert "none of the configured services" in done.stderr
    refused = [json.loads(text) for text in notes.read_text().splitlines()]
    assert [n["target"] for n in refused if not n["allowed"]] == [target]


def _no_network_possible() -> str | None:
    """Why a program cannot be run without a network here; None where it can."""
    if os.geteuid() != 0:
        return "making a network namespace needs root"
    if not shutil.which("unshare") or not shutil.which("ip"):
        return "unshare and ip are needed"
    trial = subprocess.run(["unshare", "--net", "ip", "link", "set", "lo", "up"], capture_output=True, check=False)
    return None if trial.returncode == 0 else "this kernel makes no network namespace"


@pytest.mark.slow
def test_the_whole_demo_runs_without_any_network_but_loopback() -> None:
    why_not = _no_network_possible()
    if why_not:
        pytest.skip(why_not)
    data_dir = temporary_data_dir()
    ours = ("EMBERLOG_", "VLLM_", "EMBEDDING_", "MEMORY_", "GRAPH_", "REDIS_")
    environment = {k: v for k, v in os.environ.items() if k not in TELEMETRY and not k.startswith(ours)}
    environment |= {"EMBERLOG_DATA_DIR": str(data_dir), "EMBERLOG_CACHE_DIR": str(cache_dir()), "NO_COLOR": "1"}
    alone = 'ip link set lo up && test "$(ip -o link | wc -l)" = 1 && exec "$@"'
    demo = [sys.executable, "-P", "-m", "ops.cli.main", "demo"]
    try:
        done = subprocess.run(
            ["unshare", "--net", "sh", "-c", alone, "sh", *demo], env=environment, capture_output=True, text=True, timeout=240
        )
    finally:
        for folder in (data_dir, data_dir / "demo"):
            if folder.is_dir():
                LocalServices(folder).destroy()
        shutil.rmtree(data_dir, ignore_errors=True)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
