"""Folding into one generation: rows and checkpoint in one transaction, with a compare-and-set that fences a second writer."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import structlog
from psycopg import AsyncConnection

from projections import checkpoint, kept, metrics
from projections.checkpoint import OwnerPosition, OwnerPositions
from projections.errors import is_data_fault
from projections.intake import Candidate, Intake, Reader, foreign_owner
from projections.opening import open_intake
from projections.owners import NO_OWNERS, NamesOwners, Owners
from projections.records import LogRecord, Placed, Positions, Problem
from projections.vectors import register_vector
from projections.view import Target, View
from schemas.errors import ContractError
from schemas.sealing import NO_KEYS, Keys
from schemas.slices import Slice, Verdict, verdict

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Judged:
    """What the acceptance rule made of a batch."""

    accepted: list[Placed] = field(default_factory=list)
    owners: dict[str, OwnerPosition] = field(default_factory=dict)
    alarms: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    dropped: int = 0


class Applier:
    """Folds batches of records into one generation.

        applier = Applier(view, schema, conn)
        await applier.claim()                # positions to read on from
        await applier.apply(records)         # raises Fenced, Promoted, psycopg errors; then make a new Applier

    ``keys`` open what is sealed, ``owners`` tell who owners are: ``apply`` raises KeysUnavailable, too. With ``clears_kept`` what
    is forgotten also leaves the generations that are kept beside the live one, in the same transaction. Without ``partitions``
    it has all of them. After an error nothing of the batch was written, and the object must not be used again.
    """

    def __init__(
        self,
        view: View,
        schema: str,
        conn: AsyncConnection[Any],
        *,
        runner: UUID | None = None,
        owner_cache: int = 50_000,
        keys: Keys = NO_KEYS,
        owners: Owners = NO_OWNERS,
        clears_kept: bool = False,
        partitions: Collection[int] | None = None,
    ) -> None:
        self.view = view
        self.schema = schema
        self.runner = runner or uuid4()
        self.positions: Positions = {}
        self.applied = 0
        self.opening_s = 0.0
        """Seconds spent on opening sealed values, keys fetched and unwrapped."""
        self._conn = conn
        self._keys = keys
        self._directory = owners
        self._clears_kept = clears_kept
        self._partitions = partitions
        self._reader = Reader(view.sources)
        self._owners = OwnerPositions(schema, owner_cache)

    async def claim(self) -> Positions:
        """Take the generation, or its partitions, over and load it. Whoever wrote them before is fenced."""
        await checkpoint.claim(self._conn, self.schema, self.runner, self._partitions)
        return await self.load()

    async def load(self) -> Positions:
        """Load positions and alarms. Raises Fenced or Promoted where the generation is no longer this runner's."""
        await register_vector(self._conn)
        self.positions = await checkpoint.positions(self._conn, self.schema, self.runner, self._partitions)
        await self._owners.load_alarms(self._conn)
        return self.positions

    async def apply(self, records: Iterable[LogRecord]) -> int:
        """Take records in and commit whatever is complete; the number of records folded."""
        intake = self._reader.take(records)
        if intake.empty:
            return 0
        began = time.perf_counter()
        # before the transaction, so that no lock waits for the store of the keys
        if self._keys is not NO_KEYS and getattr(self.view, "opens", True):
            await open_intake(self._keys, intake)
            self.opening_s += time.perf_counter() - began
        if isinstance(self.view, NamesOwners):
            await self._name(intake, self.view)
        try:
            judged = await self._commit(intake, careful=False)
        except psycopg.Error as error:
            if not is_data_fault(error):
                raise
            # one record's values do not fit: find it by folding one at a time
            judged = await self._commit(intake, careful=True)
        self._report(judged, time.perf_counter() - began)
        self.positions.update(intake.borders)
        self._owners.committed(judged.owners, judged.alarms)
        self.applied += len(judged.accepted)
        return len(judged.accepted)

    async def still_ours(self) -> None:
        """Raise Fenced or Promoted where this applier may write no more, psycopg errors where the database is away."""
        await checkpoint.positions(self._conn, self.schema, self.runner, self._partitions)

    async def settle(self, target: Positions) -> None:
        """Move positions to ``target`` over offsets that hold no record (compacted away)."""
        moves = {tp: (self.positions[tp], end) for tp, end in target.items() if self.positions[tp] < end}
        if moves:
            async with self._conn.transaction():
                await checkpoint.advance(self._conn, self.schema, self.runner, moves)
            self.positions.update({tp: end for tp, (_, end) in moves.items()})

    async def _name(self, intake: Intake, view: NamesOwners) -> None:
        """Find out who the owners are whom the view wants to know."""
        wanted = {owner for candidate in intake.candidates for placed in candidate.events for owner in view.owners_in(placed)}
        owners = await self._directory.owners_of(wanted) if wanted else {}
        for candidate in intake.candidates:
            candidate.events = tuple([replace(placed, owners=owners) for placed in candidate.events])

    async def _commit(self, intake: Intake, *, careful: bool) -> _Judged:
        moves = {tp: (self.positions[tp], border) for tp, border in intake.borders.items()}
        async with self._conn.transaction():
            await checkpoint.advance(self._conn, self.schema, self.runner, moves)
            judged = await self._judge(intake)
            target = Target(self._conn, self.schema)
            if careful:
                await self._one_by_one(target, judged)
            elif judged.accepted:
                await self.view.apply(target, judged.accepted)
            if self._clears_kept:
                await kept.clear(self._conn, self.view, [placed for placed in judged.accepted if kept.is_forgetting(placed)])
            await checkpoint.save_owner_positions(self._conn, self.schema, judged.owners)
            if judged.alarms:
                await checkpoint.save_alarms(self._conn, self.schema, list(judged.alarms.values()))
            if judged.problems:
                await checkpoint.save_problems(self._conn, self.schema, judged.problems)
        return judged

    async def _one_by_one(self, target: Target, judged: _Judged) -> None:
        good = []
        for placed in judged.accepted:
            try:
                async with self._conn.transaction():
                    await self.view.apply(target, [placed])
                good.append(placed)
            except psycopg.Error as error:
                if not is_data_fault(error):
                    raise
                judged.problems.append(_problem(placed, f"the database refuses its values (SQLSTATE {error.sqlstate})"))
        judged.accepted = good

    async def _judge(self, intake: Intake) -> _Judged:
        judged = _Judged(problems=list(intake.problems))
        candidates = []
        for candidate in intake.candidates:
            problem = foreign_owner(candidate)
            if problem is None:
                candidates.append(candidate)
            else:
                judged.problems.append(problem)
        owners = {c.slice.owner for c in candidates if c.slice is not None}
        known = await self._owners.of(self._conn, owners) if owners else {}
        for candidate in candidates:
            if candidate.slice is None or self._accepts(candidate, candidate.slice, known, judged):
                self._check(candidate, judged)
        return judged

    def _accepts(self, candidate: Candidate, piece: Slice, known: dict[str, OwnerPosition], judged: _Judged) -> bool:
        owner = piece.owner
        if owner in self._owners.alarmed or owner in judged.alarms:
            return False
        last = known[owner][0]
        match verdict(piece.first, last):
            case Verdict.DROP:
                judged.dropped += 1
                return False
            case Verdict.GAP:
                at = candidate.events[0]
                judged.alarms[owner] = (owner, at.topic, at.partition, at.offset, last + 1, piece.first)
                return False
            case Verdict.ACCEPT:
                known[owner] = judged.owners[owner] = (piece.events[-1].meta.sequence, piece.last_cause)
                return True

    def _check(self, candidate: Candidate, judged: _Judged) -> None:
        for placed in candidate.events:
            try:
                self.view.check(placed)
            except ContractError as error:
                judged.problems.append(_problem(placed, f"{type(error).__name__}: {error}"))
            else:
                judged.accepted.append(placed)

    def _report(self, judged: _Judged, seconds: float) -> None:
        name = self.view.name
        metrics.COMMIT.labels(name).observe(seconds)
        metrics.APPLIED.labels(name).inc(len(judged.accepted))
        metrics.DROPPED.labels(name).inc(judged.dropped)
        if judged.problems:
            metrics.PROBLEMS.labels(name).inc(len(judged.problems))
            first = judged.problems[0]
            log.warning(
                "records skipped, see view_problem",
                view=name,
                count=len(judged.problems),
                topic=first.topic,
                partition=first.partition,
                offset=first.offset,
            )
        for row in judged.alarms.values():
            metrics.ALARMS.labels(name).inc()
            log.error(
                "gap in an owner's log: the owner is parked in this view",
                view=name,
                partition=row[2],
                offset=row[3],
                expected=row[4],
                found=row[5],
            )


def _problem(placed: Placed, reason: str) -> Problem:
    return Problem(placed.topic, placed.partition, placed.offset, reason)
