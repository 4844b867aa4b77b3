"""The stand-in for a model endpoint as a child process of the demo: ``python -m ops.demo.endpoint --recording FILE --port N``."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from pathlib import Path

import uvicorn

from ops.cli.serving import serve
from ops.standin.app import create_app
from ops.standin.faults import Options
from ops.standin.recording import load_recording


def main() -> None:
    """Serve recorded facts until the parent stops it."""
    parser = argparse.ArgumentParser(prog="python -m ops.demo.endpoint")
    parser.add_argument("--recording", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ready-file", type=Path, required=True)
    parser.add_argument("--with-parent", action="store_true")
    given = parser.parse_args()
    app = create_app(load_recording(given.recording), Options())

    async def work(stop: asyncio.Event, on_ready: Callable[[], None]) -> None:
        config = uvicorn.Config(app, host="127.0.0.1", port=given.port, log_level="warning", access_log=False)
        server = uvicorn.Server(config)
        # its own signal handlers would take those of serve away
        serving = asyncio.create_task(server._serve())
        while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn offers no event for it
            await asyncio.sleep(0.02)
        if not serving.done():
            on_ready()
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        server.should_exit = True
        await serving

    serve(work, given.ready_file, given.with_parent)


if __name__ == "__main__":
    main()
