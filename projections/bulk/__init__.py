"""Views filled from nothing at the speed of COPY: one pass over the topics for all of them, then owner by owner in memory."""

from __future__ import annotations

from projections.bulk.filling import fill
from projections.bulk.plan import Build, Filled, OpenKeys, Progress

__all__ = ["Build", "Filled", "OpenKeys", "Progress", "fill"]
