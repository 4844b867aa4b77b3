"""Stop signals of commands that run a set."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from ops.cli import interrupts
from ops.cli.children import wait_ready
from ops.cli.interrupts import Stopped, check, handled


def _interrupt_us() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_that_comes_where_python_drops_exceptions_still_stops() -> None:
    class Dying:
        def __del__(self) -> None:
            _interrupt_us()

    with handled():
        Dying()
        with pytest.raises(Stopped):
            check()


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_a_signal_is_raised_once_and_only_where_asked_for(number: signal.Signals) -> None:
    with handled():
        check()
        os.kill(os.getpid(), number)
        with pytest.raises(Stopped):
            check()
        os.kill(os.getpid(), number)
        check()


def test_a_signal_cancels_what_runs_and_lets_it_clean_up() -> None:
    ends: list[str] = []

    async def work() -> None:
        asyncio.get_running_loop().call_soon(_interrupt_us)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ends.append("cleaned up")

    with handled(), pytest.raises(Stopped):
        interrupts.run(work())
    assert ends == ["cleaned up"]


def test_a_signal_that_came_before_the_work_cancels_it_too() -> None:
    async def work() -> None:
        await asyncio.Event().wait()

    with handled():
        _interrupt_us()
        with pytest.raises(Stopped):
            interrupts.run(work())


def test_work_that_is_not_stopped_gives_its_result_and_its_errors() -> None:
    async def work() -> int:
        return 7

    async def failing() -> int:
        raise ValueError("no")

    with handled():
        assert interrupts.run(work()) == 7
        with pytest.raises(ValueError, match="no"):
            interrupts.run(failing())


def test_waiting_for_children_ends_with_a_signal() -> None:
    class Never:
        ready = False
        name = "never"

        def ended(self) -> bool:
            _interrupt_us()
            return False

    with handled(), pytest.raises(Stopped):
        wait_ready([Never()], 10)  # type: ignore[list-item]


def test_the_handlers_of_before_are_there_again_afterwards() -> None:
    script = "import os, signal, ops.cli.interrupts as i\nwith i.handled(): pass\nos.kill(os.getpid(), signal.SIGINT)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert "KeyboardInterrupt" in done.stderr
