"""What comes in: records of a topic, and what a view folds."""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, is_dataclass
from functools import cache
from typing import Any, Protocol, cast

from schemas.errors import BrokenRecord
from schemas.types import Record

TopicPartition = tuple[str, int]
Positions = dict[TopicPartition, int]
"""Next offset to read, by topic and partition."""


class LogRecord(Protocol):
    """A record as a Kafka client gives it (aiokafka's ConsumerRecord is one)."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


class Kind(enum.Enum):
    """How a topic is read."""

    EVENTS = "events"
    """memory.events: slices, accepted by the rule in schemas.slices."""
    PLAIN = "plain"
    """Each record stands for itself; a null value deletes its key."""


@dataclass(frozen=True, slots=True)
class Source:
    """One topic of a view."""

    topic: str
    partitions: int
    kind: Kind
    accepts: tuple[type[Record], ...] = ()
    """Record types of a PLAIN topic; others are foreign."""
    compacted: bool = False


@dataclass(frozen=True, slots=True)
class Placed:
    """One record to fold, with its place. ``record`` is None for a tombstone."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    record: Any


@dataclass(frozen=True, slots=True)
class Problem:
    """A record that was skipped, and why; the reason holds no content."""

    topic: str
    partition: int
    offset: int
    reason: str


def refuse_nul(record: Any) -> None:
    """Raise BrokenRecord where a text anywhere in ``record`` holds a NUL byte, which PostgreSQL's text cannot hold.

    A view whose tables hold texts calls it in ``check``; without it the record is found only after a transaction has failed.
    """
    if any("\0" in text for text in _texts_of(cast(Hashable, type(record)))(record)):
        raise BrokenRecord(f"a text of a {type(record).__name__} holds a NUL byte")


@cache
def _texts_of(kind: Hashable) -> Callable[[Any], list[str]]:
    """A function from a record of ``kind`` to all texts in it."""
    plain: list[str] = []
    lists: list[str] = []
    inner = []
    for name, hint in typing.get_type_hints(kind).items():
        if hint in (str, str | None):
            plain.append(name)
        elif hint == tuple[str, ...]:
            lists.append(name)
        else:
            kinds = [h for h in (hint, *typing.get_args(hint)) if isinstance(h, type) and is_dataclass(h)]
            inner += [(name, _texts_of(cast(Hashable, k))) for k in kinds]

    def texts(record: Any) -> list[str]:
        found = [getattr(record, name) or "" for name in plain]
        for name in lists:
            found += getattr(record, name)
        for name, more in inner:
            value = getattr(record, name)
            found += more(value) if value is not None else ()
        return found

    return texts
