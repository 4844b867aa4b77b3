"""Where the processes of a line connect to; and an endpoint that refuses every connection."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from tests.line.support.line import Line
from tests.line.support.process import ROOT

HOOK = ROOT / "tests" / "line" / "support" / "hook"


@dataclass(frozen=True, slots=True)
class Watch:
    """Where the processes of a line connect to, as they note it themselves; what is not allowed is refused to them."""

    notes: Path
    environment: dict[str, str]

    def refused(self) -> list[dict[str, Any]]:
        """Calls that led elsewhere than to the services."""
        return [note for note in map(json.loads, self.notes.read_text().splitlines()) if not note["allowed"]]

    def targets(self) -> set[str]:
        """Where calls led."""
        return {note["target"] for note in map(json.loads, self.notes.read_text().splitlines())}


def watch(line: Line, notes: Path) -> Watch:
    """Let nothing but broker, databases and Redis be reached."""
    allowed = [line.bootstrap, _database(line.dsn), _database(line.keys_dsn)]
    url = line.as_settings.redis_url
    if url is not None:
        allowed.append(url.get_secret_value().partition("://")[2].rpartition("@")[2].partition("/0")[0])
    environment = {
        "PYTHONPATH": os.pathsep.join([str(HOOK), str(ROOT)]),
        "EMBERLOG_TEST_CONNECTIONS": str(notes),
        "EMBERLOG_TEST_ALLOWED": json.dumps(allowed),
    }
    return Watch(notes, environment)


def _database(dsn: str) -> str:
    parts = conninfo_to_dict(dsn)
    host = str(parts["host"])
    return host if host.startswith("/") else f"{host}:{parts.get('port', 5432)}"


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """A port that is taken and on which nobody listens: every connection is refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])
