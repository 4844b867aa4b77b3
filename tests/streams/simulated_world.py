"""All processes over one broker: what may happen next, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from streams.protocol.partition import PartitionDecider
from streams.protocol.store import PositionLost
from tests.streams.simulated_code import Code, Work
from tests.streams.simulated_log import Broker, Rule, whole_slices
from tests.streams.simulated_process import Phase, Process

Action = tuple[str, int]
"""What happens, and to which process; for ``new`` its version. ``land2`` lands the second append in flight, and so on."""


@dataclass(frozen=True, slots=True)
class Variant:
    """The protocol, or one that is simpler and wrong."""

    machine: type[PartitionDecider] = PartitionDecider
    process: type[Process] = Process
    rule: Rule = whole_slices
    code: Callable[[Work], Code] = Code


@dataclass(frozen=True, slots=True)
class Scope:
    """How far a search goes: bounds on what may happen. Crashes and zombies need none."""

    processes: int = 2
    failures: int = 1
    retries: int = 0
    crashes: int = 0
    versions: tuple[int, ...] = (1,)
    finishers: tuple[tuple[int, ...], ...] = ((1,),)
    """Versions of the processes that finish the work, one after the other."""
    again: bool = True
    """Whether a process whose append failed begins again by itself."""
    materialise: bool = True
    commit: bool = True
    overtaking: bool = True
    """Whether appends of one process land in any order, and later ones outlive one that failed."""
    whole: bool = True
    """Whether an owner's state is read as a whole when the owner is met, or by entry when it is needed."""
    let_go: bool = False
    switches: int | None = None
    """How often the process that acts may change; None for any number."""
    newer: tuple[int, ...] = ()
    """Versions of all processes but the first, where these are not all ``versions``."""


class World:
    """``fork`` before ``do``, where the world as it was is still needed."""

    __slots__ = ("acting", "broker", "crashes", "failures", "processes", "retries", "scope", "switches", "variant")

    def __init__(self, code: Code, scope: Scope, variant: Variant) -> None:
        self.scope, self.variant = scope, variant
        self.broker = Broker(code, variant.rule)
        self.processes: list[Process] = []
        self.failures = self.retries = self.crashes = self.switches = self.acting = 0
        self.do(("new", scope.versions[0]))
        self.do(("start", 0))

    def fork(self, *mine: int) -> World:
        """A world whose processes ``mine`` are its own; the others are shared, and not to be changed."""
        new = World.__new__(World)
        for name in World.__slots__:
            setattr(new, name, getattr(self, name))
        new.broker = self.broker.fork()
        new.processes = list(self.processes)
        for i in mine:
            new.processes[i] = new.processes[i].fork()
        return new

    # -- what may happen

    def enabled(self) -> list[Action]:
        """All that may happen now."""
        out: list[Action] = []
        settled = self.switches == self.scope.switches
        for i, process in enumerate(self.processes):
            if settled and i != self.acting:
                continue
            out += [(name, i) for name in self._of_process(process)]
        if len(self.processes) < self.scope.processes and not settled:
            out += [("new", version) for version in self.scope.newer or self.scope.versions]
        return out

    def _of_process(self, p: Process) -> list[str]:
        out = ["land" if i == 0 else f"land{i + 1}" for i in range(len(p.flight))][: None if self.scope.overtaking else 1]
        may_fail = self.failures < self.scope.failures
        if p.phase is Phase.STARTING or (p.phase is Phase.ENDED and self.scope.again):
            out.append("start")
        if p.phase is Phase.RUNNING:
            if p.flight and may_fail:
                out += ["fail", "land_unacknowledged"]
            out += self._of_running(p)
        if p.phase is not Phase.DEAD and self.crashes < self.scope.crashes:
            out.append("crash")
        return out

    def _of_running(self, p: Process) -> list[str]:
        b, out = self.broker, []
        if p.next < len(b.code.work):
            out.append("step")
        if p.machine.has_ready:
            out.append("send")
        if p.behind(b):
            out.append("tail")
        if p.parks or p.heals:
            out.append("carry")
        if p.seen < len(b.lot):
            out.append("look")
        if p.places and self.retries < self.scope.retries:
            out.append("retry")
        if self.scope.commit and p.point() != b.committed:
            out.append("commit")
        if self.scope.materialise and p.position != p.saved:
            out.append("materialise")
        if self.scope.let_go and p.idle():
            out.append("let_go")
        return out

    # -- and what comes of it

    def do(self, action: Action) -> None:
        """Let ``action`` happen."""
        name, i = action
        if name == "new":
            self.processes.append(self.begin(len(self.processes), i, self.broker))
            self._switch(len(self.processes) - 1)
            return
        self._switch(i)
        p, b = self.processes[i], self.broker
        if name.startswith("land") or name == "fail":
            self._deliver(name, p)
        elif name == "crash":
            self.crashes += 1
            p.end(Phase.DEAD)
        else:
            self.retries += name == "retry"
            try:
                getattr(p, name)(b)
            except PositionLost:
                p.end(Phase.DEAD)

    def _switch(self, process: int) -> None:
        if self.scope.switches is not None and process != self.acting:
            self.switches += 1
            self.acting = process

    def begin(self, number: int, version: int, broker: Broker) -> Process:
        """A new process."""
        return self.variant.process(number, version, broker, self.variant.machine, whole=self.scope.whole)

    def _deliver(self, name: str, p: Process) -> None:
        if name == "fail":
            append, p.flight = p.flight[0], p.flight[1:]
        elif name == "land_unacknowledged":
            append = p.land(self.broker)
        else:
            append = p.land(self.broker, int(name[4:] or 1) - 1)
            if p.phase is Phase.RUNNING:
                p.acknowledged(self.broker, append)
            return
        self.failures += 1
        if not self.scope.overtaking:
            p.flight = ()
        p.failed(self.broker, append)

    # -- for the search

    def key(self, keys: list[int]) -> int:
        """Tells this world from another. ``keys`` are those of its processes, whose order does not matter."""
        b = self.broker
        unread = (b.lot[p.seen :] for p in self.processes)
        counts = (self.failures, self.retries, self.crashes)
        acting = None if self.scope.switches is None else keys[self.acting]
        return hash((self.outside(), counts, acting, tuple(sorted(hash(pair) for pair in zip(keys, unread, strict=True)))))

    def outside(self) -> Hashable:
        """What remains when every process dies, but for what is in flight."""
        return self.broker.key, self.broker.committed, self.broker.tables.key, self.broker.parked()
