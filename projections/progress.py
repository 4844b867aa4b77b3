"""How far a runner is, and whether it is well: what metrics, the health file and ``emberlog status`` say of it.

A runner is well while it is at the end of its partitions or moves on. Once neither has been so for ``stalled_s`` it is not:
stuck in the database, without broker, refused by another runner, or ended. Clocks count here and nowhere in the tables.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

from projections import metrics
from projections.records import Positions, TopicPartition
from projections.view import View

STALLED_S = 60.0
Times = Mapping[TopicPartition, tuple[int, int]]
"""When the first and the last record of a batch were written, in milliseconds since 1970, by partition."""


@dataclass(slots=True)
class Place:
    """One partition. ``oldest_ms`` is when the oldest record that is not applied was written, or one a little older."""

    next_offset: int = 0
    end: int = 0
    oldest_ms: int | None = None

    @property
    def lag(self) -> int:
        """Records not applied, as far as the broker has told."""
        return max(0, self.end - self.next_offset)

    def lag_s(self) -> float:
        """Age of the oldest record not applied, 0 at the end."""
        return max(0.0, time.time() - self.oldest_ms / 1000) if self.lag and self.oldest_ms is not None else 0.0


@dataclass(frozen=True, slots=True)
class Standing:
    """How a runner is at one moment: ``words`` for a person; since ``quiet_s`` it has neither moved nor been at the end."""

    healthy: bool
    state: str
    words: str
    quiet_s: float
    lag: int
    lag_s: float
    partitions: list[dict[str, str | int | float]]


class Progress:
    """What a runner tells of itself as it works."""

    def __init__(self, view: View, partitions: Collection[int]) -> None:
        self.view = view.name
        self.places = {(s.topic, p): Place() for s in view.sources for p in range(s.partitions) if p in partitions}
        self._state, self._why = "not begun", ""
        self._well = time.monotonic()

    def begins(self, positions: Positions, ends: Positions) -> None:
        """The runner reads on from ``positions``."""
        self._state, self._why = "running", ""
        for tp, place in self.places.items():
            place.next_offset, place.end = positions[tp], ends[tp]
        self._see(ends)
        if not any(place.lag for place in self.places.values()):
            self._well = time.monotonic()

    def took(self, times: Times, ends: Positions) -> None:
        """It has a batch in hand."""
        for tp, (first, _) in times.items():
            self.places[tp].oldest_ms = first
        self._see(ends)

    def applied(self, positions: Positions, times: Times, ends: Positions) -> None:
        """It is at ``positions``, with the batch of ``times`` behind it."""
        for tp, (_, last) in times.items():
            self.places[tp].oldest_ms = last
        moved = False
        for tp, place in self.places.items():
            moved |= positions[tp] > place.next_offset
            place.next_offset = positions[tp]
        self._see(ends)
        if moved or not any(place.lag for place in self.places.values()):
            self._well = time.monotonic()

    def _see(self, ends: Positions) -> None:
        for tp, place in self.places.items():
            place.end = max(place.end, ends[tp])
            if not place.lag:
                place.oldest_ms = None
            elif place.oldest_ms is None:  # known by its number only: as if it had come now
                place.oldest_ms = int(time.time() * 1000)

    def stands_still(self, state: str, why: str) -> None:
        """It does not work: ``paused``, ``waiting`` or ``ended``, and why."""
        self._state, self._why = state, why

    def standing(self, stalled_s: float = STALLED_S) -> Standing:
        """How it is now."""
        quiet, lag = time.monotonic() - self._well, sum(place.lag for place in self.places.values())
        lag_s = max((place.lag_s() for place in self.places.values()), default=0.0)
        healthy = self._state == "not begun" or (self._state != "ended" and quiet <= stalled_s)
        words = f"{self._state}: {self._why}" if self._why else self._state
        if lag:
            words += f", {lag} records behind (the oldest {lag_s:.1f} s old)"
        if not healthy and self._state != "ended":
            words += f", no progress for {quiet:.0f} s"
        partitions: list[dict[str, str | int | float]] = [
            {"topic": t, "partition": p, "next_offset": place.next_offset, "lag": place.lag, "lag_s": round(place.lag_s(), 3)}
            for (t, p), place in sorted(self.places.items())
        ]
        return Standing(healthy, self._state, words, round(quiet, 3), lag, round(lag_s, 3), partitions)

    def starts(self, stalled_s: float) -> None:
        """The runner runs: from now on it must get on. Metrics show it, as it is when they are asked."""
        self._state, self._well = "starting", time.monotonic()
        for (topic, partition), place in self.places.items():
            labels = (self.view, topic, str(partition))
            metrics.LAG.labels(*labels).set_function(partial(getattr, place, "lag"))
            metrics.LAG_SECONDS.labels(*labels).set_function(place.lag_s)
            metrics.POSITION.labels(*labels).set_function(partial(getattr, place, "next_offset"))
        metrics.HEALTHY.labels(self.view).set_function(lambda: float(self.standing(stalled_s).healthy))
