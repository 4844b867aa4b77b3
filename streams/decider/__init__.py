"""The pure decider: ``decide(state, command, cause) -> events`` and ``evolve(state, event) -> state``.

No clock, no random, no I/O, no settings: two deciders of one version, given the same log, write the same events.
"""

from streams.decider.decide import decide, step
from streams.decider.draft import DECIDER_VERSION
from streams.decider.evolve import evolve, fold
from streams.decider.state import EMPTY, MemoryState, OwnerState
from streams.decider.touched import touched

__all__ = ["DECIDER_VERSION", "EMPTY", "MemoryState", "OwnerState", "decide", "evolve", "fold", "step", "touched"]
