"""A stand-in served over real HTTP by uvicorn, in a thread of the test process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn

from ops.standin.app import create_app
from ops.standin.recording import RecordedFact, RecordedTurn, Recording


@dataclass(frozen=True, slots=True)
class LiveStandin:
    """Where it listens, and its controls."""

    url: str

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def control(self, **options: Any) -> None:
        httpx.post(f"{self.url}/control", json=options, trust_env=False).raise_for_status()

    def stats(self) -> dict[str, int]:
        answer: dict[str, int] = httpx.get(f"{self.url}/stats", trust_env=False).json()
        return answer

    def wait_for(self, counter: str, value: int, deadline_s: float = 10.0) -> None:
        end = time.monotonic() + deadline_s
        while self.stats()[counter] < value:
            assert time.monotonic() < end, f"{counter} did not reach {value}: {self.stats()}"
            time.sleep(0.01)


CALM: dict[str, Any] = {
    "reset_stats": True,
    "latency_s": 0.0,
    "embedding_latency_s": 0.0,
    "error_rate": 0.0,
    "timeout_rate": 0.0,
    "malformed_rate": 0.0,
    "malformed_kind": "truncated",
    "overrides": {},
    "embedding_overrides": {},
    "embedding_dimensions": 256,
    "seed": 0,
}


def turn(text: str, *facts: str | RecordedFact, date: str | None = None) -> RecordedTurn:
    """A recorded turn in one line."""
    made = tuple(f if isinstance(f, RecordedFact) else RecordedFact(f) for f in facts)
    return RecordedTurn(turn=text, text=text, date=date, facts=made)


@contextmanager
def serving(*turns: RecordedTurn) -> Iterator[LiveStandin]:
    """Serve recorded turns until the block ends."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        create_app(Recording(turns)), log_level="critical", access_log=False, lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started:
            assert time.monotonic() < deadline, "the stand-in did not start"
            time.sleep(0.005)
        yield LiveStandin(f"http://127.0.0.1:{listener.getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
        assert not thread.is_alive(), "the stand-in did not stop"
