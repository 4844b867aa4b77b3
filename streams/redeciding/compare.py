"""One partition's commands and accepted slices, side by side, without I/O.

Commands come in offset order, slices in the log's; a slice is compared once the commands up to its last cause have come. State
is the fold of what the log holds, not of what was decided again, so that one difference does not lead to others.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from msgspec.structs import fields, replace

from schemas.slices import Slice, Verdict, verdict
from schemas.types import Command, MemoryEvent
from streams.decider import DECIDER_VERSION, EMPTY, OwnerState, decide, evolve

Decide = Callable[[OwnerState, Command, int], tuple[MemoryEvent, ...]]
MAX_DIFFERENCES = 1_000
"""Differences that are kept with their details, per partition; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A command whose events on the log are not what deciding it again gives. Says which fields, never what they hold."""

    owner: str
    cause: int
    sequence: int
    command_type: str
    what: str


@dataclass(slots=True)
class Findings:
    """Counts of one partition or of several together."""

    commands: int = 0
    events: int = 0
    decided: int = 0
    """Commands whose events were found on the log."""
    same: int = 0
    differing: int = 0
    other_version: int = 0
    """Commands decided by another version of the rules, with another outcome than today's: no fault."""
    dropped_slices: int = 0
    """Slices that every reader drops: a zombie's, or an append that was repeated."""
    passed_over: int = 0
    """Commands without events though later ones of their owner have some: parked and given up."""
    open: int = 0
    """Commands without events behind which none of their owner was decided: under way, or parked."""
    unreadable: int = 0
    """Records of either topic that nobody can read; the decider parks such commands."""
    differences: list[Difference] = field(default_factory=list)

    def __iadd__(self, other: Findings) -> Findings:
        for each in dataclasses.fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        return self


@dataclass(slots=True)
class _Owner:
    state: OwnerState = EMPTY
    waiting: deque[tuple[int, Command]] = field(default_factory=deque)
    broken: bool = False


class PartitionRedecider:
    """``offer`` commands, ``observe`` slices, ``finish``; ``findings`` counts along."""

    def __init__(self, decide: Decide = decide, version: int = DECIDER_VERSION) -> None:
        self._decide, self._version = decide, version
        self._owners: dict[str, _Owner] = {}
        self.findings = Findings()

    def offer(self, offset: int, command: Command) -> None:
        """Take the next command."""
        self.findings.commands += 1
        self._owner(command.meta.owner).waiting.append((offset, command))

    def observe(self, slice_: Slice) -> None:
        """Take the next slice and compare its events with what its commands give."""
        owner = self._owner(slice_.owner)
        ruling = verdict(slice_.first, owner.state.last_sequence)
        if ruling is Verdict.DROP:
            self.findings.dropped_slices += 1
        elif ruling is Verdict.GAP or owner.broken:
            if not owner.broken:
                self._differs(slice_.events[0], "?", "the log has a gap in this owner's sequence")
            owner.broken = True
        else:
            for cause, events in groupby(slice_.events, key=lambda e: e.meta.cause):
                self._compare(owner, cause, tuple(events))

    def finish(self) -> Findings:
        """No more will come: count what is left."""
        for owner in self._owners.values():
            done = sum(offset <= owner.state.last_cause for offset, _ in owner.waiting)
            self.findings.passed_over += done
            self.findings.open += len(owner.waiting) - done
            owner.waiting.clear()
        return self.findings

    def _owner(self, reference: str) -> _Owner:
        return self._owners.setdefault(reference, _Owner())

    def _compare(self, owner: _Owner, cause: int, events: tuple[MemoryEvent, ...]) -> None:
        self.findings.events += len(events)
        while owner.waiting and owner.waiting[0][0] < cause:
            owner.waiting.popleft()
            self.findings.passed_over += 1
        if not owner.waiting or owner.waiting[0][0] != cause:
            self._differs(events[0], "?", "no command stands at the offset that the events name as their cause")
        else:
            self.findings.decided += 1
            self._judge(owner.state, owner.waiting.popleft()[1], cause, events)
        try:
            for event in events:
                owner.state = evolve(owner.state, event)
        except Exception as error:
            # events that no state of this owner can lead to: nothing after them can be compared
            owner.broken = True
            self._differs(events[0], "?", f"the events cannot be folded ({type(error).__name__})")

    def _judge(self, state: OwnerState, command: Command, cause: int, events: tuple[MemoryEvent, ...]) -> None:
        decided = self._decide(state, command, cause)
        version = events[0].meta.decider_version
        if decided == events or tuple(_as_version(e, version) for e in decided) == events:
            self.findings.same += 1
        elif version != self._version:
            self.findings.other_version += 1
        else:
            self._differs(events[0], type(command).__name__, "; ".join(_what_differs(events, decided)))

    def _differs(self, event: MemoryEvent, command_type: str, what: str) -> None:
        self.findings.differing += 1
        if len(self.findings.differences) < MAX_DIFFERENCES:
            meta = event.meta
            self.findings.differences.append(Difference(meta.owner, meta.cause, meta.sequence, command_type, what))


def _as_version(event: MemoryEvent, version: int) -> MemoryEvent:
    return replace(event, meta=replace(event.meta, decider_version=version))


def _what_differs(logged: tuple[MemoryEvent, ...], decided: tuple[MemoryEvent, ...]) -> Iterator[str]:
    kinds = [type(e).__name__ for e in logged], [type(e).__name__ for e in decided]
    if kinds[0] != kinds[1]:
        yield f"the log says {', '.join(kinds[0])}; decided again: {', '.join(kinds[1])}"
        return
    for before, now in zip(logged, decided, strict=True):
        names = [f.name for f in fields(before) if getattr(before, f.name) != getattr(now, f.name)]
        if names:
            yield f"{type(before).__name__} differs in {', '.join(names)}"
