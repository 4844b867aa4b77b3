"""Who an owner is: events name owners by references, and who goes by one stands in the key store's directory.

A view that shows owners in clear says whom it wants to know (``NamesOwners``). They are asked for once for each batch, before its
transaction, and come with each record (``Placed.owners``). An owner who was erased has no entry, whatever the record's age: once
the owner's ``OwnerErased`` is folded, a view must end in the same rows whether it knew the owner before or not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol, runtime_checkable

from projections.records import Placed
from schemas.owner import Owner


class Owners(Protocol):
    """The directory of an installation, as views ask it."""

    async def owners_of(self, references: Collection[str]) -> Mapping[str, Owner]:
        """Who goes by each of ``references``; erased and unknown ones are missing. Raises KeysUnavailable."""
        ...


@runtime_checkable
class NamesOwners(Protocol):
    """A view whose fold looks at ``Placed.owners``."""

    def owners_in(self, placed: Placed) -> Iterable[str]:
        """References of the owners whom the fold wants to know for this record."""


class _Nobody:
    """For whoever has no key store at hand: no reference is known."""

    async def owners_of(self, references: Collection[str]) -> Mapping[str, Owner]:
        return {}


NO_OWNERS: Owners = _Nobody()
