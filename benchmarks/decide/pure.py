"""The pure decider alone: ``decide`` and ``evolve`` over one workload, no encoding, no broker."""

from __future__ import annotations

import gc
import time

from benchmarks.decide.workload import Workload
from schemas.types import Command
from streams import collector
from streams.decider import EMPTY, OwnerState, step


def rate(count: int, owners: int, seed: int) -> float:
    """Commands per second: each is decided, and its events are folded into its owner's state."""
    commands = [(offset, command) for _, offset, command in Workload(owners, 1, seed).commands(count)]
    return _timed(commands, {})


def rates_by_size(count: int, memories: int, seed: int) -> tuple[float, float]:
    """Commands per second of an owner with ``memories`` memories, and of one with a hundred: the same mix."""
    rates = []
    for size in (memories, 100):
        work = Workload(1, 1, seed)
        states: dict[str, OwnerState] = {}
        for _, offset, command in work.memories(work.owners[0], size):
            _, states[command.meta.owner] = step(states.get(command.meta.owner, EMPTY), command, offset)
        rates.append(_timed([(offset, command) for _, offset, command in work.commands(count)], states))
    return rates[0], rates[1]


def _timed(commands: list[tuple[int, Command]], states: dict[str, OwnerState]) -> float:
    thresholds = gc.get_threshold()
    collector.tune()  # as a worker does; the workload itself is no garbage of the decider's
    try:
        begun = time.perf_counter()
        for offset, command in commands:
            owner = command.meta.owner
            _, states[owner] = step(states.get(owner, EMPTY), command, offset)
        return len(commands) / (time.perf_counter() - begun)
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
