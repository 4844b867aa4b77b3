"""Prometheus metrics of the read side. Labels are views, partitions and causes, never owners."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_LATENCY = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

APPLIED = Counter("emberlog_projection_records_total", "Records folded into a view", ["view"])
DROPPED = Counter("emberlog_projection_dropped_slices_total", "Slices that were there already (duplicates, zombies)", ["view"])
PROBLEMS = Counter("emberlog_projection_problems_total", "Records skipped and noted in view_problem", ["view"])
ALARMS = Counter("emberlog_projection_owner_alarms_total", "Owners parked because their log has a gap", ["view"])
OUTAGES = Counter("emberlog_projection_pauses_total", "Pauses because broker or database did not answer", ["view", "cause"])
COMMIT = Histogram(
    "emberlog_projection_commit_seconds", "Time of one transaction of rows and checkpoint", ["view"], buckets=_LATENCY
)
_PLACE = ["view", "topic", "partition"]
LAG = Gauge("emberlog_projection_lag_records", "Records of a partition that a view has not applied", _PLACE)
LAG_SECONDS = Gauge("emberlog_projection_lag_seconds", "Age of the oldest record that a view has not applied", _PLACE)
POSITION = Gauge("emberlog_projection_position", "Next offset of a partition that a view applies", _PLACE)
HEALTHY = Gauge("emberlog_projection_healthy", "1 while a view's runner makes progress or is at the end, else 0", ["view"])
