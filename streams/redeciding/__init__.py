"""Deciding the commands again and comparing with the log: is every event what today's rules make of its command?"""

from streams.redeciding.compare import Difference, Findings, PartitionRedecider
from streams.redeciding.read import redecide

__all__ = ["Difference", "Findings", "PartitionRedecider", "redecide"]
