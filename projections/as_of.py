"""A view as it stood at a time or at a place of the log, in tables of its own beside the live ones.

    at = await places_at(view, config, moment)       # or {("memory.events.v1", 0): 1200}
    found = await as_of(view, config, at)

It is a generation in state ``as-of``: nothing brings it up to the log, and nobody can promote it. A look into the past does not
bring back what was forgotten since: what the log forgets behind that place is forgotten here too, and so is all that comes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from projections import generation
from projections.building import Build, Progress, exclusive
from projections.digest import ViewDigest, view_digest
from projections.errors import NotOnLog
from projections.generation import Generation
from projections.kept import is_forgetting
from projections.log_reader import KafkaLog
from projections.records import Placed, Positions, Source, TopicPartition
from projections.runner import RunnerConfig
from projections.view import Target, View

FILLING, STANDING = "replaying", "as-of"
"""States of such a generation: while it is filled, which a forgetting waits for, and afterwards."""


@dataclass(frozen=True, slots=True)
class Onward:
    """What is replayed into such tables from where they stand: everything below ``until``, or an owner's alone (a reference)."""

    until: Mapping[TopicPartition, int]
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class AsOf:
    """What was made: tables in ``schema``, from the ``records`` below ``positions``; ``digest`` is over what is left of them."""

    view: str
    generation: int
    schema: str
    positions: Positions
    records: int
    digest: ViewDigest
    seconds: float


async def places_at(view: View, config: RunnerConfig, moment: datetime) -> Positions:
    """By partition the first offset whose record was written at ``moment`` or later; the end where there is none."""
    async with KafkaLog(config.bulk_reader(), view.sources) as log:
        return await log.written_since(moment)


async def as_of(
    view: View,
    config: RunnerConfig,
    at: Mapping[TopicPartition, int],
    *,
    onward: Onward | None = None,
    progress: Progress | None = None,
) -> AsOf:
    """Fold everything below ``at``, then ``onward``. Of partitions that ``at`` does not name nothing is folded.

    Raises NotOnLog for a partition that the view does not read and for an offset behind its end; RebuildRunning, LogTruncated,
    NotInstalled, CatchUpTimeout.
    """
    began = time.monotonic()
    async with exclusive(view, config) as conn:
        positions = await _checked(view, config, at)
        until = positions if onward is None else {**positions, **onward.until}
        await _checked(view, config, until)
        await _drop_left(conn, view)
        async with conn.transaction():
            new = await generation.create(conn, view, state=FILLING)
        try:
            async with Build(view, config, conn, new.schema, progress) as build:
                records = await build.stand_at(positions, to_go_on=onward is not None)
            if onward is not None:
                only = view if onward.owner is None else _OnlyOwner(view, onward.owner)
                async with Build(only, config, conn, new.schema, progress) as build:
                    records += await build.stand_at(until)
            await _forget_since(conn, view, config, new)
            digest = await view_digest(conn, view, new.schema)
        except BaseException:
            await generation.drop(conn, view.name, new.number)
            raise
    return AsOf(view.name, new.number, new.schema, until, records, digest, time.monotonic() - began)


async def _checked(view: View, config: RunnerConfig, at: Mapping[TopicPartition, int]) -> Positions:
    async with KafkaLog(config.bulk_reader(), view.sources) as log:
        ends = await log.ends()
    for place, offset in at.items():
        if place not in ends:
            raise NotOnLog(f"view {view.name} does not read {place[0]}/{place[1]}: it reads {_named(view.sources)}")
        if not 0 <= offset <= ends[place]:
            raise NotOnLog(f"{place[0]}/{place[1]} ends at offset {ends[place]}: {offset} is not on it")
    return {place: at.get(place, 0) for place in ends}


def _named(sources: Sequence[Source]) -> str:
    return ", ".join(f"{source.topic} (partitions 0 to {source.partitions - 1})" for source in sources)


async def _drop_left(conn: AsyncConnection[Any], view: View) -> None:
    """What a killed one left: it was neither read to its place nor told what was forgotten since."""
    for left in await generation.in_state(conn, view.name, FILLING):
        await generation.drop(conn, view.name, left.number)


async def _forget_since(conn: AsyncConnection[Any], view: View, config: RunnerConfig, new: Generation) -> None:
    """Take away what the log forgets up to the live tables' position; from there on these do it."""
    if getattr(view, "forgets", True):
        async with Build(_OnlyForgetting(view), config, conn, new.schema) as since:
            await since.leave(new, STANDING)
    else:
        await generation.mark(conn, new, STANDING)


class _OnlySome:
    """A view that folds some records only and passes over the others."""

    def __init__(self, view: View) -> None:
        self._view = view

    name = property(lambda self: self._view.name)
    version = property(lambda self: self._view.version)
    sources = property(lambda self: self._view.sources)
    tables = property(lambda self: self._view.tables)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)

    def check(self, placed: Placed) -> None:
        self._view.check(placed)

    def _folds(self, placed: Placed) -> bool:
        raise NotImplementedError

    async def apply(self, target: Target, batch: Sequence[Placed]) -> None:
        await self._view.apply(target, [placed for placed in batch if self._folds(placed)])


class _OnlyForgetting(_OnlySome):
    """What takes text away."""

    def _folds(self, placed: Placed) -> bool:
        return is_forgetting(placed)


class _OnlyOwner(_OnlySome):
    """What is an owner's, and whatever takes text away, as that holds for everybody at once."""

    def __init__(self, view: View, owner: str) -> None:
        super().__init__(view)
        self._owner = owner

    def _folds(self, placed: Placed) -> bool:
        record = placed.record
        return record is None or _owner_of(record) == self._owner or is_forgetting(placed)


def _owner_of(record: Any) -> str | None:
    meta = getattr(record, "meta", record)
    owner: str | None = getattr(meta, "owner", None)
    return owner
