"""Random histories: a workload, what happens, and how it ends, all chosen by a row of numbers."""

from __future__ import annotations

import random
from collections.abc import Iterator

from streams.decider import EMPTY, decide
from tests.streams.commands import erase
from tests.streams.scenario import OWNER
from tests.streams.simulated_code import Item, Work
from tests.streams.simulated_drain import broken, finish, finishes
from tests.streams.simulated_workloads import CHESS, LIMA, OTHER, TEA, forgotten, told, unknown
from tests.streams.simulated_world import Action, Scope, Variant, World

WIDE = Scope(
    processes=5,
    failures=6,
    retries=6,
    crashes=3,
    versions=(1, 2),
    finishers=((2,), (1, 2)),
    let_go=True,
)
"""All that the random histories may hold."""

_WEIGHTS = {"step": 6, "send": 5, "tail": 5, "land": 5, "start": 5, "commit": 2, "fail": 1, "crash": 1, "new": 1}


class Numbers:
    """Choices, until there are no more numbers."""

    def __init__(self, source: Iterator[int]) -> None:
        self._source = source
        self.ended = False

    def below(self, bound: int) -> int:
        """A number from 0 to ``bound`` - 1."""
        number = next(self._source, None)
        self.ended = self.ended or number is None
        return (number or 0) % bound


def random_numbers(seed: int) -> Numbers:
    """Numbers without end."""
    source = random.Random(seed)
    return Numbers(iter(lambda: source.randrange(1 << 16), None))


def workload(numbers: Numbers) -> Work:
    """Two to nine commands: turns that come twice, facts that are found twice, forgets and erasures, poison, two owners."""
    work: list[Item] = []
    others, poisons = numbers.below(3), 2 + numbers.below(10)
    for offset in range(2 + numbers.below(8)):
        owner = OTHER if numbers.below(3) < others else OWNER
        match numbers.below(20):
            case 19:
                work.append(Item(erase(numbers.below(12), owner=owner)))
            case 17 | 18:
                work.append(_forgotten(work, offset, owner, numbers))
            case _:
                texts, second = _texts(numbers), _texts(numbers) if numbers.below(3) == 2 else None
                poison = numbers.below(poisons) == 1
                work.append(told(f"t{numbers.below(5)}", *texts, owner=owner, second=second, poison=poison))
    return tuple(work)


def _texts(numbers: Numbers) -> tuple[str, ...]:
    chosen = numbers.below(8) ^ 1
    return tuple(text for bit, text in enumerate((TEA, CHESS, LIMA)) if chosen >> bit & 1)


def _forgotten(work: list[Item], offset: int, owner: str, numbers: Numbers) -> Item:
    """A forget of what an earlier command may have made, if there is one."""
    earlier = [
        o for o, i in enumerate(work) if i.owner == owner and i.turn and hasattr(decide(EMPTY, i.command, o)[0], "memory_id")
    ]
    if not earlier:
        return unknown(owner)
    made_at = earlier[numbers.below(len(earlier))]
    return forgotten(work[made_at], made_at)


class Habits:
    """What one history favours: kinds of actions, and processes. Slow processes are the zombies of the others."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._kinds: dict[str, int] = {}
        self._speeds: dict[int, int] = {}

    def choose(self, actions: list[Action]) -> Action:
        """One of ``actions``."""
        weights = [self._weight(name.rstrip("0123456789"), i) for name, i in actions]
        left = self._numbers.below(sum(weights))
        for action, weight in zip(actions, weights, strict=True):
            if left < weight:
                return action
            left -= weight
        raise AssertionError("the weights are exhausted")

    def _weight(self, name: str, i: int) -> int:
        if name not in self._kinds:
            self._kinds[name] = _WEIGHTS.get(name, 2) * (1, 3, 9)[self._numbers.below(3)]
        if i not in self._speeds:
            self._speeds[i] = (1, 5, 25)[self._numbers.below(3)]
        return self._kinds[name] * (5 if name == "new" else self._speeds[i])


def walk(work: Work, numbers: Numbers, steps: int, scope: Scope = WIDE, variant: Variant | None = None) -> str | None:
    """What went wrong, with the way to it, over ``steps`` actions and every way to finish; None where nothing did."""
    variant = variant or Variant()
    world, trace, habits = World(variant.code(work), scope, variant), list[str](), Habits(numbers)
    for _ in range(steps):
        actions = world.enabled()
        name, i = habits.choose(actions) if actions else ("", 0)
        if numbers.ended or not actions:
            break
        trace.append(f"{name}({i})")
        world.do((name, i))
        if problem := broken(world, name, len(world.processes) - 1 if name == "new" else i):
            return f"{problem}: {' '.join(trace)}"
    for mode, versions in finishes(world):
        if problem := finish(world, mode, versions):
            return f"{problem}: {' '.join(trace)} | what is in flight: {mode}; finished by {versions}"
    return None
