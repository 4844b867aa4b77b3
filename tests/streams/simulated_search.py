"""Breadth first over everything that may happen, each state once; the first violation comes with a shortest way to it."""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass, field

from tests.streams.simulated_code import Work
from tests.streams.simulated_drain import broken, finish, finishes, late_of
from tests.streams.simulated_world import Action, Scope, Variant, World


@dataclass(slots=True)
class Found:
    """What a search came to."""

    states: int = 0
    transitions: int = 0
    finished: int = 0
    """Runs to the end: one for each way to finish from each state that differs to those who finish."""
    violation: str | None = None
    trace: list[str] = field(default_factory=list)
    flight: str = ""
    end: list[str] = field(default_factory=list)
    """What those do who finish the work, where the violation shows only then."""

    def __str__(self) -> str:
        counts = f"{self.states} states, {self.transitions} transitions, {self.finished} finishes"
        if self.violation is None:
            return f"{counts}, no violation"
        end = f" | then all die, what is in flight: {self.flight}, {' '.join(self.end)}" if self.end else ""
        return f"{self.violation} after {len(self.trace)}+{len(self.end)} actions ({counts}): {' '.join(self.trace)}{end}"


def show(what: object) -> None:
    """Say what was found, to whoever runs ``pytest -s``."""
    sys.stdout.write(f"{what}\n")


@dataclass(frozen=True, slots=True)
class _Visit:
    """A world to go on from, with the keys of its processes and its own."""

    world: World
    keys: list[int]
    key: int


class Search:
    """One search; ``run`` it once. With ``ends_only`` a violation counts only when the finished history shows it."""

    def __init__(self, work: Work, scope: Scope, variant: Variant | None = None, *, ends_only: bool = False) -> None:
        variant = variant or Variant()
        self.found, self._ends_only = Found(), ends_only
        self._root = World(variant.code(work), scope, variant)
        self._origin: dict[int, tuple[int, Action] | None] = {}
        self._switches: dict[int, int] = {}
        self._finished: set[int] = set()

    def run(self, at_most: int = 10_000_000) -> Found:
        """Search to the end, to the first violation, or through ``at_most`` states."""
        keys = [p.key(self._root.broker) for p in self._root.processes]
        root = _Visit(self._root, keys, self._root.key(keys))
        self._origin[root.key], self._switches[root.key] = None, 0
        queue = deque([root])
        while queue and self.found.violation is None and len(self._origin) < at_most:
            visit = queue.popleft()
            if self._finish(visit):
                break
            for action in visit.world.enabled():
                following = self._follow(visit, action)
                if self.found.violation is not None:
                    break
                if following is not None:
                    queue.append(following)
        self.found.states = len(self._origin)
        return self.found

    def _follow(self, visit: _Visit, action: Action) -> _Visit | None:
        """What comes of ``action``; None where that was seen before, or is a violation."""
        name, i = action
        self.found.transitions += 1
        world = visit.world.fork() if name == "new" else visit.world.fork(i)
        acted = len(world.processes) if name == "new" else i
        try:
            world.do(action)
        except Exception as error:
            self._report(f"RAISED {type(error).__name__}", visit.key, action)
            return None
        keys = [*visit.keys[:acted], world.processes[acted].key(world.broker), *visit.keys[acted + 1 :]]
        following = _Visit(world, keys, world.key(keys))
        # one that is reached with fewer switches may lead further than before
        if self._switches.get(following.key, 1_000) <= world.switches:
            return None
        self._switches[following.key] = world.switches
        self._origin.setdefault(following.key, (visit.key, action))
        problem = None if self._ends_only else broken(world, name, acted)
        # what it comes to is told first, where it comes to something
        if problem and not self._finish(following):
            self._report(problem, following.key)
        return None if problem else following

    def _finish(self, visit: _Visit) -> bool:
        """Finish the work in every way, unless that was done; whether there was a violation."""
        world, (appends, entries) = visit.world, late_of(visit.world)
        late = tuple(sorted((a.owner, a.first, tuple(map(id, a.events))) for a in appends))
        outside = hash((world.outside(), late, tuple(sorted(entries))))
        if outside in self._finished:
            return False
        self._finished.add(outside)
        for mode, versions in finishes(world):
            self.found.finished += 1
            problem = finish(world, mode, versions)
            if problem:
                self._report(problem, visit.key)
                self.found.flight = mode
                finish(world, mode, versions, self.found.end)
                return True
        return False

    def _report(self, problem: str, key: int, last: Action | None = None) -> None:
        self.found.violation = problem
        trace = [last] if last else []
        while (origin := self._origin[key]) is not None:
            key, action = origin
            trace.append(action)
        self.found.trace = [f"{name}(v{i})" if name == "new" else f"{name}({i})" for name, i in reversed(trace)]
