"""What comes in: records of a topic, and what a view folds."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Protocol, cast

from schemas.errors import BrokenRecord
from schemas.owner import Owner
from schemas.sealed import Sealed, left_of
from schemas.types import Record
from schemas.value import is_value_type

TopicPartition = tuple[str, int]
Positions = dict[TopicPartition, int]
"""Next offset to read, by topic and partition."""

_NO_OWNERS: Mapping[str, Owner] = MappingProxyType({})


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
    passes: tuple[type[Record], ...] = ()
    """Record types that belong on the topic and are not for this view: neither opened nor folded."""
    compacted: bool = False


@dataclass(frozen=True, slots=True)
class Placed:
    """One record to fold, with its place. ``record`` is None for a tombstone."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    record: Any
    owners: Mapping[str, Owner] = field(default_factory=lambda: _NO_OWNERS, repr=False)
    """Owners in clear by reference, for a view that asks for them (``projections.owners``)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A record that was skipped, and why; the reason holds no content."""

    topic: str
    partition: int
    offset: int
    reason: str


def refuse_nul(record: Any) -> None:
    """Raise BrokenRecord where a text anywhere in ``record`` holds a NUL byte, which PostgreSQL's text cannot hold.

    Sealed values count as texts: SealedValue is raised for one that cannot be opened. A view whose tables hold texts calls it in
    ``check``; without it the record is found only after a transaction has failed.
    """
    # several views ask of the same record, one after the other: records never change
    if record is _clean[0]:
        return
    texts = _texts_of(cast(Hashable, type(record)))
    if texts is not None and any("\0" in text for text in texts(record)):
        raise BrokenRecord(f"a text of a {type(record).__name__} holds a NUL byte")
    _clean[0] = record


_clean: list[Any] = [None]
"""The record that was found clean last; held, so that no other can be it."""


Texts = Callable[[Any], Sequence[str]]


@cache
def _texts_of(hint: Hashable) -> Texts | None:
    """A function from a value of this type to all texts in it; None where it holds none."""
    if hint is str:
        return lambda value: (value,)
    if hint is Sealed:
        return lambda value: (left_of(value),)
    if is_value_type(hint):
        return _texts_of_fields(hint)
    origin = typing.get_origin(hint)
    if origin not in (tuple, typing.Union, types.UnionType):
        return None
    texts = _texts_of(next(h for h in typing.get_args(hint) if h is not type(None)))
    if texts is None:
        return None
    if origin is tuple:
        return lambda value: [text for item in value for text in texts(item)]
    return lambda value: () if value is None else texts(value)


def _texts_of_fields(kind: type[Any]) -> Texts:
    fields = [(name, texts) for name, hint in typing.get_type_hints(kind).items() if (texts := _texts_of(hint)) is not None]

    def found(record: Any) -> list[str]:
        return [text for name, texts in fields for text in texts(getattr(record, name))]

    return found
