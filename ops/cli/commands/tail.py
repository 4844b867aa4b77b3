"""``emberlog tail``: the records of a topic, readable."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, TopicPartition

    from ops.cli.show import Shown
    from ops.cli.target import Target
    from schemas.sealing import Directory, Keys


def register(app: typer.Typer) -> None:
    app.command("tail", rich_help_panel="Look")(tail)


def tail(
    topic: Annotated[
        str,
        typer.Argument(
            help="Topic: memory.events.v1, or short: inbox, conversation, commands, events, embeddings, current, parked."
        ),
    ] = "memory.events.v1",
    owner: Annotated[str | None, typer.Option("--owner", help="Only records of this owner, such as default/user/u-1.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Everything that the topic holds.")] = False,
    last: Annotated[int, typer.Option("-n", "--last", min=0, help="How many of the last records.")] = 20,
) -> None:
    """Show the records of a topic, with their content.

    Examples:

      emberlog tail memory.events.v1 --follow

      emberlog tail conversation --owner u-1 -n 5

      emberlog tail events --from-beginning --json > events.ndjson
    """
    from ops.cli.target import find_running

    target = find_running()
    work = _Tail(target, topic, owner, _json_line if json else _line, None if from_beginning else last)
    with suppress(KeyboardInterrupt):  # the way to end following
        asyncio.run(work.run(follow))


def _line(item: Shown) -> None:
    from ops.cli.out import console
    from ops.cli.show import as_line

    console().print(as_line(item), soft_wrap=True)


def _json_line(item: Shown) -> None:
    from ops.cli.out import print_json
    from ops.cli.show import as_json

    print_json(as_json(item), indent=False)


class _Tail:
    """What to show of which topic. ``last`` None means all."""

    def __init__(self, target: Target, topic: str, owner: str | None, emit: Callable[[Shown], None], last: int | None) -> None:
        from ops.cli.topics import topic_named
        from ops.cli.whose import Whose
        from schemas.sealing import NO_KEYS

        self.target, self.emit, self.last = target, emit, last
        self.topic = topic_named(target.topics, topic)
        self.whose = Whose(owner)
        self.keys: Keys = NO_KEYS

    async def run(self, follow: bool) -> None:
        from ops.cli.topics import partitions_of, topic_reader
        from ops.keyring import open_keys

        async with (
            topic_reader(self.target.bootstrap, follow=follow) as consumer,
            open_keys(self.target.settings, self.target.dsn, connections=1) as ring,
        ):
            self.keys = ring.keys
            await self.whose.look_up(ring.directory)
            tps = await partitions_of(consumer, self.topic)
            end = await consumer.end_offsets(tps)
            if self.last != 0:
                await self._past(consumer, tps, end)
            if follow:
                await self._follow(consumer, end, ring.directory)

    async def _past(self, consumer: AIOKafkaConsumer, tps: list[TopicPartition], end: dict[TopicPartition, int]) -> None:
        from ops.cli.topics import read_until

        begin = await consumer.beginning_offsets(tps)
        holes = self.topic in (self.target.topics.embeddings, self.target.topics.current)
        if self.last is not None and self.whose.owner is None and not holes:
            # without a filter the last of all are among the last of each partition; a compacted topic has holes
            begin = {tp: max(begin[tp], end[tp] - self.last) for tp in tps}
        kept: deque[Shown] = deque(maxlen=self.last)
        per_partition: dict[int, deque[Shown]] = {}
        async for raw in read_until(consumer, begin, end):
            item = self._wanted(raw)
            if item is not None:
                per_partition.setdefault(item.partition, deque(maxlen=self.last)).append(item)
        for item in sorted((i for items in per_partition.values() for i in items), key=lambda i: (i.time, i.partition, i.offset)):
            kept.append(item)
        await self._show(list(kept))

    async def _follow(self, consumer: AIOKafkaConsumer, start: dict[TopicPartition, int], directory: Directory) -> None:
        consumer.assign(list(start))
        for tp, offset in start.items():
            consumer.seek(tp, offset)
        while True:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                await self.whose.look_up(directory)
                await self._show([item for raw in records if (item := self._wanted(raw)) is not None])

    async def _show(self, items: list[Shown]) -> None:
        from ops.cli.show import opened

        for item in await opened(self.keys, items):
            self.emit(item)

    def _wanted(self, raw: Any) -> Shown | None:
        from ops.cli.show import shown

        item = shown(raw)
        return item if self.whose.takes(item) else None
