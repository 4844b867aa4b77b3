"""Which records of a topic are an owner's."""

from __future__ import annotations

from typing import Any

from ops.cli.show import Shown, owner_of
from schemas.errors import BadOwner
from schemas.owner import Owner
from schemas.sealing import Directory
from schemas.types import InboxTurn


class Whose:
    """Picks the records of ``owner``, as a person names one; all records where that is None. Raises BadOwner."""

    def __init__(self, owner: str | None) -> None:
        self.owner = Owner.parse(owner) if owner else None
        self.reference: str | None = None

    async def look_up(self, directory: Directory) -> None:
        """Find the owner's reference; one who is not known yet may become so later."""
        if self.owner is not None and self.reference is None:
            self.reference = await directory.find(self.owner)

    def takes(self, item: Shown) -> bool:
        """Whether a record is one of the owner's. In the inbox owners stand as their producers write them."""
        if self.owner is None:
            return True
        if isinstance(item.record, InboxTurn):
            return self._is_owner(item.record.owner)
        if isinstance(item.record, dict):
            return self._is_owner(item.record.get("owner"))
        return self.reference is not None and owner_of(item) == self.reference

    def _is_owner(self, said: Any) -> bool:
        try:
            return isinstance(said, str) and Owner.parse(said) == self.owner
        except BadOwner:
            return False
