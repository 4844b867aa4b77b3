"""Reading a stretch of a topic from end to end, as JSON lines."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from ops.cli.errors import CliError, UsageError
from ops.cli.out import to_jsonable
from ops.cli.show import Shown, as_json, opened, shown
from ops.cli.target import Target
from ops.cli.topics import SHORT_NAMES, partitions_of, read_until, topic_named, topic_reader
from ops.cli.whose import Whose
from ops.keyring import open_keys
from schemas.topic_records import TOPIC_RECORDS
from schemas.topics import partition_of

PORTION = 500
"""Records whose keys are fetched at once."""
OTHER_KINDS = ("JSON", "neutral", "tombstone", "unreadable")
"""What a record is called that holds none of the contract's types."""
BY_OWNER = ("conversation", "commands", "events", "embeddings", "current")
"""Topics where an owner has one partition."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Progress = Callable[[int, int], None]
"""Called with offsets read and offsets to read."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What to read of each partition: from an offset or a time on, up to an offset or time, without it, or to the end."""

    topic: str
    start: int | datetime
    end: int | datetime | None = None
    partitions: Sequence[int] = ()
    """All, where none is named."""
    owner: str | None = None
    types: Sequence[str] = ()
    """All, where none is named."""


async def replay(target: Target, stretch: Stretch, out: IO[str], progress: Progress) -> int:
    """Write the records of ``stretch`` to ``out``, a line each, partition by partition; how many. What comes meanwhile stays out.

    Raises UsageError, NotRunning, BadOwner, and what opening values raises.
    """
    topic = topic_named(target.topics, stretch.topic)
    short = next(name for name in SHORT_NAMES if getattr(target.topics, name) == topic)
    _must_be_types(short, stretch.types)
    whose, written = Whose(stretch.owner), 0
    async with (
        topic_reader(target.bootstrap) as consumer,
        open_keys(target.settings, target.dsn, connections=1) as ring,
    ):
        await whose.look_up(ring.directory)
        if short != "inbox":
            must_be_known(whose)
        every = await partitions_of(consumer, topic)
        tps = chosen_partitions(every, stretch.partitions)
        if whose.reference is not None and short in BY_OWNER:
            tps = [tp for tp in tps if tp.partition == partition_of(whose.reference, len(every))]
        async for records in _portions(consumer, *await bounds(consumer, tps, stretch), progress):
            wanted = [item for item in map(shown, records) if whose.takes(item) and _is_of(item, stretch.types)]
            for item in await opened(ring.keys, wanted):
                out.write(orjson.dumps(to_jsonable(as_json(item)), option=orjson.OPT_APPEND_NEWLINE).decode())
            written += len(wanted)
    out.flush()
    return written


def must_be_known(whose: Whose) -> None:
    """Raise UsageError for an owner of whom nothing is on the log."""
    if whose.owner is not None and whose.reference is None:
        raise UsageError("nothing is known of this owner", "an owner is written default/user/u-1, user/u-1 or u-1")


def _must_be_types(short: str, types: Sequence[str]) -> None:
    known = [kind.__name__ for kind in TOPIC_RECORDS[short]] + list(OTHER_KINDS)
    for kind in types:
        if kind not in known:
            raise UsageError(f"no record of this topic is a {kind}", f"types are {', '.join(known)}")


def _is_of(item: Shown, types: Sequence[str]) -> bool:
    return not types or item.kind in types


def chosen_partitions(every: Sequence[TopicPartition], partitions: Sequence[int]) -> list[TopicPartition]:
    """Those with these numbers, all where none is named. Raises UsageError."""
    by_number = {tp.partition: tp for tp in every}
    for number in partitions:
        if number not in by_number:
            raise UsageError(f"there is no partition {number}", f"partitions are 0 to {len(every) - 1}")
    return [by_number[number] for number in sorted(set(partitions) or by_number)]


async def bounds(
    consumer: AIOKafkaConsumer, tps: list[TopicPartition], stretch: Stretch
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """First offset and the one behind the last, by partition; both inside what the topic holds now."""
    begin, end = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)

    async def at(place: int | datetime) -> dict[TopicPartition, int]:
        if isinstance(place, int):
            return dict.fromkeys(tps, place)
        found = await consumer.offsets_for_times(dict.fromkeys(tps, max(0, int(place.timestamp() * 1000))))
        # nothing is as late as that: the end
        return {tp: end[tp] if found[tp] is None else found[tp].offset for tp in tps}

    first, last = await at(stretch.start), end if stretch.end is None else await at(stretch.end)
    return {tp: max(begin[tp], first[tp]) for tp in tps}, {tp: min(end[tp], last[tp]) for tp in tps}


async def _portions(
    consumer: AIOKafkaConsumer, first: dict[TopicPartition, int], end: dict[TopicPartition, int], progress: Progress
) -> AsyncIterator[list[Any]]:
    """The records of one partition after the other, some at a time."""
    done, total = 0, sum(max(0, end[tp] - first[tp]) for tp in end)
    for tp in end:
        portion: list[Any] = []
        async for record in read_until(consumer, {tp: first[tp]}, {tp: end[tp]}):
            portion.append(record)
            if len(portion) == PORTION:
                yield portion
                progress(done + record.offset + 1 - first[tp], total)
                portion = []
        if portion:
            yield portion
        done += max(0, end[tp] - first[tp])
        progress(done, total)


@contextlib.contextmanager
def written_whole(path: str) -> Iterator[IO[str]]:
    """A file that is there under its name only once it is whole, closed to others; ``-`` is stdout. Raises UsageError."""
    if path == "-":
        yield sys.stdout
        return
    target = Path(path)
    if target.is_dir():
        raise UsageError(f"{path} is a folder", "name a file with --out")
    draft = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror})") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except OSError as error:
        if error.errno not in FULL:  # of the network, as it may be
            raise
        raise CliError(f"{path} cannot be written ({error.strerror})") from None
    finally:
        draft.unlink(missing_ok=True)
