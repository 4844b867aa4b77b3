"""Copies and keys of the protocol's machine, by its structure: quicker than ``deepcopy``, and loud about what it does not know.

What is frozen is shared. A type that is neither known nor frozen raises TypeError, so that a field added to the machine can not
silently be shared between two worlds, or be left out of the key that tells them apart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import fields, is_dataclass
from types import FunctionType
from typing import Any, TypeVar

from schemas.value import Value
from streams.decider import OwnerState
from streams.protocol.lane import Append, Pending
from streams.protocol.partition import PartitionDecider

T = TypeVar("T")


class Ids:
    """Append ids of one process: ``3.1``, ``3.2``…"""

    __slots__ = ("count", "prefix")

    def __init__(self, prefix: int, count: int = 0) -> None:
        self.prefix, self.count = prefix, count

    def __call__(self) -> str:
        self.count += 1
        return f"{self.prefix}.{self.count}"


_ATOMS = (int, str, bool, float, bytes, type(None), tuple, frozenset, FunctionType)
_copiers: dict[type, Callable[[Any], Any]] = {}
_shared: set[type] = set()
_keyers: dict[type, Callable[[Any], Hashable]] = {}
_plain: set[type] = set()


def copied(value: T) -> T:
    """A copy that shares nothing that can change."""
    kind = type(value)
    if kind in _shared:
        return value
    if kind not in _copiers:
        if issubclass(kind, (*_ATOMS, Value)) or (is_dataclass(kind) and _frozen(kind)):
            _shared.add(kind)
            return value
        _copiers[kind] = _copier(kind)
    copy: T = _copiers[kind](value)
    return copy


def key_of(value: Any) -> Hashable:
    """What tells ``value`` from another in the search. States and events are told apart by identity: see ``Code.one``."""
    kind = type(value)
    if kind in _plain:
        plain: Hashable = value
        return plain
    if kind not in _keyers:
        if issubclass(kind, _ATOMS) and kind is not FunctionType:
            _plain.add(kind)
            return key_of(value)
        _keyers[kind] = _keyer(kind)
    return _keyers[kind](value)


def _copier(kind: type) -> Callable[[Any], Any]:
    if issubclass(kind, dict):
        return lambda v: kind((k, copied(x)) for k, x in v.items()) if v else kind()
    if kind is set:
        return set
    if kind in (list, deque):
        return lambda v: kind(map(copied, v))
    if kind is Ids:
        return lambda v: Ids(v.prefix, v.count)
    if issubclass(kind, PartitionDecider):
        return _copy_machine
    if is_dataclass(kind):
        return _dataclass_copier(kind)
    raise TypeError(f"the model does not know how to copy a {kind.__name__}")


def _copy_machine(machine: PartitionDecider) -> PartitionDecider:
    new = object.__new__(type(machine))
    for name, value in vars(machine).items():
        setattr(new, name, copied(value))
    return new


def _dataclass_copier(kind: type) -> Callable[[Any], Any]:
    names = [f.name for f in fields(kind)]

    def copy(value: Any) -> Any:
        new: Any = object.__new__(kind)
        for name in names:
            setattr(new, name, copied(getattr(value, name)))
        return new

    return copy


def _keyer(kind: type) -> Callable[[Any], Hashable]:
    if issubclass(kind, OwnerState):
        return id
    if kind is Append:
        return lambda a: (a.owner, a.first, a.commands, tuple(map(id, a.events)))
    if kind is Pending:
        return lambda p: (p.offset, p.parked_id)
    if issubclass(kind, (FunctionType, Ids)):
        return lambda _: None
    if issubclass(kind, dict):
        return _key_of_dict
    if kind is set:
        return frozenset
    if kind in (list, deque):
        return lambda v: tuple(map(key_of, v))
    if issubclass(kind, PartitionDecider):
        return lambda v: tuple(map(key_of, vars(v).values()))
    if is_dataclass(kind):
        names = [f.name for f in fields(kind)]
        return lambda v: tuple(key_of(getattr(v, name)) for name in names)
    raise TypeError(f"the model has no key for a {kind.__name__}")


def _key_of_dict(value: dict[Any, Any]) -> Hashable:
    if not value:
        return ()
    if all(v is None for v in value.values()):
        return tuple(value)  # an ordered set
    return frozenset((k, key_of(v)) for k, v in value.items())


def _frozen(kind: type) -> bool:
    return bool(kind.__dataclass_params__.frozen)  # type: ignore[attr-defined]
