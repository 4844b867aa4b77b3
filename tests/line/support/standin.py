"""The stand-in endpoint over real HTTP in a thread of the test process: can be taught, controlled, stopped and started again."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable
from typing import Any

import httpx
import uvicorn

from ops.standin.app import Standin, create_app
from ops.standin.recording import RecordedTurn, Recording

HOST = "127.0.0.1"


class StandinServer:
    """One endpoint on one port, kept over ``stop`` and ``start``."""

    def __init__(self) -> None:
        self._turns: list[RecordedTurn] = []
        self._app = create_app()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.port = int(probe.getsockname()[1])

    @property
    def base_url(self) -> str:
        return f"http://{HOST}:{self.port}/v1"

    @property
    def _standin(self) -> Standin:
        standin: Standin = self._app.state.standin
        return standin

    def teach(self, turns: Iterable[RecordedTurn]) -> None:
        """Record more turns."""
        self._turns.extend(turns)
        self._standin.recording = Recording(tuple(self._turns))

    def control(self, **options: Any) -> None:
        """Change options through the endpoint itself, as an operator of the stand-in would."""
        httpx.post(f"http://{HOST}:{self.port}/control", json=options, trust_env=False).raise_for_status()

    def count(self, name: str) -> int:
        """One of the endpoint's counters."""
        return self._standin.report()[name]

    def start(self) -> None:
        """Listen on the port."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, self.port))
        config = uvicorn.Config(
            self._app, log_level="critical", access_log=False, lifespan="off", timeout_graceful_shutdown=1, ws="none"
        )
        self._server = server = uvicorn.Server(config)

        def serve() -> None:
            server.run(sockets=[listener])
            listener.close()

        self._thread = threading.Thread(target=serve, daemon=True, name="stand-in")
        self._thread.start()
        end = time.monotonic() + 10
        while not server.started:
            assert time.monotonic() < end, "the stand-in did not start"
            time.sleep(0.005)

    def stop(self) -> None:
        """Stop listening: from now on connections are refused."""
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive(), "the stand-in did not stop"
        self._server = self._thread = None
