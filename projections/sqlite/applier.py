"""Folding into a SQLite file: rows and checkpoint in one of its transactions, by the same rules as into PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from projections.errors import Fenced, OtherFold
from projections.folding import FoldingView
from projections.intake import Candidate, Intake, Reader, foreign_owner
from projections.opening import open_intake
from projections.records import LogRecord, Placed, Positions, Problem
from projections.rows import Rows, Wanted
from projections.sqlite import tables
from schemas.errors import ContractError
from schemas.sealing import NO_KEYS, Keys
from schemas.slices import Verdict, verdict

BUSY_S = 10.0
"""How long a write waits for readers of the file."""
_SERVICE = (
    "CREATE TABLE fold (view TEXT PRIMARY KEY, version INTEGER NOT NULL)",
    "CREATE TABLE checkpoint (topic TEXT, partition INTEGER, next_offset INTEGER NOT NULL, PRIMARY KEY (topic, partition))",
    "CREATE TABLE owner_position (owner TEXT PRIMARY KEY, last_sequence INTEGER NOT NULL, parked INTEGER NOT NULL)",
    'CREATE TABLE view_problem (topic TEXT, partition INTEGER, "offset" INTEGER, reason TEXT NOT NULL, '
    'PRIMARY KEY (topic, partition, "offset"))',
)
_MOVE = "UPDATE checkpoint SET next_offset = ? WHERE topic = ? AND partition = ? AND next_offset = ?"


class SqliteApplier:
    """Folds batches of records into one file, which is made where there is none.

        applier = SqliteApplier(view, path, keys=keys)   # raises OtherFold, sqlite3.Error
        await applier.apply(records)                     # raises Fenced, KeysUnavailable, sqlite3.Error
        applier.close()

    After an error nothing of the batch was written, and the object must not be used again. Nobody else writes the file: a second
    writer is found by its moves of the checkpoint and raises Fenced. ``secure_delete`` and a rollback journal see to it that what
    a fold removes leaves the bytes of the file.
    """

    def __init__(self, view: FoldingView, path: Path, *, keys: Keys = NO_KEYS) -> None:
        self.view = view
        self._keys = keys
        self._reader = Reader(view.sources)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            path.chmod(0o600)
            self._file.execute("PRAGMA journal_mode = DELETE")
            self._file.execute("PRAGMA secure_delete = ON")
            self._install()
            found = self._file.execute("SELECT topic, partition, next_offset FROM checkpoint")
            self.positions: Positions = {(topic, partition): offset for topic, partition, offset in found}
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()

    async def apply(self, records: Iterable[LogRecord]) -> int:
        """Take records in and commit whatever is complete; the number of records folded."""
        intake = self._reader.take(records)
        if intake.empty:
            return 0
        if self._keys is not NO_KEYS:
            await open_intake(self._keys, intake)
        # a thread for itself: a reader of the file may keep it waiting
        folded = await asyncio.to_thread(self._commit, intake)
        self.positions.update(intake.borders)
        return folded

    def _install(self) -> None:
        self._file.execute("BEGIN IMMEDIATE")
        with self._file:
            if not self._file.execute("SELECT 1 FROM sqlite_master WHERE name = 'fold'").fetchone():
                for statement in (*_SERVICE, *(text for table in self.view.tables for text in tables.create(table))):
                    self._file.execute(statement)
                self._file.execute("INSERT INTO fold VALUES (?, ?)", (self.view.name, self.view.version))
                places = [(source.topic, p) for source in self.view.sources for p in range(source.partitions)]
                self._file.executemany("INSERT INTO checkpoint VALUES (?, ?, 0)", places)
            found = self._file.execute("SELECT view, version FROM fold").fetchone()
        if found != (self.view.name, self.view.version):
            raise OtherFold(
                f"the file was made by version {found[1]} of the fold of view {found[0]} and this program has version "
                f"{self.view.version} of {self.view.name}: delete the file, it is made anew from the log"
            )

    def _commit(self, intake: Intake) -> int:
        self._file.execute("BEGIN IMMEDIATE")
        with self._file:  # commits, or rolls back where an error is raised
            for (topic, partition), border in intake.borders.items():
                before = self.positions[topic, partition]
                if self._file.execute(_MOVE, (border, topic, partition, before)).rowcount != 1:
                    raise Fenced("the checkpoint of the file was moved by somebody else; let one projector at a time write it")
            accepted, problems = self._judge(intake)
            self._fold(accepted)
            noted = [(p.topic, p.partition, p.offset, p.reason) for p in problems]
            self._file.executemany("INSERT OR REPLACE INTO view_problem VALUES (?, ?, ?, ?)", noted)
        return len(accepted)

    def _fold(self, accepted: list[Placed]) -> None:
        rows, wanted, further = Rows(self.view.tables), Wanted(), Wanted()
        for placed in accepted:
            self.view.wants(wanted, placed)
        tables.load(self._file, wanted, rows)
        for placed in accepted:
            self.view.wants_next(further, rows, placed)
        tables.load(self._file, further, rows)
        for placed in accepted:
            self.view.fold(rows, placed)
        for table, changes in rows.changes():
            tables.write(self._file, table, changes)

    def _judge(self, intake: Intake) -> tuple[list[Placed], list[Problem]]:
        accepted, problems = list[Placed](), list(intake.problems)
        for candidate in intake.candidates:
            foreign = foreign_owner(candidate)
            if foreign is not None:
                problems.append(foreign)
            elif self._accepts(candidate):
                for placed in candidate.events:
                    try:
                        self.view.check(placed)
                    except ContractError as error:
                        reason = f"{type(error).__name__}: {error}"
                        problems.append(Problem(placed.topic, placed.partition, placed.offset, reason))
                    else:
                        accepted.append(placed)
        return accepted, problems

    def _accepts(self, candidate: Candidate) -> bool:
        """The acceptance rule; an owner whose log has a gap is parked."""
        piece = candidate.slice
        if piece is None:
            return True
        query = "SELECT last_sequence, parked FROM owner_position WHERE owner = ?"
        found: Any = self._file.execute(query, (piece.owner,)).fetchone()
        last, parked = found or (0, 0)
        judged = verdict(piece.first, last)
        if parked or judged is Verdict.DROP:
            return False
        at = last if judged is Verdict.GAP else piece.events[-1].meta.sequence
        self._file.execute("INSERT OR REPLACE INTO owner_position VALUES (?, ?, ?)", (piece.owner, at, judged is Verdict.GAP))
        return judged is Verdict.ACCEPT
