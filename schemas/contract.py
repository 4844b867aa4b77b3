"""The contract in one piece: the Avro files, the upcasters, and the Python types of their records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from schemas.types import RECORDS
from schemas.upcasters import UPCASTERS, Read, Upcasters, reader_of
from schemas.versions import FILES, SchemaFiles


@dataclass(frozen=True)
class Contract:
    """Emberlog's own by default; tests have some of their own."""

    files: SchemaFiles = FILES
    upcasters: Upcasters = UPCASTERS
    kinds: tuple[type[Any], ...] = RECORDS

    @cached_property
    def by_name(self) -> Mapping[str, type[Any]]:
        """Python types by name."""
        return {kind.__name__: kind for kind in self.kinds}

    def reader(self, name: str, version: int, target: int | None = None) -> Read:
        """See ``upcasters.reader_of``."""
        return reader_of(self.files, self.upcasters, name, version, target)


CONTRACT = Contract()
