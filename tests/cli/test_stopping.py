"""How a running set ends: by signals at any moment, and by being killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess

import psutil
import pytest

from ops.local.services import LocalServices
from tests.cli.support import EMBERLOG, Cli, until
from tests.services import temporary_data_dir


@pytest.mark.slow
def test_killing_up_leaves_no_process_behind(running: Cli) -> None:
    """Another set, beside the running one, killed hard: its children end by themselves."""
    folder = running.cwd / "other"
    folder.mkdir()
    other = Cli(folder, running.environment)
    log = (folder / "up.log").open("wb")
    process = subprocess.Popen(
        [EMBERLOG, "up"], cwd=folder, env=other.variables(), stdout=log, stderr=log, start_new_session=True
    )
    try:
        until(lambda: b"Emberlog is running" in (folder / "up.log").read_bytes() or process.poll() is not None, 90)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 4
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        _, alive = psutil.wait_procs(family, timeout=30)
        assert alive == []
        assert "nothing runs on" in other.fails("status", code=3)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        log.close()
        LocalServices(folder / ".emberlog").destroy()


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["starting kafka", "creating topics", "starting worker"])
def test_up_that_is_stopped_while_it_starts_leaves_nothing_behind(moment: str) -> None:
    folder = temporary_data_dir()
    folder.mkdir(mode=0o755)
    here = Cli(folder)
    log = folder / "up.log"
    try:
        with log.open("wb") as out:
            process = subprocess.Popen([EMBERLOG, "up"], cwd=folder, env=here.variables(), stdout=out, stderr=out)
            until(lambda: moment in log.read_text() or process.poll() is not None, 60, log.read_text)
            process.send_signal(signal.SIGINT)
            until(lambda: process.poll() is not None, 60, log.read_text)
            assert process.returncode == 0, log.read_text()
        assert "stopped; the data stays" in log.read_text()
        assert set(LocalServices(folder / ".emberlog").status().values()) == {"stopped"}
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        LocalServices(folder / ".emberlog").destroy()
        shutil.rmtree(folder, ignore_errors=True)
