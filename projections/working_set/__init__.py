"""The working set: of each owner the newest messages, memories and what was touched last, in Redis.

A projection of conversation and memory events like the views, but in a store that may forget: it evicts, and may be lost. So a
reader is told when an owner is not known, and whatever is gone is made again from the log.
"""

from projections.working_set.applier import NAME
from projections.working_set.entries import Focused, HeldMemory, HeldMessage, Recent
from projections.working_set.reader import WorkingSet
from projections.working_set.runner import WorkingSetConfig, WorkingSetRunner
from projections.working_set.store import connect, prefix_of

__all__ = [
    "NAME",
    "Focused",
    "HeldMemory",
    "HeldMessage",
    "Recent",
    "WorkingSet",
    "WorkingSetConfig",
    "WorkingSetRunner",
    "connect",
    "prefix_of",
]
