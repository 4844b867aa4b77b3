"""Small workloads with the bounds within which they are searched to the end."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.owners import fixed_reference
from streams.decider import EMPTY, decide
from tests.streams.scenario import OWNER, extracted, forget
from tests.streams.simulated_code import Item, Work
from tests.streams.simulated_world import Scope

OTHER = fixed_reference("default/user/u-2")
TEA, CHESS, LIMA = "User drinks green tea", "User plays chess", "User lives in Lima"


def told(turn: str, *texts: str, owner: str = OWNER, second: tuple[str, ...] | None = None, poison: bool = False) -> Item:
    """An extraction of ``turn``; ``second`` is what version 2 finds in it; ``poison`` makes version 1 raise."""
    other = None if second is None else extracted(turn, *second, owner=owner)
    return Item(extracted(turn, *texts, owner=owner), turn, other, frozenset({1}) if poison else frozenset())


def forgotten(at: Item, offset: int) -> Item:
    """A request to forget the memory that ``at``, were it the first command of its owner, made at ``offset``."""
    (first, *_) = decide(EMPTY, at.command, offset)
    memory_id: str = getattr(first, "memory_id")  # noqa: B009 - of several kinds of event, those that make a memory
    return Item(forget(memory_id, owner=at.owner))


def unknown(owner: str = OWNER) -> Item:
    """A request to forget what nobody knows: it is rejected."""
    return Item(forget("00000000-0000-4000-8000-000000000000", owner=owner))


@dataclass(frozen=True, slots=True)
class Case:
    """What is searched; at least ``floor`` states, lest a search be empty without anybody noticing."""

    work: Work
    scope: Scope
    floor: int


_PLAIN = Scope(failures=1, materialise=False)
_VERSIONS = replace(_PLAIN, versions=(1, 2), finishers=((1,), (2,)))
_POISON = replace(_VERSIONS, failures=0, retries=1, finishers=((2,), (1, 2)))
_DEEP = replace(_POISON, commit=False, newer=(2,), switches=2, finishers=((2,),))
_SAVING = replace(_PLAIN, failures=0, materialise=True)

_TWICE = (told("t1", TEA), told("t2", TEA))
_OWNERS = (told("t1", TEA), told("t1", CHESS, owner=OTHER))
_MORE = (told("t1", TEA, second=(TEA, CHESS)), told("t2", TEA))
_LESS = (told("t1", TEA, second=()), forgotten(told("t1", TEA), 0))
_RECORDED_TWICE = (told("t1", TEA), told("t1", TEA, CHESS), told("t2", TEA))
_FIRST_POISONED = (told("t1", TEA, poison=True), told("t2", CHESS))
_SECOND_POISONED = (told("t1", TEA), told("t2", CHESS, poison=True))
_BEHIND_THE_FIRST = (*_FIRST_POISONED, told("t3", LIMA), told("t4", TEA))
_BEHIND_THE_SECOND = (*_SECOND_POISONED, told("t3", LIMA), told("t4", TEA))

QUICK = {
    "one owner, an append that fails": Case(_TWICE, _PLAIN, 4_000),
    "one owner, saving": Case(_TWICE, _SAVING, 5_000),
    "one owner, saving, entries looked up": Case(
        (told("t1", TEA), forgotten(told("t1", TEA), 0)), replace(_SAVING, whole=False), 5_000
    ),
    "two owners, appends that overtake": Case(_OWNERS, _PLAIN, 10_000),
    "two owners, saving": Case(_OWNERS, _SAVING, 6_000),
    "a turn recorded twice": Case(_RECORDED_TWICE[:2], _PLAIN, 4_000),
    "version 2 finds more": Case(_MORE, _VERSIONS, 15_000),
    "version 2 finds less": Case(_LESS, _VERSIONS, 15_000),
    "the first poisoned": Case(_FIRST_POISONED, _POISON, 10_000),
    "the second poisoned": Case(_SECOND_POISONED, _POISON, 6_000),
}
"""The scopes of ``make test``."""

SLOW = {
    "one owner, an append that fails, saving": Case(_TWICE, replace(_PLAIN, materialise=True), 30_000),
    "one owner, saving, owners let go": Case(_TWICE, replace(_SAVING, let_go=True), 8_000),
    "two owners, saving, owners let go": Case(_OWNERS, replace(_SAVING, let_go=True), 10_000),
    "three processes": Case(_TWICE, replace(_PLAIN, failures=0, processes=3, commit=False), 40_000),
    "a turn recorded twice": Case(_RECORDED_TWICE, replace(_PLAIN, failures=0), 30_000),
    "version 2 finds more, saving": Case(_MORE, replace(_VERSIONS, failures=0, materialise=True), 25_000),
    "the second poisoned, an append that fails": Case(_SECOND_POISONED, replace(_POISON, failures=1), 30_000),
    "three behind the first poisoned": Case(_BEHIND_THE_FIRST, _DEEP, 100_000),
    "two behind the second poisoned": Case(_BEHIND_THE_SECOND, _DEEP, 60_000),
}
"""The scopes of ``make slow``."""
