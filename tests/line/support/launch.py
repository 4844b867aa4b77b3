"""``python -m tests.line.support.launch [--with MODULE] COMMAND…``: an ``emberlog`` command that waits, imports done, for a line.

The line on stdin is a JSON object of environment variables; then the command runs as from a shell. When stdin ends, so does the
process: nothing outlives the tests. ``--with`` imports a module first, which may put a fault in.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import importlib
import json
import os
import signal
import sys
import threading
from types import FrameType

HEAVY = ("ops.wiring", "streams.worker", "streams.extraction.build", "wordllama", "faust", "projections.runner")


def _end_with_parent() -> None:
    # not by sys.stdin: a daemon thread that holds its lock is a fatal error at the interpreter's end
    while os.read(0, 1024):
        pass
    os._exit(70)


def _tell_where(_number: int, _frame: FrameType | None) -> None:
    """SIGUSR1: the stacks of all threads and tasks go to the log, for a test that waits in vain."""
    faulthandler.dump_traceback(file=sys.stderr)
    with contextlib.suppress(RuntimeError):
        for task in asyncio.all_tasks(asyncio.get_running_loop()):
            task.print_stack(limit=12, file=sys.stderr)


def main() -> None:
    """Prepare, wait, run."""
    signal.signal(signal.SIGUSR1, _tell_where)
    arguments = sys.argv[1:]
    if arguments[0] == "--with":
        importlib.import_module(arguments[1]).install()
        arguments = arguments[2:]
    from ops.cli.main import main as emberlog

    for name in HEAVY:
        importlib.import_module(name)
    line = sys.stdin.buffer.readline()
    if not line:
        sys.exit(0)
    os.environ.update(json.loads(line))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv = ["emberlog", *arguments]
    emberlog()


if __name__ == "__main__":
    main()
