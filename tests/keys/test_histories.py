"""Random histories of sealing, forgetting and erasing: what must open opens, what must not does not, and is not sealed again."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.keys.database import KeyDatabase
from ops.keys.destroying import Destroyer
from ops.keys.directory import PostgresDirectory
from ops.keys.store import PostgresKeys
from schemas.owner import Owner
from schemas.sealed import Sealed
from schemas.subjects import BY_REQUEST, Subject
from tests.keys.memory import MemoryKeys
from tests.keys.spec import Bench

FINGERPRINTS, OFFSETS = st.sampled_from("fg"), st.integers(0, 3)
SOME = st.sets(FINGERPRINTS, min_size=1)


@dataclass(frozen=True)
class Seal:
    subject: Subject
    """Without its owner."""


@dataclass(frozen=True)
class Decide:
    command: str
    at: int


@dataclass(frozen=True)
class Forget:
    fingerprints: frozenset[str]
    below: int
    decided_before: int


@dataclass(frozen=True)
class Drop:
    messages: frozenset[str]
    turns: frozenset[str]


@dataclass(frozen=True)
class Erase:
    pass


Step = Seal | Decide | Forget | Drop | Erase


def request(fingerprint: str, number: int) -> Seal:
    return Seal(Subject("", "statement", fingerprint, f"request {number}", BY_REQUEST))


NUMBERS = st.integers(0, 1)
SEALS = st.one_of(
    st.builds(lambda f, n: Seal(Subject("", "statement", f, f"turn {n}", n)), FINGERPRINTS, OFFSETS),
    st.builds(request, FINGERPRINTS, NUMBERS),
    st.builds(lambda kind, f: Seal(Subject("", kind, f)), st.sampled_from(["message", "turn"]), FINGERPRINTS),
    st.just(Seal(Subject("", "owner"))),
)
DECIDES = st.builds(Decide, st.builds("request {}".format, NUMBERS), OFFSETS)
DECIDED = st.builds(lambda f, n, at: [request(f, n), Decide(f"request {n}", at)], FINGERPRINTS, NUMBERS, OFFSETS)
FORGETS = st.builds(Forget, SOME.map(frozenset), OFFSETS, OFFSETS)
DROPS = st.builds(Drop, SOME.map(frozenset), SOME.map(frozenset))
STEPS = st.one_of(st.one_of(SEALS, SEALS, DECIDES, FORGETS, FORGETS, DROPS).map(lambda step: [step]), DECIDED)
ENDS: st.SearchStrategy[list[Step]] = st.one_of(st.just([]), st.lists(SEALS, max_size=3).map(lambda seals: [Erase(), *seals]))
HISTORIES = st.builds(
    lambda steps, end: [step for some in [*steps, end] for step in some], st.lists(STEPS, min_size=4, max_size=20), ENDS
)
"""Histories of one owner, at the end of some an erasure."""


@dataclass
class Expected:
    """What the rules say, told from the history alone."""

    alive: set[Subject] = field(default_factory=set)
    spent: set[Subject] = field(default_factory=set)
    """Subjects whose key was destroyed: they get none again."""
    decided: dict[str, int] = field(default_factory=dict)
    """By command that something was sealed for: its offset."""
    forgets: list[Forget] = field(default_factory=list)
    dropped: set[tuple[str, str]] = field(default_factory=set)
    erased: bool = False

    def may_seal(self, subject: Subject) -> bool:
        forgotten = subject.kind == "statement" and any(
            subject.name in forget.fingerprints and subject.offset < forget.below for forget in self.forgets
        )
        return not (self.erased or forgotten or subject in self.spent or (subject.kind, subject.name) in self.dropped)

    def take(self, step: Step) -> None:
        if isinstance(step, Seal):
            if self.may_seal(step.subject):
                self.alive.add(step.subject)
            return
        if isinstance(step, Decide):
            for subject in self.alive:
                if subject.cause == step.command:
                    self.decided.setdefault(f"{subject.name} {step.command}", step.at)
        elif isinstance(step, Forget):
            self.forgets.append(step)
        elif isinstance(step, Drop):
            self.dropped |= {("message", m) for m in step.messages} | {("turn", t) for t in step.turns}
        else:
            self.erased = True
        gone = {subject for subject in self.alive if self._kills(step, subject)}
        self.alive -= gone
        self.spent |= gone

    def _kills(self, step: Step, subject: Subject) -> bool:
        if isinstance(step, Forget):
            decided = self.decided.get(f"{subject.name} {subject.cause}", step.decided_before + 1)
            is_meant = subject.kind == "statement" and subject.name in step.fingerprints
            return is_meant and (subject.offset < step.below or decided <= step.decided_before)
        if isinstance(step, Drop):
            return (subject.kind, subject.name) in self.dropped
        return isinstance(step, Erase)


_numbers = itertools.count()


async def play(bench: Bench, history: list[Step]) -> None:
    """Play a history on an owner of its own, beside a bystander with the same subjects, and compare after each step."""
    number = next(_numbers)
    owner, bystander = [await bench.owners.reference_of(Owner.parse(f"{name}-{number}")) for name in ("ana", "ben")]
    expected, sealed, kept = Expected(), dict[Subject, Sealed](), list[Sealed]()
    for step in history:
        if isinstance(step, Seal):
            mine, other = [_of(o, step.subject) for o in (owner, bystander)]
            key = await bench.key(mine)
            assert (key is not None) == expected.may_seal(step.subject)
            if key is not None:
                sealed[step.subject] = key.seal(repr(step.subject).encode())
            kept.append(await bench.seal(other))
        else:
            await _do(bench, owner, step)
        expected.take(step)
        await _compare(bench, expected, sealed)
    assert [await bench.opened(value) for value in kept] == [b"words"] * len(kept)


async def _do(bench: Bench, owner: str, step: Step) -> None:
    if isinstance(step, Decide):
        await bench.destroyer.settle({(owner, step.command): step.at})
    elif isinstance(step, Forget):
        await bench.destroyer.destroy_statements(owner, step.fingerprints, step.below, step.decided_before)
    elif isinstance(step, Drop):
        await bench.destroyer.destroy_messages(owner, step.messages, step.turns)
    else:
        await bench.destroyer.destroy_owner(owner)


async def _compare(bench: Bench, expected: Expected, sealed: dict[Subject, Sealed]) -> None:
    keys = await bench.keys.for_opening({value.key_id for value in sealed.values() if value.key_id})
    for subject, value in sealed.items():
        key = keys[value.key_id or ""]
        assert (key is not None) == (subject in expected.alive), subject
        if key is not None:
            assert key.open(value) == repr(subject).encode()


def _of(owner: str, it: Subject) -> Subject:
    return Subject(owner, it.kind, it.name, it.cause, it.offset)


@settings(max_examples=200, deadline=None)
@given(HISTORIES)
async def test_in_any_history_the_store_in_memory_opens_what_it_must_and_nothing_else(history: list[Step]) -> None:
    store = MemoryKeys(strict=True)
    await play(Bench(store, store, store), history)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(HISTORIES)
async def test_in_any_history_the_store_in_postgres_opens_what_it_must_and_nothing_else(
    database: KeyDatabase, history: list[Step]
) -> None:
    await play(Bench(PostgresKeys(database), PostgresDirectory(database), Destroyer(database)), history)
