"""Temperature: computed when read, never by a job.

T(t) = floor + (T0 - floor) * 2 ** (-(t - t0) / half-life). Degrees 0-100, times in UTC, half-life in days.
"""

from __future__ import annotations

from datetime import datetime

from schemas.types import ThermalPolicy

DAY_SECONDS = 86_400.0
# Outcomes stand on the log: rounding hides the last bits in which two machines' pow() may differ.
DECIMALS = 6


def temperature_at(t0: float, warmed_at: datetime, now: datetime, policy: ThermalPolicy, sacred: bool = False) -> float:
    """Temperature at ``now`` of a memory that had ``t0`` degrees at ``warmed_at``.

    A sacred (pinned) memory does not cool. A ``now`` before ``warmed_at`` (imported history, clock skew) counts as
    no time passed. A half-life that is not positive means no cooling.
    """
    elapsed = (now - warmed_at).total_seconds() / DAY_SECONDS
    if sacred or elapsed <= 0 or t0 <= policy.floor or policy.half_life_days <= 0:
        return t0
    # beyond a thousand halvings nothing is left, and the power would overflow
    remaining: float = 2.0 ** -min(elapsed / policy.half_life_days, 1_000.0)
    return round(policy.floor + (t0 - policy.floor) * remaining, DECIMALS)


def mentioned(temperature: float, policy: ThermalPolicy) -> float:
    """Temperature after a mention at ``temperature`` degrees: ``reheat`` more, at most ``maximum``."""
    return min(round(temperature + policy.reheat, DECIMALS), policy.maximum)
