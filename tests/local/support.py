"""Helpers for tests of embedded services: sets in temporary folders, and programs that are killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ops.local.process import ProcessId

ROOT = Path(__file__).resolve().parents[2]
STARTER = """
import sys, time
from pathlib import Path
from ops.local.services import LocalServices
services = LocalServices(Path(sys.argv[1]), die_with_parent=sys.argv[2] == "die")
services.start()
print(services.addresses.kafka_bootstrap, flush=True)
time.sleep(600)
"""


def eventually(condition: Callable[[], bool], *, deadline_s: float, what: str) -> None:
    """Wait until `condition` holds; fails the test, naming `what`, after `deadline_s` seconds."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(0.02)


def start_and_kill_the_starter(data_dir: Path, *, die: bool) -> str:
    """Start a set from a program of its own, SIGKILL that program, return the broker's address."""
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(data_dir), "die" if die else "live"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert starter.stdout is not None
        bootstrap = starter.stdout.readline().strip()
        assert bootstrap, "the starter ended before its services were ready"
    finally:
        starter.kill()
        starter.communicate()
    return bootstrap


def all_gone(processes: list[ProcessId]) -> bool:
    return not any(found.alive() for found in processes)
