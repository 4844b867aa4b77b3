"""The base of the contract's types: values that never change.

Millions of them are made while a log is written or folded. A frozen dataclass sets each field through ``object.__setattr__``;
a msgspec structure of twenty fields is made in a fraction of that time, and the garbage collector need not look at it: what
cannot change after it was made cannot be part of a cycle. ``msgspec.structs`` has ``fields`` and ``replace`` for them.
"""

from __future__ import annotations

from typing import TypeGuard

import msgspec


class Value(msgspec.Struct, frozen=True, gc=False):
    """Equal when of the same type with equal fields, and hashable then; setting a field raises AttributeError."""


def is_value_type(hint: object) -> TypeGuard[type[Value]]:
    """Whether ``hint`` is one of the contract's types."""
    return isinstance(hint, type) and issubclass(hint, Value)
