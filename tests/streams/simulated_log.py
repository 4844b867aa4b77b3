"""A simulated broker and deciders around the project's own protocol code, for the model test.

One partition of commands, one log of slices. Deciders start from a committed offset and a materialised state, read commands,
append slices that may land, land unacknowledged, fail, or land long after their writer was killed; they tail the log, commit,
materialise with compare-and-set, park what they cannot decide, and crash.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from dataclasses import dataclass, field

from schemas.slices import Slice, Verdict, verdict
from schemas.types import Command, MemoryEvent
from streams.decider import EMPTY, OwnerState, decide, fold
from streams.protocol.partition import Append, PartitionDecider, Pending


class Poison(Exception):
    """What a faulty decider raises."""


@dataclass
class Broker:
    """What outlives every decider."""

    commands: list[Command]
    poisoned: set[int] = field(default_factory=set)
    """Commands that raise until they are healed."""
    log: list[Slice] = field(default_factory=list)
    committed: int = 0
    position: int = 0
    states: dict[str, OwnerState] = field(default_factory=dict)
    parked: dict[int, str] = field(default_factory=dict)
    ids: itertools.count[int] = field(default_factory=itertools.count)

    def land(self, append: Append) -> None:
        self.log.append(Slice(append.owner, append.append_id, append.first, append.events, len(self.log) + 1))

    def accepted(self) -> dict[str, list[MemoryEvent]]:
        """What every reader accepts, by the rule."""
        out: dict[str, list[MemoryEvent]] = {}
        for slice_ in self.log:
            events = out.setdefault(slice_.owner, [])
            ruling = verdict(slice_.first, len(events))
            assert ruling is not Verdict.GAP, "the protocol made a gap"
            if ruling is Verdict.ACCEPT:
                events.extend(slice_.events)
        return out


class Decider:
    """One process; ``alive`` until it crashes or loses its compare-and-set."""

    def __init__(self, broker: Broker) -> None:
        self.broker, self.alive = broker, True
        self.machine = PartitionDecider(self._decide, lambda: f"a{next(broker.ids)}")
        self.flight: deque[Append] = deque()
        self.next = broker.committed
        self.done: set[int] = set()
        self.position = self.saved = broker.position
        self.start_states = dict(broker.states)
        while self.position < len(broker.log):
            self.tail()

    def _decide(self, state: OwnerState, command: Command, cause: int) -> tuple[MemoryEvent, ...]:
        if cause in self.broker.poisoned:
            raise Poison
        return decide(state, command, cause)

    def _adopt(self, owner: str) -> None:
        if owner not in self.machine.lanes:
            mine = {o: p for o, p in self.broker.parked.items() if self.broker.commands[o].meta.owner == owner}
            self.machine.adopt(owner, self.start_states.get(owner, EMPTY), mine)

    def _collect(self) -> None:
        for park in self.machine.parks():
            # durable before it is acknowledged
            self.broker.parked[park.pending.offset] = f"p{park.pending.offset}"
            self.machine.parked(park.pending, f"p{park.pending.offset}")
        for item in self.machine.healed():
            self.broker.parked.pop(item.offset, None)
        self.done.update(self.machine.finished())

    # -- actions

    def step(self) -> None:
        command = self.broker.commands[self.next]
        self._adopt(command.meta.owner)
        self.machine.offer(Pending(self.next, command.meta.owner, command))
        self.next += 1
        self._collect()

    def send(self) -> None:
        self.flight.extend(self.machine.appends(budget=100))
        self._collect()

    def tail(self) -> None:
        slice_ = self.broker.log[self.position]
        self.position += 1
        self._adopt(slice_.owner)
        self.machine.observe(slice_)
        self._collect()

    def commit(self) -> None:
        offset = self.broker.committed
        while offset in self.done and offset < self.next:
            offset += 1
        self.broker.committed = max(self.broker.committed, offset)

    def materialise(self) -> None:
        if self.broker.position != self.saved:
            self.alive = False
            return
        self.broker.states.update(self.machine.confirmed())
        self.broker.position = self.saved = self.position

    def retry(self) -> None:
        for owner in {self.broker.commands[o].meta.owner for o in self.broker.parked}:
            self._adopt(owner)
            items = [
                Pending(o, owner, self.broker.commands[o], parked_id=p)
                for o, p in self.broker.parked.items()
                if self.broker.commands[o].meta.owner == owner
            ]
            self.machine.retry(owner, items)
        self._collect()


class World:
    """Random walks over what may happen, and the drain at the end."""

    def __init__(self, commands: list[Command], poisoned: set[int], rnd: random.Random) -> None:
        self.broker = Broker(commands, set(poisoned))
        self.rnd = rnd
        self.deciders: list[Decider] = [Decider(self.broker)]

    def walk(self, steps: int) -> None:
        for _ in range(steps):
            self.act(self.rnd.choice(self.deciders))

    def act(self, d: Decider) -> None:
        """One thing that may happen to ``d`` now. Appends of a dead decider may still land."""
        choices = []
        if d.flight:
            choices += ["land", "land", "fail", "land_unacknowledged"]
        if d.alive:
            choices += ["crash", "commit", "materialise", "send", "send"]
            choices += ["step"] * 3 * (d.next < len(self.broker.commands))
            choices += ["tail"] * 3 * (d.position < len(self.broker.log))
            choices += ["retry"] * bool(self.broker.parked)
        if len(self.deciders) < 5:
            choices.append("new")
        if not choices:
            return
        match self.rnd.choice(choices):
            case "land":
                self.broker.land(d.flight.popleft())
            case "land_unacknowledged":
                self.broker.land(d.flight.popleft())
                d.alive = False  # a failed append ends the session: begin again
            case "fail":
                d.flight.popleft()
                d.alive = False
            case "crash":
                d.alive = False
            case "new":
                self.deciders.append(Decider(self.broker))
            case name:
                getattr(d, name)()

    def drain(self) -> None:
        """All die, some appends still land, one decider finishes the work; then the poison is healed and the lot retried."""
        for d in self.deciders:
            d.alive = False
        last = Decider(self.broker)
        late = [a for d in self.deciders for a in d.flight if self.rnd.random() < 0.7]
        for round_ in range(2_000):
            if late and self.rnd.random() < 0.3:
                self.broker.land(late.pop(0))
            if last.next < len(self.broker.commands):
                last.step()
            last.send()
            while last.flight:
                self.broker.land(last.flight.popleft())
            while last.position < len(self.broker.log):
                last.tail()
            last.commit()
            if round_ % 7 == 0 and last.next == len(self.broker.commands):
                self.broker.poisoned.clear()
                last.retry()
            if self._finished(last) and not late:
                return
        raise AssertionError("the last decider never finished")

    def _finished(self, last: Decider) -> bool:
        return self.broker.committed == len(self.broker.commands) and not self.broker.parked and not last.flight


def expected(commands: list[Command]) -> dict[str, list[MemoryEvent]]:
    """The log that one undisturbed decider writes."""
    states: dict[str, OwnerState] = {}
    out: dict[str, list[MemoryEvent]] = {}
    for cause, command in enumerate(commands):
        events = decide(states.get(command.meta.owner, EMPTY), command, cause)
        states[command.meta.owner] = fold(states.get(command.meta.owner, EMPTY), events)
        out.setdefault(command.meta.owner, []).extend(events)
    return out
