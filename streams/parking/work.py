"""Parked work as a stage gets it back: its record is sealed on the topic, and opened here."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.sealed import Sealed
from schemas.types import WorkParked


@dataclass(frozen=True, slots=True)
class ParkedWork:
    """Parked work with its record, opened."""

    parked_id: str
    reason: str
    behind: str | None
    attempts: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]


def sealed(content: bytes | None) -> Sealed | None:
    """A part of a record as it is parked."""
    return None if content is None else Sealed(content)


def opened(record: WorkParked) -> ParkedWork:
    """The parked work. Raises SealedValue."""
    return ParkedWork(
        parked_id=record.parked_id,
        reason=record.reason,
        behind=record.behind,
        attempts=record.attempts,
        key=_raw(record.key),
        value=_raw(record.value),
        headers={name: content.raw for name, content in record.headers.items()},
    )


def _raw(content: Sealed | None) -> bytes | None:
    return None if content is None else content.raw
