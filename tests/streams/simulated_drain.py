"""Finishing the work from any state, and the verdict: which violation of the protocol's promises can be seen, if any."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, pairwise

from immutables import Map
from msgspec.structs import replace

from schemas.types import CommandNoted, CommandRejected, MemoryEvent
from streams.decider import EMPTY, OwnerState
from streams.protocol.lane import Append, Lane
from tests.streams.simulated_code import Code
from tests.streams.simulated_log import Broker, LotRecord, Reader
from tests.streams.simulated_process import Phase, Process
from tests.streams.simulated_world import World

MODES = ("lost", "first", "between", "last")
"""What becomes of what is in flight when all die: lost; landed before another starts; between its appends; when it is done."""


def late_of(world: World) -> tuple[tuple[Append, ...], tuple[int, ...]]:
    """What is in flight: appends, and for each process the entry that it was just writing to the lot."""
    appends = tuple(a for p in world.processes for a in p.flight)
    return appends, tuple(p.parks[0].pending.offset for p in world.processes if p.parks)


def finish(world: World, mode: str, versions: tuple[int, ...], told: list[str] | None = None) -> str | None:
    """All processes die, and new ones of ``versions``, one after the other, finish the work; the violation, or None.

    What the new processes do is added to ``told``.
    """
    end = _End(world, mode, [] if told is None else told)
    if mode == "first":
        end.land_all()
    for version in versions:
        if not end.work(version, final=version == versions[-1]):
            return "GAP" if end.broker.reader.gap else "STUCK"
    end.land_all()
    end.sweep(versions[-1])
    return history(end.broker, world.scope.versions) or ("PARKED for ever" if end.broker.parked() else None)


class _End:
    """The work of those who finish."""

    def __init__(self, world: World, mode: str, told: list[str]) -> None:
        appends, entries = late_of(world)
        self.world, self.mode, self.told = world, mode, told
        self.broker = world.broker.fork()
        self.late: list[Append | int] = [] if mode == "lost" else [*appends, *entries]
        self.started = 0

    def work(self, version: int, *, final: bool) -> bool:
        """Let a process of ``version`` do all there is to do; False where it never ends."""
        b, size, p = self.broker, len(self.broker.code.work), self._begin(version)
        for _ in range(12 * size + 20):
            if p.phase is not Phase.RUNNING or b.reader.gap:
                return False
            if p.next < size:
                self._do(p, "step")
            if p.machine.has_ready:
                self._do(p, "send")
            if p.flight and self.late and self.mode == "between":
                self._land()
            self._settle(p)
            if p.point() != b.committed:
                self._do(p, "commit")
            if p.next == size and not p.machine.has_ready:
                if final and any(b.reader.state(b.code.work[o].owner).last_cause < o for o in p.places):
                    self._do(p, "retry")
                elif b.committed == size:
                    return True
        return False

    def sweep(self, version: int) -> None:
        """What is left in the lot is void: the next to start takes it out."""
        if self.broker.parked():
            p = self._begin(version)
            self._do(p, "retry")
            while p.machine.has_ready:
                self._do(p, "send")
                self._settle(p)
            self._settle(p)

    def land_all(self) -> None:
        while self.late:
            self._land()

    def _begin(self, version: int) -> Process:
        p = self.world.begin(1_000 + self.started, version, self.broker)
        self.started += 1
        self.told.append(f"new(v{version})")
        while p.phase is Phase.STARTING:
            self._do(p, "start")
        return p

    def _settle(self, p: Process) -> None:
        b = self.broker
        while p.flight:
            self.told.append("land")
            p.acknowledged(b, p.land(b))
        while p.behind(b):
            self._do(p, "tail")
        while p.seen < len(b.lot):
            self._do(p, "look")
        while p.parks or p.heals:
            self._do(p, "carry")

    def _do(self, p: Process, name: str) -> None:
        self.told.append(name)
        getattr(p, name)(self.broker)

    def _land(self) -> None:
        late = self.late.pop(0)
        if isinstance(late, int):
            self.told.append("late entry")
            self.broker.lot = (*self.broker.lot, LotRecord(late, left=False))
        else:
            self.told.append("late append")
            self.broker.append(late)


def history(b: Broker, versions: tuple[int, ...]) -> str | None:
    """The verdict on a log whose commands are all finished, by processes of ``versions``."""
    whole = Reader(b.code, b.reader.rule).read(*b.log)
    if whole.gap:
        return "GAP"
    rest = Reader(b.code, b.reader.rule, {o: b.tables.state(o) for o in b.code.owners}).read(*b.log[b.tables.position :])
    for owner in b.code.owners:
        if whole.state(owner) is not b.code.one(rest.state(owner)):
            return "READERS DISAGREE"
        problem = _of_owner(b.code, versions, owner, whole.accepted.get(owner, ()))
        if problem:
            return problem
    return None


def _of_owner(code: Code, versions: tuple[int, ...], owner: str, events: tuple[MemoryEvent, ...]) -> str | None:
    offsets = [o for o, item in enumerate(code.work) if item.owner == owner]
    causes = [cause for cause, _ in groupby(events, key=lambda e: e.meta.cause)]
    for before, cause in pairwise(causes):
        if cause <= before:
            return f"DOUBLED c{cause}" if cause in causes[: causes.index(before) + 1] else f"ORDER c{cause} after c{before}"
    by_cause = {cause: tuple(group) for cause, group in groupby(events, key=lambda e: e.meta.cause)}
    state = EMPTY
    for offset in offsets:
        mine = by_cause.get(offset, ())
        version = mine[0].meta.decider_version if mine else None
        for v in (version,) if version else versions:
            if code.decided(state, offset, v) == mine:
                break
        else:
            return f"INCOHERENT c{offset}" if mine else f"LOST c{offset}"
        state = code.fold(state, mine)
    return _turns_decided_twice(code, owner, events)


def _turns_decided_twice(code: Code, owner: str, events: tuple[MemoryEvent, ...]) -> str | None:
    """The first extraction of a turn counts, and no other changes anything."""
    first: dict[str, int] = {}
    for offset, item in enumerate(code.work):
        if item.owner == owner and item.turn is not None:
            first.setdefault(item.turn, offset)
    for event in events:
        turn = code.work[event.meta.cause].turn
        changes = not isinstance(event, CommandNoted | CommandRejected)
        if changes and turn is not None and first[turn] != event.meta.cause:
            return f"TURN of c{first[turn]} decided by c{event.meta.cause}"
    return None


def broken(world: World, name: str, process: int) -> str | None:
    """What must hold in every state, looked at after ``name`` happened to ``process``."""
    b = world.broker
    if b.reader.gap:
        return "GAP"
    held = b.parked() if b.committed else frozenset()
    for offset in range(b.committed if b.code.leaves_events else 0):
        if offset not in held and b.reader.state(b.code.work[offset].owner).last_cause < offset:
            return f"COMMITTED c{offset} unfinished"
    if name == "materialise" and _not_the_fold(world):
        return "MATERIALISED is not the fold"
    if name in ("tail", "start", "step", "land"):
        for owner, lane in world.processes[process].machine.lanes.items():
            if not _agrees(lane, b.reader.borders.get((owner, lane.state.last_sequence), EMPTY)):
                return "DECIDER DISAGREES with the readers"
    return None


def _agrees(lane: Lane, whole: OwnerState) -> bool:
    """Whether a lane's state is ``whole``, as far as the lane knows it."""
    if lane.known is None:
        return lane.state == whole
    known = Map({k: whole.entries[k] for k in lane.known if k in whole.entries})
    return lane.state == replace(whole, entries=known)


def _not_the_fold(world: World) -> bool:
    b = world.broker
    before = Reader(b.code, b.reader.rule).read(*b.log[: b.tables.position])
    return any(b.code.one(b.tables.state(o)) is not b.code.one(before.state(o)) for o in b.code.owners)


def finishes(world: World) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The ways in which the work may be finished from here."""
    late = late_of(world)
    for versions in world.scope.finishers:
        for mode in MODES if any(late) else MODES[:1]:
            yield mode, versions
