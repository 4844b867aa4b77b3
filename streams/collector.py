"""Python's garbage collector in a process that holds many owners' states for long.

The collector's defaults suit small programs: with some hundred thousand live objects a third of the decider's time went into
looking at them again and again (benchmarks/decide). What is loaded at the start is set aside, and collections become rarer;
memory that only cycles hold is freed later, and there is little of it.
"""

from __future__ import annotations

import gc

YOUNG, MIDDLE, OLD = 50_000, 20, 50


def tune() -> None:
    """Set aside what lives now and collect less often. To be called once, when a process has started."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
