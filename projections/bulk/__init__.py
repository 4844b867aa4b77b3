"""Views filled from nothing at the speed of COPY: one pass over the topics for all of them, then owner by owner in memory."""

from __future__ import annotations

from projections.bulk.filling import fill, unfit
from projections.bulk.passes import Bulk, Empty, fill_empty
from projections.bulk.plan import Build, Filled, KeyStore, OpenKeys, Progress

__all__ = ["Build", "Bulk", "Empty", "Filled", "KeyStore", "OpenKeys", "Progress", "fill", "fill_empty", "unfit"]
