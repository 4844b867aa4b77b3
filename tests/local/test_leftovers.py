"""What a killed run leaves behind is recognised, used or cleaned up, and nothing else is touched."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ops.local import process
from ops.local.process import ProcessId
from ops.local.services import LocalServices
from tests.local.support import all_gone, eventually, start_and_kill_the_starter


def recorded(data_dir: Path) -> list[ProcessId]:
    stored = json.loads((data_dir / "services.json").read_text())["processes"]
    return [ProcessId.from_json(entry) for entry in stored.values()]


def test_services_end_when_the_program_that_started_them_is_killed(data_dir: Path) -> None:
    start_and_kill_the_starter(data_dir, die=True)
    left = recorded(data_dir)
    assert len(left) == 3
    eventually(lambda: all_gone(left), deadline_s=60, what="the services end with their starter")
    steps: list[str] = []
    services = LocalServices(data_dir)
    services.start(on_step=steps.append)
    assert "kafka: an earlier run was killed, clearing what it left" in steps
    assert services.status() == {"kafka": "healthy", "postgres": "healthy", "redis": "healthy"}


@pytest.mark.slow
def test_services_that_outlive_a_killed_program_are_used_again_or_ended_where_no_record_names_them(data_dir: Path) -> None:
    bootstrap = start_and_kill_the_starter(data_dir, die=False)
    left = recorded(data_dir)
    second = LocalServices(data_dir)
    assert second.start().kafka_bootstrap == bootstrap
    assert second.started_here == set()

    (data_dir / "services.json").write_text('{"processes": ')  # cut off in the middle
    steps: list[str] = []
    third = LocalServices(data_dir)
    third.start(on_step=steps.append)
    assert all_gone(left)
    assert sum("left by a killed run" in step for step in steps) == 3
    assert third.status() == {"kafka": "healthy", "postgres": "healthy", "redis": "healthy"}


def test_a_service_that_does_not_answer_is_replaced(running: LocalServices, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = running.postgres.process
    assert frozen is not None
    process.send(frozen, signal.SIGSTOP)
    monkeypatch.setattr(running.postgres, "patience_s", 2)
    monkeypatch.setattr(running.postgres, "stop_steps", ((signal.SIGINT, 0.1), (signal.SIGKILL, 10.0)))
    steps: list[str] = []
    running.start(on_step=steps.append)
    assert f"postgres of an earlier run does not answer: ending process {frozen.pid}" in steps
    assert not frozen.alive()
    assert running.postgres.healthy()


@pytest.fixture
def bystander() -> Iterator[psutil.Process]:
    """Some other program of this user."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    found = psutil.Process(child.pid)
    eventually(lambda: "-c" in found.cmdline(), deadline_s=10, what="the program has its own arguments")
    yield found
    child.kill()
    child.wait()


@pytest.mark.parametrize("started", ["its own", "long ago"])
def test_a_process_that_was_given_a_recorded_pid_is_not_killed(data_dir: Path, bystander: psutil.Process, started: str) -> None:
    services = LocalServices(data_dir)
    time_s = process.start_time(bystander) if started == "its own" else 1_000_000_000.0
    entry = {"pid": bystander.pid, "started": time_s}
    data_dir.mkdir()
    state = {
        "processes": {
            "kafka": {**entry, "marker": list(services.kafka.marker)},
            "postgres": {**entry, "marker": list(services.postgres.marker)},
            "redis": {**entry, "marker": list(services.redis.marker)},
        },
        "kafka_port": 1,
        "kafka_controller_port": 2,
    }
    services.state_file.write_text(json.dumps(state))
    assert not services.stop()
    assert bystander.is_running()
    assert services.kafka.process is None


def test_only_the_same_start_time_and_arguments_make_a_process_the_recorded_one(bystander: psutil.Process) -> None:
    marker = ("-c", "import time; time.sleep(600)")
    true_id = ProcessId(bystander.pid, process.start_time(bystander), marker)
    assert true_id.alive()
    assert not ProcessId(bystander.pid, process.start_time(bystander) - 60, marker).alive()
    assert not ProcessId(bystander.pid, process.start_time(bystander), ("kafka.Kafka", marker[1])).alive()
    assert not process.send(ProcessId(bystander.pid, 1.0, marker), signal.SIGKILL)
    assert bystander.is_running()


@pytest.mark.skipif(sys.platform != "linux", reason="without /proc a start is known by the time of day only")
def test_a_process_is_the_recorded_one_also_after_the_clock_was_set(
    bystander: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = ("-c", "import time; time.sleep(600)")
    recorded, shown = ProcessId(bystander.pid, process.start_time(bystander), marker), bystander.create_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: 1_000_000_000.0)
    assert psutil.Process(bystander.pid).create_time() != shown, "by the time of day it is another one"
    assert recorded.alive()
    assert [found for found in process.find_by_marker(marker) if found.pid == bystander.pid] == [recorded]


def test_an_editor_with_the_configuration_open_is_not_taken_for_the_broker(data_dir: Path) -> None:
    services = LocalServices(data_dir)
    data_dir.mkdir()
    config = services.kafka.marker[1]
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", config]) as reader:
        try:
            assert process.find_by_marker(services.kafka.marker) == []
            assert not services.stop()
            assert reader.poll() is None
        finally:
            reader.kill()
