"""The real command line, with an environment that holds nothing of the developer's: in processes of its own, or in this one."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ops.cli.main import main
from ops.keyring import open_keys
from ops.local.addresses import ServiceAddresses
from ops.local.services import LocalServices
from ops.settings import load_settings
from schemas.owner import Owner

EMBERLOG = Path(sys.executable).with_name("emberlog")
OURS = ("EMBERLOG_", "VLLM_", "EMBEDDING_", "MEMORY_", "GRAPH_", "REDIS_")
CONTROL_CODES = re.compile(r"\x1b|\r")
READY_S = 90.0


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Cli:
    """Runs commands in folder ``cwd`` with ``environment`` beside what any program gets."""

    cwd: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def variables(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        cache = {"EMBERLOG_CACHE_DIR": os.environ["EMBERLOG_CACHE_DIR"]} if "EMBERLOG_CACHE_DIR" in os.environ else {}
        return {**inherited, **cache, **self.environment}

    def run(self, *arguments: str, input: bytes | None = None, timeout: float = 120.0) -> Done:
        """Run ``emberlog ARGUMENTS`` to its end."""
        done = subprocess.run(
            [EMBERLOG, *arguments],
            cwd=self.cwd,
            env=self.variables(),
            input=input if input is not None else b"",
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def ok(self, *arguments: str, input: bytes | None = None) -> Done:
        """``run`` that insists on success, and on output that a pipe can take."""
        done = self.run(*arguments, input=input)
        assert done.code == 0, f"{arguments}: exit {done.code}\n{done.out}\n{done.err}"
        assert not CONTROL_CODES.search(done.out + done.err), f"{arguments}: control codes without a terminal"
        return done

    def fails(self, *arguments: str, code: int, input: bytes | None = None) -> str:
        """``run`` that insists on exit code ``code`` and a clear error; the error."""
        done = self.run(*arguments, input=input)
        assert done.code == code, f"{arguments}: exit {done.code} instead of {code}\n{done.out}\n{done.err}"
        assert "Traceback" not in done.err, done.err
        return done.err


class Inside(Cli):
    """The same in this process, without the second that a process needs to start."""

    def run(self, *arguments: str, input: bytes | None = None, timeout: float = 120.0) -> Done:
        """Run ``emberlog ARGUMENTS`` to its end; ``timeout`` is not kept."""
        out, err = io.StringIO(), io.StringIO()
        given = io.TextIOWrapper(io.BytesIO(input or b""))
        with (
            chdir(self.cwd),
            patch.dict(os.environ, self.variables(), clear=True),
            patch.multiple(sys, argv=["emberlog", *arguments], stdin=given, stdout=out, stderr=err),
        ):
            try:
                main()
                code: Any = 0
            except SystemExit as end:
                code = end.code or 0
        assert isinstance(code, int), code
        return Done(code, out.getvalue(), err.getvalue())


def addresses(running: Cli) -> ServiceAddresses:
    """Where the services of a set are, which are up."""
    services = LocalServices(running.cwd / ".emberlog")
    assert services.status() == {"kafka": "healthy", "postgres": "healthy", "redis": "healthy"}
    return services.addresses


def reference(running: Cli, owner: str) -> str:
    """The reference in the key store of an owner who is known."""

    async def find() -> str | None:
        settings = load_settings(data_dir=running.cwd / ".emberlog")
        async with open_keys(settings, addresses(running).postgres_dsn, connections=1) as ring:
            return await ring.directory.find(Owner.parse(owner))

    found = asyncio.run(find())
    assert found is not None
    return found


@contextmanager
def up(cli: Cli, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """``emberlog up`` until the block ends, then stopped as by Ctrl-C; it must end by itself and without an error."""
    log = cli.cwd / "up.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [EMBERLOG, *options, "up"], cwd=cli.cwd, env=cli.variables(), stdout=out, stderr=out, start_new_session=True
        )
    try:
        until(lambda: "Emberlog is running" in log.read_text() or process.poll() is not None, READY_S, log.read_text)
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        code = process.wait(60)
    assert code == 0, log.read_text()


def until(condition: Any, timeout_s: float, explain: Any = lambda: "") -> None:
    """Wait until ``condition()`` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {explain()}"
        time.sleep(0.05)
