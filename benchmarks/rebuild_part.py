"""The first part of a history, for consumers whose rate does not depend on how much there is.

Their values are opened and their owners named beforehand, which is not counted. Vectors follow the events that they belong to, as
far as their partitions tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from projections.intake import Reader
from projections.log_reader import KafkaLog
from projections.owners import NamesOwners
from projections.records import Placed, Positions, Source
from projections.runner import RunnerConfig
from projections.view import View
from schemas.sealing import opening
from schemas.topics import Topics


@dataclass(frozen=True, slots=True)
class Part:
    """Records before ``until``, as they stand on the log and opened; ``events`` counts those of memory.events."""

    until: Positions
    sealed: Sequence[Placed]
    opened: Sequence[Placed]
    events: int

    def of(self, view: View) -> Iterator[Placed]:
        """What the view reads, in order."""
        passes = {source.topic: source.passes for source in view.sources}
        for placed in self.opened if getattr(view, "opens", True) else self.sealed:
            if placed.topic in passes and not isinstance(placed.record, passes[placed.topic]):
                yield placed


async def read_part(config: RunnerConfig, views: Sequence[View], topics: Topics, events: int) -> Part:
    """About so many events, whole slices, and their share of the vectors."""
    every = {source.topic: source for view in views for source in view.sources}
    sources = [every[topics.events], every[topics.embeddings]]
    async with KafkaLog(config.bulk_reader(), sources) as reader:
        target = share(await reader.ends(), sources, events)
        await reader.seek(dict.fromkeys(target, 0))
        intake, borders = Reader(sources), dict.fromkeys(target, 0)
        found: dict[tuple[str, int], list[Placed]] = {tp: [] for tp in target}
        while any(at < target[tp] for tp, at in (await reader.positions()).items()):
            taken = intake.take(await reader.next_below(target))
            borders.update(taken.borders)
            for candidate in taken.candidates:
                for placed in candidate.events:
                    found[placed.topic, placed.partition].append(placed)
    sealed = await _named(config, views, list(woven(found, topics)))
    nothing = {(source.topic, p): 0 for source in every.values() for p in range(source.partitions)}
    count = sum(placed.topic == topics.events for placed in sealed)
    return Part({**nothing, **borders}, sealed, await _opened(config, sealed), count)


def share(ends: Positions, sources: Sequence[Source], events: int) -> Positions:
    """How far to read each partition: evenly of the events, and the same share of its vectors."""
    first, second = sources
    target: Positions = {}
    for partition in range(first.partitions):
        end = ends[first.topic, partition]
        target[first.topic, partition] = some = min(end, -(-events // first.partitions))
        target[second.topic, partition] = ends[second.topic, partition] * some // max(1, end)
    return target


def woven(found: Mapping[tuple[str, int], Sequence[Placed]], topics: Topics) -> Iterator[Placed]:
    """Partition by partition its events, and its vectors evenly among them."""
    for (topic, partition), events in found.items():
        if topic != topics.events:
            continue
        beside, sent = found[topics.embeddings, partition], 0
        for number, placed in enumerate(events, 1):
            yield placed
            due = len(beside) * number // len(events)
            yield from beside[sent:due]
            sent = due


async def _named(config: RunnerConfig, views: Iterable[View], part: Sequence[Placed]) -> list[Placed]:
    naming = [view for view in views if isinstance(view, NamesOwners)]
    events = [{owner for view in naming for owner in view.owners_in(placed)} for placed in part]
    known = await config.owners.owners_of(set().union(*events))
    return [
        replace(placed, owners={owner: known[owner] for owner in owners if owner in known})
        for placed, owners in zip(part, events, strict=True)
    ]


async def _opened(config: RunnerConfig, part: Sequence[Placed]) -> list[Placed]:
    open_one = await opening(config.keys, [placed.record for placed in part if placed.record is not None])
    return [placed if placed.record is None else replace(placed, record=open_one(placed.record)) for placed in part]
