"""What is to be filled, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol
from uuid import UUID

from projections.folding import FoldingView
from projections.log_reader import ReaderConfig
from projections.owners import NO_OWNERS, Owners
from projections.records import LogRecord, Positions, Source
from projections.runner import RunnerConfig
from projections.view import View
from schemas.sealing import NO_KEYS, Keys


class KeyStore(NamedTuple):
    """What a process of a fill needs of the key store: keys, and who goes by a reference."""

    keys: Keys = NO_KEYS
    owners: Owners = NO_OWNERS


OpenKeys = Callable[[], AbstractAsyncContextManager[KeyStore]]
"""Opens the key store in another process, so it can be pickled; whatever else such a process needs (a schema registry), it
sets up."""
Progress = Callable[[str, int, int], None]
"""Called with the stage (``read`` or ``fold``), what is done of it and how much there is: offsets, then buckets."""


class Log(Protocol):
    """Records of some partitions: ``projections.log_reader.KafkaLog`` as far as it is needed here."""

    async def seek(self, positions: Positions) -> None: ...
    async def positions(self) -> Positions: ...
    async def next_below(self, target: Positions) -> Sequence[LogRecord]: ...


OpenLog = Callable[[ReaderConfig, Sequence[Source], frozenset[int]], AbstractAsyncContextManager[Log]]
"""Opens the log of the partitions with these numbers, also in another process, so it can be pickled."""

READ, FOLD = "read", "fold"


@dataclass(frozen=True, slots=True)
class Build:
    """A view, and the schema of a generation of it that nobody has written to, or that an earlier fill left unfinished."""

    view: View
    schema: str


@dataclass(frozen=True, slots=True)
class Filled:
    """What a fill did. ``positions``: the checkpoint of each view that was filled; ``records``: folded, by view.

    ``left_out``: views that it did not fill, with the reason; their tables are empty and whole, their checkpoint is at the
    beginning, so that a runner can fill them. ``resumed``: it went on with what a killed one had read; its ``records`` are not
    counted.
    """

    positions: Mapping[str, Positions]
    left_out: Mapping[str, str]
    records: Mapping[str, int]
    read_s: float
    fold_s: float
    index_s: float
    indexes: Mapping[str, float]
    """Seconds of each index and key, by its statement."""
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """What every process of a fill needs to know; it can be pickled."""

    config: RunnerConfig
    """Without its key store."""
    builds: tuple[Build, ...]
    until: Positions
    topics: tuple[str, ...]
    """As they are numbered in the spill; a fill that goes on with some views of an earlier one may not need them all."""
    folder: Path
    buckets: int
    fill: UUID
    """Stands in the builds' checkpoints while this fill, and no later one, may write."""

    open_log: OpenLog
    failed: Mapping[int, str] = field(default_factory=dict)
    """Builds that an earlier process of this fill gave up, by their place, and why."""

    @property
    def partitions(self) -> frozenset[int]:
        """Numbers of the partitions that any topic has."""
        return frozenset(partition for _, partition in self.until)

    def folding(self) -> list[tuple[FoldingView, str]]:
        """Views and schemas."""
        return [(build.view, build.schema) for build in self.builds if isinstance(build.view, FoldingView)]


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a piece of work: sound positions, by place of the build why it was given up and how much was folded, and the
    files that were written, each with its size in bytes and its CRC-32."""

    positions: Positions = field(default_factory=dict)
    failed: Mapping[int, str] = field(default_factory=dict)
    records: Mapping[int, int] = field(default_factory=dict)
    files: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def __add__(self, other: Done) -> Done:
        places = {*self.records, *other.records}
        records = {place: self.records.get(place, 0) + other.records.get(place, 0) for place in places}
        return Done(
            {**self.positions, **other.positions}, {**self.failed, **other.failed}, records, {**self.files, **other.files}
        )


def sources_of(builds: Sequence[Build]) -> dict[str, list[tuple[int, Source]]]:
    """By topic: the sources that name it, each with the place of its build."""
    found: dict[str, list[tuple[int, Source]]] = {}
    for place, build in enumerate(builds):
        for source in build.view.sources:
            found.setdefault(source.topic, []).append((place, source))
    return found
