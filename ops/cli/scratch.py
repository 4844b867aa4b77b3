"""Replaying a stretch of a topic into a scratch generation of a view, which begins from the view as it stood then."""

from __future__ import annotations

from datetime import datetime

from aiokafka import TopicPartition

from ops.cli.bars import Progress
from ops.cli.errors import UsageError
from ops.cli.rebuilding import view_parts
from ops.cli.replaying import Stretch, bounds, chosen_partitions, must_be_known
from ops.cli.target import Target
from ops.cli.topics import partitions_of, topic_named, topic_reader
from ops.cli.whose import Whose
from ops.keyring import open_keys
from projections.as_of import AsOf, Onward, as_of, places_at
from projections.log_reader import KafkaLog
from projections.records import Positions
from projections.runner import RunnerConfig
from projections.view import View


async def replay_into(target: Target, name: str, stretch: Stretch, progress: Progress) -> AsOf:
    """Build view ``name`` as it stood where ``stretch`` begins, and fold the stretch into that; live tables are not touched.

    The view's other topics stand where they stood then, or at their ends where the stretch begins at an offset. Of one owner
    only that owner's records are folded, and what was forgotten, as that is so for everybody. Raises UsageError, ProjectionError,
    BadOwner.
    """
    topic = topic_named(target.topics, stretch.topic)
    async with view_parts(target, name) as (view, config):
        if topic not in {source.topic for source in view.sources}:
            read = ", ".join(source.topic for source in view.sources)
            raise UsageError(f"view {name} is not made from {topic}", f"it is made from {read}")
        owner = await _reference(target, stretch)
        first, last = await _ends_of(target, topic, stretch)
        at = {**await _others(view, config, stretch.start), **first}
        return await as_of(view, config, at, onward=Onward(last, owner), progress=progress)


async def _reference(target: Target, stretch: Stretch) -> str | None:
    whose = Whose(stretch.owner)
    if whose.owner is not None:
        async with open_keys(target.settings, target.dsn, connections=1) as ring:
            await whose.look_up(ring.directory)
        must_be_known(whose)
    return whose.reference


async def _ends_of(target: Target, topic: str, stretch: Stretch) -> tuple[Positions, Positions]:
    """Where the stretch begins and ends, by partition; of a partition that is not named it is empty."""
    async with topic_reader(target.bootstrap) as consumer:
        every = await partitions_of(consumer, topic)
        first, end = await bounds(consumer, every, stretch)
        behind = await consumer.end_offsets(every)
        named = chosen_partitions(every, stretch.partitions)
    first = {tp: min(first[tp], behind[tp]) for tp in every}
    last = {tp: max(first[tp], end[tp]) if tp in named else first[tp] for tp in every}
    return _by_name(first), _by_name(last)


def _by_name(places: dict[TopicPartition, int]) -> Positions:
    return {(tp.topic, tp.partition): offset for tp, offset in places.items()}


async def _others(view: View, config: RunnerConfig, start: int | datetime) -> Positions:
    if isinstance(start, datetime):
        return await places_at(view, config, start)
    async with KafkaLog(config.bulk_reader(), view.sources) as log:
        return await log.ends()
